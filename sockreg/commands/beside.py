"""What a command does beside parts of the configuration that are wrong.

A boot puts in force whatever is sound. A command is refused for what it changes, not for what was
wrong before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from sockreg.config.report import Report
from sockreg.config.ruleset import RuleSet
from sockreg.errors import AccessError, SockregError
from sockreg.model import LeftOut

Result = TypeVar("Result")


def is_refused(
    rules: RuleSet,
    part: str,
    before: Collection[LeftOut],
    changes: Collection[str] | None,
    written: Collection[str],
) -> bool:
    """Whether a command is refused because this part is wrong: whether it is the command's doing.

    ``before`` are the parts that are left out already. ``changes`` names the parts that the command
    is about; None is all of them, and then the edit of a file is what changes it. ``written`` are
    the files that the command writes, which must not be wrong at all.
    """
    if part in written:
        return True
    if is_known(rules, part, [left for left in before if changes is not None or left.accepted]):
        return False
    involved = rules.wrong[part].rivals | {part}
    return changes is None or bool(involved.intersection(changes))


def is_known(rules: RuleSet, part: str, before: Collection[LeftOut]) -> bool:
    """Whether a part was left out before, and its files are the same now."""
    now = rules.selection.files_of(part)
    return any(left.part == part and left.files == now for left in before)


def refuse(parts: Collection[str], rules: RuleSet) -> None:
    """Raise ConfigError with the problems of these parts, if there are any."""
    report = Report()
    for part in parts:
        report.problems.extend(rules.wrong[part].problems)
    report.refuse_problems()


def recorded(
    rules: RuleSet, before: Collection[LeftOut], *, nothing_in_force: bool
) -> list[LeftOut]:
    """What the generation stores of the parts that it leaves out."""
    accepted = {(left.part, left.files) for left in before if left.accepted}
    return [
        left._replace(accepted=nothing_in_force or (left.part, left.files) in accepted)
        for left in rules.left_out
    ]


def news(left_out: Iterable[LeftOut], before: Iterable[LeftOut]) -> list[LeftOut]:
    """The parts that were not left out before, or not for this reason, or not with this outcome."""
    told = {left[:3] for left in before}
    return [left for left in left_out if left[:3] not in told]


def fitting(
    rules: RuleSet, make: Callable[[RuleSet], Result], discard: Callable[[Result], None]
) -> Result:
    """``make`` of these rules, or of as many parts of them as it takes.

    Parts whose rules were in force last come first, then small ones. ``discard`` undoes a ``make``
    that is not the result. Raises the SockregError that ``make`` raises for all rules if it does
    not even take none.
    """
    try:
        return make(rules)
    except AccessError:
        raise
    except SockregError as error:
        refused = error
    text = f"its rules do not fit in: {refused.message}"
    for _ in range(2):  # first the earlier form of a part comes in its place, then nothing
        best: Result | None = None
        order = rules.selection.ranked()
        low, high = 0, len(order)  # of the parts, so many fit; so many do not
        while low < high:
            middle = (low + high) // 2
            faults = [rules.whole_fault(part, text) for part in order[middle:]]
            try:
                made = make(rules.without(faults))
            except SockregError:
                high = middle
                continue
            if best is not None:
                discard(best)
            best, low = made, middle + 1
        if best is not None:
            return best
        rules = rules.without([rules.whole_fault(part, text) for part in order])
    raise refused

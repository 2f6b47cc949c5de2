"""What one prefix does with each port: its rules over what it inherits.

An outcome is a number. Below CELLS, it is a destination (0: none). From CELLS on, it is a cell of
``sockreg.compile.conditions``. A negative outcome is a decision (below) that has the outcome.

A port function gives an outcome to every port. It is a tuple of steps (port, outcome), each valid
up to the next one. Functions are stored once each, by number.

A decision is a number, too. From 0 on, it is a leaf. A negative decision is an entry of
``sockreg.compile.decisions``: a single rule over what a prefix inherits, or a port function.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from sockreg.compile.conditions import CELLS, Cells, Condition
from sockreg.compile.words import DESTINATION_BITS, INSIDE_SHIFT, OUTSIDE_SHIFT, leaf

PORTS = 65536

# A prefix inside one with many ports refers to that one's decision where it has no rule
# itself. A decision with fewer steps is copied, which saves the lookup a step.
COPY_MAX = 16

Step = tuple[int, int]
Steps = tuple[Step, ...]


class PortRule(NamedTuple):
    """The part of a rule that concerns one prefix; sorts by precedence, best first."""

    width: int  # last - first
    any_interface: bool
    shorter_source: int  # negative length
    first: int
    condition: Condition | None
    outcome: int

    @staticmethod
    def of(first: int, last: int, condition: Condition | None, outcome: int) -> PortRule:
        """The part of a rule for these ports."""
        any_interface = condition is None or condition.interface == 0
        shorter_source = -condition.length if condition else 0
        return PortRule(last - first, any_interface, shorter_source, first, condition, outcome)


class OwnStep(NamedTuple):
    """From ``port`` on, these conditional rules apply in turn, then ``outcome``.

    An outcome of None means: what the prefix inherits.
    """

    port: int
    conditional: tuple[tuple[Condition, int], ...]
    outcome: int | None


def own_steps(rules: Sequence[PortRule]) -> list[OwnStep]:
    """What the rules of one prefix, best first, do with each port: a sweep over the ports."""
    starts = sorted((rule.first, rank) for rank, rule in enumerate(rules))
    ends = sorted((rule.first + rule.width + 1, rank) for rank, rule in enumerate(rules))
    ports = sorted({0, *map(itemgetter(0), starts), *map(itemgetter(0), ends)} - {PORTS})
    steps: list[OwnStep] = []
    active: list[int] = []
    starting = ending = 0
    for port in ports:
        while ending < len(ends) and ends[ending][0] == port:
            del active[bisect_right(active, ends[ending][1]) - 1]
            ending += 1
        while starting < len(starts) and starts[starting][0] == port:
            insort(active, starts[starting][1])
            starting += 1
        conditional = []
        outcome = None
        for rank in active:
            rule = rules[rank]
            if rule.condition is None:
                outcome = rule.outcome
                break
            conditional.append((rule.condition, rule.outcome))
        steps.append(OwnStep(port, tuple(conditional), outcome))
    return steps


def combine(
    own: Sequence[OwnStep],
    inherited: Steps,
    cells: Cells,
    resolve: Callable[[int], Steps],
) -> Steps:
    """The rules of a prefix over the steps that it inherits.

    ``resolve`` gives the steps of a decision, because a conditional rule needs to know what comes
    after it.
    """
    result: list[Step] = []
    stops = [step.port for step in own[1:]] + [PORTS]
    for step, stop in zip(own, stops, strict=True):
        pieces: Iterable[Step]
        if step.outcome is not None:
            pieces = ((step.port, step.outcome),)
        else:
            pieces = section(inherited, step.port, stop)
            if step.conditional:
                pieces = _resolved(pieces, stop, resolve)
        for port, outcome in pieces:
            if step.conditional:
                outcome = cells.number(step.conditional, outcome)
            if not result or result[-1][1] != outcome:
                result.append((port, outcome))
    return tuple(result)


def section(steps: Steps, start: int, stop: int) -> list[Step]:
    """The steps of a function from port ``start`` to before ``stop``."""
    if len(steps) == 1:
        return [(start, steps[0][1])]
    at = bisect_right(steps, start, key=itemgetter(0))
    result = [(start, steps[at - 1][1])]
    while at < len(steps) and steps[at][0] < stop:
        result.append(steps[at])
        at += 1
    return result


def _resolved(pieces: Iterable[Step], stop: int, resolve: Callable[[int], Steps]) -> Iterable[Step]:
    """The same steps with destinations and cells instead of decisions."""
    pieces = list(pieces)
    ends = [port for port, _ in pieces[1:]] + [stop]
    for (port, outcome), end in zip(pieces, ends, strict=True):
        if outcome < 0:
            yield from _resolved(section(resolve(outcome), port, end), end, resolve)
        else:
            yield port, outcome


def leaf_of(steps: Steps) -> int | None:
    """The leaf that equals a port function, or None if no leaf does."""
    if len(steps) > 3 or any(not 0 <= outcome < CELLS for _, outcome in steps):
        return None
    if len(steps) == 1:
        return leaf(0, PORTS - 1, steps[0][1], steps[0][1])
    if len(steps) == 2:
        return leaf(steps[1][0], PORTS - 1, steps[1][1], steps[0][1])
    if steps[0][1] == steps[2][1]:
        return leaf(steps[1][0], steps[2][0] - 1, steps[1][1], steps[0][1])
    return None


def steps_of(word: int) -> Steps:
    """The port function that equals a leaf: the reverse of leaf_of()."""
    outside, inside = word >> OUTSIDE_SHIFT, word >> INSIDE_SHIFT & DESTINATION_BITS
    first, last = word >> 16 & 0xFFFF, (word >> 16 & 0xFFFF) + (word & 0xFFFF)
    if not word:
        return ((0, 0),)
    result = [(0, outside)] if first > 0 else []
    result.append((first, inside))
    if last < PORTS - 1:
        result.append((last + 1, outside))
    return tuple(result)

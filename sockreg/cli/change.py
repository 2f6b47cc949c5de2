"""How a change of the rules in force is printed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from sockreg.cli.printing import print_json, say
from sockreg.errors import PartlyError
from sockreg.plural import plural
from sockreg.streams import err, out

if TYPE_CHECKING:  # for annotations only
    from sockreg.commands.change import Change
    from sockreg.model import Binding, LeftOut
    from sockreg.streams import Tone

_LINES = 20  # of a change, before the rest is summarized


def show_change(change: Change, *, as_json: bool) -> None:
    """A change that has been made. Raises PartlyError if something that belongs to it failed."""
    show_beside(change)
    if as_json:
        print_json("change", _body(change))
    else:
        _print_difference(change)
        for move in change.moves:
            if move.before is not None:
                say(move.summary)
        say(change.summary)
        for text in _pending(change):
            say(text)
    if change.unfinished:
        raise PartlyError(change.unfinished_lines, "'sockreg apply' does the rest")


def show_beside(change: Change) -> None:
    """What else is to know about a change that has been made: notices, and what is not in force."""
    for notice in change.notices:
        say(str(notice), to=err)
    _show_left_out(change.newly_left_out, partial(say, to=err))
    if change.still_left_out:
        err(change.still_left_out)


def show_preview(change: Change, *, as_json: bool) -> None:
    """A change that might be made."""
    if as_json:
        print_json("change", _body(change))
        return
    for notice in change.notices:
        err(str(notice))
    _show_left_out(change.left_out, err)
    _print_difference(change)
    rules = "all other rules" if change.left_out else "the configured rules"
    out(f"{rules} are sound: {plural(change.count, 'rule')}; {change.difference} if applied")
    for text in _pending(change):
        out(text)


def _show_left_out(parts: list[LeftOut], show: Callable[[str], None]) -> None:
    from sockreg.views import left_out

    for left in parts:
        for line in left_out.lines(left):
            show(line)


def _pending(change: Change) -> list[str]:
    """One line for each absent interface that rules newly wait for."""
    from sockreg.views import rules

    moved = {move.interface for move in change.moves}
    added = set(change.added)
    newly = [rule for rule in change.pending if rule.interface in moved or rule in added]
    return rules.pending_lines(newly)


def _print_difference(change: Change) -> None:
    signs: tuple[tuple[str, Tone, list[Binding]], ...] = (
        ("+", "good", change.added),
        ("-", "bad", change.removed),
    )
    for sign, tone, bindings in signs:
        for text in _lines(bindings[:_LINES]):
            out(f"{sign} {text}", tone)
        if len(bindings) > _LINES:
            out(f"{sign} and {len(bindings) - _LINES} more", tone)


def _lines(bindings: list[Binding]) -> list[str]:
    from sockreg.views import rules

    return [rules.line(binding) for binding in bindings]


def _body(change: Change) -> dict[str, object]:
    from sockreg.views import left_out, rules

    return {
        "generation": change.generation,
        "swapped": change.swapped,
        "count": change.count,
        "added": [rules.body(binding) for binding in change.added],
        "removed": [rules.body(binding) for binding in change.removed],
        "pending": [rules.body(binding) for binding in change.pending],
        "notices": list(map(str, change.notices)),
        "left_out": list(map(left_out.body, change.left_out)),
        "unfinished": change.unfinished,
    }

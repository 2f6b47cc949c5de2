"""How a change of the rules in force is printed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sockreg.cli.printing import print_json, say
from sockreg.plural import plural

if TYPE_CHECKING:  # for annotations only
    from sockreg.commands.change import Change
    from sockreg.model import Binding

_LINES = 20  # of a change, before the rest is summarized


def show_change(change: Change, *, as_json: bool) -> None:
    """A change that has been made."""
    for notice in change.notices:
        say(str(notice), to=sys.stderr)
    for move in change.moves:
        if move.before is not None:
            say(move.summary, to=sys.stderr)
    for text in _pending(change):
        say(text, to=sys.stderr)
    if as_json:
        print_json("change", _body(change))
        return
    _print_difference(change)
    say(change.summary)


def show_preview(change: Change, *, as_json: bool) -> None:
    """A change that might be made."""
    if as_json:
        print_json("change", _body(change))
        return
    for notice in change.notices:
        print(notice, file=sys.stderr)
    for text in _pending(change):
        print(text, file=sys.stderr)
    _print_difference(change)
    print(
        f"the configured rules are sound: {plural(change.count, 'rule')}; "
        f"{change.difference} if applied"
    )


def _pending(change: Change) -> list[str]:
    """One line for each interface that is not there."""
    from sockreg.views import rules

    return rules.pending_lines(change.pending)


def _print_difference(change: Change) -> None:
    for sign, bindings in (("+", change.added), ("-", change.removed)):
        for text in _lines(bindings[:_LINES]):
            print(f"{sign} {text}")
        if len(bindings) > _LINES:
            print(f"{sign} and {len(bindings) - _LINES} more")


def _lines(bindings: list[Binding]) -> list[str]:
    from sockreg.views import rules

    return [rules.line(binding) for binding in bindings]


def _body(change: Change) -> dict[str, object]:
    from sockreg.views import rules

    return {
        "generation": change.generation,
        "swapped": change.swapped,
        "count": change.count,
        "added": [rules.body(binding) for binding in change.added],
        "removed": [rules.body(binding) for binding in change.removed],
        "pending": [rules.body(binding) for binding in change.pending],
        "notices": list(map(str, change.notices)),
    }

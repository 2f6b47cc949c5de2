"""``until=2026-11-27T02:00:00Z``: the time at which a rule ends by itself.

It is a word of a line that says rules, and stands for all of them. Times are seconds since the
epoch of the wall clock, because people write them, and a boot in between does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from sockreg.model import Binding, Place

WORD = "until="
_FORM = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)", re.ASCII
)  # RFC 3339, without fractions
_EXAMPLE = "2026-11-27T02:00:00Z"

# When the rules of a line end, for lines whose rules do.
Ends = Mapping[Place, int]


def split_end(words: Sequence[str]) -> tuple[list[str], int | None]:
    """The words without ``until=``, and the time that it gives. Raises ValueError."""
    rest: list[str] = []
    times: list[str] = []
    for word in words:
        # An interface may have any name.
        if word.startswith(WORD) and rest[-1:] != ["dev"]:
            times.append(word.removeprefix(WORD))
        else:
            rest.append(word)
    if len(times) > 1:
        raise ValueError("'until=' is given twice")
    return rest, _parse_time(times[0]) if times else None


def format_end(when: int) -> str:
    """``until=2026-11-27T02:00:00Z``, as split_end() reads it."""
    return WORD + format_time(when)


def format_time(when: int) -> str:
    """``2026-11-27T02:00:00Z``."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse_time(text: str) -> int:
    from datetime import datetime  # for these lines only

    try:
        if _FORM.fullmatch(text):
            return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"until {text!r}: a time and its zone expected, as in '{WORD}{_EXAMPLE}'")


def without_outlived(bindings: Sequence[Binding], ends: Ends) -> list[Binding]:
    """Drop rules that end if the same rule is there without an end, or with a later one.

    So the one that stays says how long the rule lasts.
    """
    ending = [binding for binding in bindings if binding.place in ends]
    addresses = {binding.address for binding in ending}  # few of a million
    lasts: dict[object, float] = {}
    for binding in bindings:
        if binding.address in addresses:
            key = (binding.matched, binding.outcome)
            end = ends.get(binding.place, float("inf"))
            lasts[key] = max(end, lasts.get(key, end))
    outlived = {
        id(binding)
        for binding in ending
        if ends[binding.place] < lasts[binding.matched, binding.outcome]
    }
    return [binding for binding in bindings if id(binding) not in outlived]


def ends_of(bindings: Iterable[Binding], ends: Ends) -> dict[Place, int]:
    """When these rules end: the entries of ``ends`` that are about one of them."""
    return {b.place: ends[b.place] for b in bindings if b.place in ends} if ends else {}


def has_ended(binding: Binding, ends: Ends, now: float) -> bool:
    """Whether the time of a rule has come."""
    return binding.place in ends and ends[binding.place] <= now

"""A rule as a line says it: for a prefix, or for whatever a set of prefixes has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sockreg.model import INET, INET6, Action, Binding, Place
from sockreg.rules.ending import format_end
from sockreg.rules.prefixes import SET, Prefix
from sockreg.rules.syntax import format_line, parse_words


class Written(NamedTuple):
    """A ``Bind=`` rule. With ``of_set``, the name of a set, ``binding`` has no prefix that counts:
    the set may change, and the rule with it.
    """

    binding: Binding
    of_set: str = ""

    @property
    def label(self) -> str:
        return self.binding.label

    @property
    def matched(self) -> tuple[object, ...]:
        """Everything that decides which packets match, with the set in place of its prefixes."""
        return (self.of_set, *self.binding.matched)

    def line(self, end: int | None = None) -> str:
        """``Bind=tcp @anycast 443``, and when it ends."""
        words = format_line(self.binding).split(" ")
        if self.of_set:
            words[1] = SET + self.of_set
        if end is not None:
            words.append(format_end(end))
        return " ".join(words)

    def means(self, other: Written) -> bool:
        """Whether this one is meant by ``other``; see same_rule()."""
        return self.of_set == other.of_set and same_rule(self.binding, other.binding)

    def is_rival(self, other: Written) -> bool:
        """Whether both match exactly the same packets and do different things."""
        return self.matched == other.matched and self.binding.outcome != other.binding.outcome

    @property
    def placeless(self) -> Written:
        """The same, whatever its place."""
        return self._replace(binding=self.binding._replace(place=Place("", 0)))


def same_rule(one: Binding, other: Binding) -> bool:
    """Whether both give the same packets to the same label, and to the listener ``other`` names."""
    listener = one.listener if other.listener else 0
    same = one._replace(missing_pass=other.missing_pass, listener=listener, place=other.place)
    return same == other


def parse_written(
    words: Sequence[str], label: str, place: Place, notices: list[str]
) -> list[Written]:
    """Read the words of a ``Bind=`` line that has no end. Raises ValueError.

    Whether there are such sets is for those who read all files.
    """
    if len(words) < 3 or SET not in words[1]:
        return [Written(it) for it in parse_words(Action.BIND, [*words], label, place, notices)]
    protocol, prefixes, *rest = words
    items = prefixes.split(",")
    plain = ",".join(item for item in items if not item.startswith(SET))
    found = parse_written([protocol, plain, *rest], label, place, notices) if plain else []
    for name in dict.fromkeys(item.removeprefix(SET) for item in items if item.startswith(SET)):
        if not name:
            raise ValueError(f"the name of a set is expected after {SET!r}")
        one = [protocol, SET + name, *rest]
        found += [
            Written(binding, name)
            for binding in parse_words(
                Action.BIND, one, label, place, notices, lambda _: [_any_prefix(rest)]
            )
        ]
    return found


def _any_prefix(conditions: Sequence[str]) -> Prefix:
    """One that goes with the source, if there is one."""
    at = conditions.index("from") + 1 if "from" in conditions else len(conditions)
    return (INET6 if ":" in "".join(conditions[at : at + 1]) else INET, 0, 0)

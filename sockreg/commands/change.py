"""The result of a change of the rules in force."""

from __future__ import annotations

from dataclasses import dataclass, field

from sockreg.config.report import Notice
from sockreg.model import Binding, LeftOut
from sockreg.plural import plural
from sockreg.registry.generation_record import Header

_SHOWN = 5  # names of parts in one line


@dataclass(frozen=True)
class Move:
    """An interface that rules name has another index than before; 0 is none. ``rules`` name it.

    ``before`` is None if no rule in force named the interface.
    """

    interface: str
    before: int | None
    index: int
    rules: int

    @property
    def summary(self) -> str:
        """What happened to the interface and to its rules, in one line."""
        one = self.rules == 1
        rules = f"{plural(self.rules, 'rule')} for it"
        if not self.index:
            how = "is not there" if self.before is None else "is gone"
            pending = "is pending until it appears" if one else "are pending until it appears"
            return f"interface {self.interface} {how}: {rules} {pending}"
        if self.before:
            again = f"has index {self.index} instead of {self.before}"
            return f"interface {self.interface} {again}: {rules} {'follows' if one else 'follow'}"
        return f"interface {self.interface} is there: {rules} {'is' if one else 'are'} in force"


def moves_between(before: Header | None, after: Header) -> list[Move]:
    """The interfaces that the journal names when one generation replaces another."""
    known = before.index_of.items() if before else ()
    old = {name: index for name, index in known if index >= 0}
    return [
        Move(name, old.get(name), index, rules)
        for (name, index), rules in zip(after.index_of.items(), after.rules_for, strict=True)
        if old.get(name) != index and (index == 0 or name in old)
    ]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a command changed, or would change.

    ``generation`` is the number in force afterwards, and ``swapped`` says whether it is new.
    ``count`` is its number of rules, ``pending`` are those for interfaces that are not there.
    ``moves`` are the interfaces that came, went or changed. Bindings are compared by their meaning,
    not by their place. ``left_out`` are the parts of the configuration that are not in force as
    they are written, and ``newly_left_out`` those of them that were in force before, or left out
    for another reason. ``taken_in`` are the parts that were left out before. ``ended`` are those of
    ``removed`` whose time had come, each with its end. ``unfinished`` are
    sentences about what failed when the rules were in force already.
    """

    generation: int | None
    swapped: bool
    count: int
    added: list[Binding] = field(default_factory=list)
    removed: list[Binding] = field(default_factory=list)
    pending: list[Binding] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    newly_left_out: list[LeftOut] = field(default_factory=list)
    taken_in: list[str] = field(default_factory=list)
    ended: list[tuple[Binding, int]] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """One line: ``generation 7 in force: 3 rules (1 added, 0 removed)``."""
        if self.generation is None:
            return "nothing is in force: rules follow when the loader starts"
        rules = plural(self.count, "rule")
        if self.pending:
            rules += f", {len(self.pending)} pending"
        if not self.swapped:
            return f"nothing to change: generation {self.generation} has {rules}"
        return f"generation {self.generation} in force: {rules} ({self.difference})"

    @property
    def unfinished_lines(self) -> list[str]:
        """One line for each thing that failed when the rules were in force already."""
        return [f"the rules are in force, but this failed: {text}" for text in self.unfinished]

    @property
    def still_left_out(self) -> str:
        """One line about the parts that were left out before, or ''."""
        names = _names([left for left in self.left_out if left not in self.newly_left_out])
        return f"still wrong, as before: {names}" if names else ""

    @property
    def now_left_out(self) -> str:
        """The parts that are left out, in one line, or ''."""
        names = _names(self.left_out)
        return f"wrong: {names}" if names else ""

    @property
    def difference(self) -> str:
        """``1 added, 0 removed``."""
        return f"{len(self.added)} added, {len(self.removed)} removed"


def _names(parts: list[LeftOut]) -> str:
    names = [left.part for left in parts[:_SHOWN]]
    if len(parts) > _SHOWN:
        names.append(f"and {len(parts) - _SHOWN} more")
    return f"{', '.join(names)} ('sockreg status' says why)" if names else ""

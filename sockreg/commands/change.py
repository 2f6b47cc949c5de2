"""The result of a change of the rules in force."""

from __future__ import annotations

from dataclasses import dataclass, field

from sockreg.config.report import Notice
from sockreg.model import Binding
from sockreg.plural import plural


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a command changed, or would change.

    ``generation`` is the number in force afterwards, and ``swapped`` says whether it is new.
    ``count`` is its number of rules. Bindings are compared by their meaning, not by their place.
    """

    generation: int | None
    swapped: bool
    count: int
    added: list[Binding] = field(default_factory=list)
    removed: list[Binding] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """One line: ``generation 7 in force: 3 rules (1 added, 0 removed)``."""
        rules = plural(self.count, "rule")
        if not self.swapped:
            return f"nothing to change: generation {self.generation} has {rules}"
        return f"generation {self.generation} in force: {rules} ({self.difference})"

    @property
    def difference(self) -> str:
        """``1 added, 0 removed``."""
        return f"{len(self.added)} added, {len(self.removed)} removed"

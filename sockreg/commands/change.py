"""What a change of the rules in force comes to."""

from __future__ import annotations

from dataclasses import dataclass, field

from sockreg.config.report import Notice
from sockreg.model import Binding
from sockreg.plural import plural


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a command changed, or would change.

    ``generation`` is the number in force afterwards; ``swapped`` says whether it is new.
    ``count`` is the number of rules it has. Bindings are compared by what they mean, not by
    where they stand.
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

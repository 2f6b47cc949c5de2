"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """The severity of a finding."""

    ERROR = "error"  # traffic does not go where the rules say, or nothing will load
    WARNING = "warning"  # a trap that has not sprung yet
    NOTE = "note"  # for information; nothing needs to be done


@dataclass(frozen=True, kw_only=True)
class Finding:
    """``check`` is the name of its kind; ``where`` is a file:line, a unit or an address.

    ``what`` is wrong, ``why`` it matters, and how to ``fix`` it: one sentence each. The last has
    the command or line to write.
    """

    severity: Severity
    check: str
    where: str
    what: str
    why: str
    fix: str

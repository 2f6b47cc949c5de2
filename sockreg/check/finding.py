"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"  # traffic does not get where the rules say, or nothing will load
    WARNING = "warning"  # it works, but a trap lies open
    NOTE = "note"  # worth knowing; nothing need be done


@dataclass(frozen=True, kw_only=True)
class Finding:
    """``check`` is the name of its kind, ``where`` a file:line, a unit or an address.

    ``what`` is wrong, ``why`` it matters, and how to ``fix`` it: a sentence each, the last
    with the command or line to write.
    """

    severity: Severity
    check: str
    where: str
    what: str
    why: str
    fix: str

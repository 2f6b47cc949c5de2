"""Problems and notices found in the configuration, so that all are reported at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from sockreg.errors import ConfigError
from sockreg.model import Place
from sockreg.trust import UntrustedError

_SHOWN = 20


class Kind(Enum):
    """What a problem is about."""

    FILE = auto()  # a file that cannot be read
    LINE = auto()  # a line that cannot be parsed
    TIE = auto()  # two rules with equal precedence
    LABEL = auto()  # two units with one label that do not share it
    NETWORK = auto()  # a unit that listens in another network namespace
    FIT = auto()  # a part that does not go with the others, or with this host


class Problem(NamedTuple):
    """A problem that makes the rule set unusable; prints as ``path:line: text``."""

    place: Place
    text: str
    kind: Kind = Kind.LINE

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class Notice(NamedTuple):
    """Something that is read differently from how it is written; prints as ``path:line: text``.

    ``place`` is None if the notice belongs to no line of a file.
    """

    place: Place | None
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


@dataclass(frozen=True)
class Report:
    """Problems and notices, collected while files are read."""

    problems: list[Problem] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def refuse_problems(self) -> None:
        """Raise ConfigError with one problem per line, if there are any."""
        if not self.problems:
            return
        different = list(dict.fromkeys(map(str, self.problems)))
        lines = different[:_SHOWN]
        if len(different) > _SHOWN:
            lines.append(f"and {len(different) - _SHOWN} more")
        raise ConfigError(
            lines,
            hint="nothing was changed; correct this and apply again",
        )


def unreadable(error: OSError, path: str | None = None) -> Problem:
    """The problem that a file cannot be read. ``path`` is used if the error names no file."""
    place = Place(str(error.filename) if path is None else path, 0)
    if isinstance(error, UntrustedError):
        itself = error.filename == place.path
        told = error.strerror if itself else f"is not trusted: {error.filename} {error.strerror}"
        return Problem(place, str(told), Kind.FILE)
    return Problem(place, f"cannot be read: {error.strerror}", Kind.FILE)

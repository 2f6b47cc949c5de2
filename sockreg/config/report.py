"""What reading the configuration found: every problem of every file, told at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from sockreg.errors import ConfigError

_SHOWN = 20


@dataclass(frozen=True)
class Report:
    """Collected while files are read; each line is ``path:line: what``.

    ``problems`` make the rule set unusable, ``notices`` do not.
    """

    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def refuse_problems(self) -> None:
        """Raise SockregError (EXIT_CONFIG) with one problem a line, if there are any."""
        if not self.problems:
            return
        different = list(dict.fromkeys(self.problems))
        lines = different[:_SHOWN]
        if len(different) > _SHOWN:
            lines.append(f"and {len(different) - _SHOWN} more")
        raise ConfigError(
            "\n".join(lines),
            hint="nothing was changed; correct this and apply again",
        )

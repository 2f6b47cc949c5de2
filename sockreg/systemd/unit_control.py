"""What commands that change units ask of systemd; see also systemctl.py."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sockreg.errors import AccessError, SockregError
from sockreg.systemd import systemctl

EXIT_STATUS = ("ExecMainCode", "ExecMainStatus")  # properties for exit_status()
_EXITED = "1"  # ExecMainCode=: CLD_EXITED of sigaction(2)
_ASKED = ("LoadState", "LoadError", "ActiveState", "UnitFileState", "Result", *EXIT_STATUS,
          "Triggers")  # fmt: skip
_UP = ("active", "activating", "reloading")
_NOISE = re.compile("^(Created|Removed) symlink |^See |for details\\.$")


class State(NamedTuple):
    """A unit as systemd has it in memory; the words are those of ``systemctl show``.

    ``triggers`` are the units that a socket starts. ``exit_status`` is that of a service's main
    process, negative for the signal that ended it. ``load_error`` says why the unit's file was
    refused.
    """

    load: str
    load_error: str
    active: str
    file: str
    result: str
    exit_status: int
    triggers: tuple[str, ...]

    @property
    def is_up(self) -> bool:
        """Active, or about to be."""
        return self.active in _UP


def is_running() -> bool:
    """Whether systemd is the service manager here: sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")


def version() -> int:
    """The version of the systemd that runs, for example 252."""
    text = run(["show", "--property=Version", "--value"])
    found = re.match(r"v?(\d+)", text.strip())
    if found is None:
        raise SockregError(
            f"systemd says that it is version {text.strip()!r}",
            "give the mode: --mode companion works with any version",
        )
    return int(found[1])


def up(units: Iterable[str]) -> set[str]:
    """Which of these units are active, or about to be.

    This takes one question, while states() makes systemd load each unit and tell all about it.
    Raises SockregError if systemd cannot be asked.
    """
    names = list(units)
    # As patterns, in which a backslash is no plain character everywhere.
    found = systemctl.states(*(name.replace("\\", "?") for name in names)) if names else {}
    return {name for name in names if found.get(name) in _UP}


def states(units: Iterable[str]) -> dict[str, State]:
    """The state of each unit. Raises SockregError if systemd cannot be asked."""
    names = list(units)
    if not names:
        return {}
    text = run(["show", f"--property={','.join(_ASKED)}", "--", *names])
    blocks = [
        dict(line.partition("=")[::2] for line in block.split("\n")) for block in text.split("\n\n")
    ]
    return {name: _state(block) for name, block in zip(names, blocks, strict=True)}


def _state(properties: dict[str, str]) -> State:
    # Where systemd has an error, it prints ``org.freedesktop.systemd1.LoadFailed "the text"``.
    error = properties.get("LoadError", "").partition(" ")[2].strip('"')
    return State(
        load=properties.get("LoadState", ""),
        load_error=error,
        active=properties.get("ActiveState", ""),
        file=properties.get("UnitFileState", ""),
        result=properties.get("Result", ""),
        exit_status=exit_status(properties),
        triggers=tuple(shlex.split(properties.get("Triggers", ""))),
    )


def exit_status(properties: Mapping[str, str]) -> int:
    """The status of the last process of a unit with these properties, negative for a signal.

    They include those of EXIT_STATUS.
    """
    status = int(properties.get("ExecMainStatus") or 0)
    return status if properties.get("ExecMainCode") == _EXITED else -status


def run(arguments: Collection[str]) -> str:
    """Run systemctl. Returns what it prints.

    Raises SockregError with its words if it fails.
    """
    done = subprocess.run(
        ["systemctl", *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
    if done.returncode != 0:
        said = [line for line in done.stderr.split("\n") if line and not _NOISE.search(line)]
        kind = SockregError if os.geteuid() == 0 else AccessError
        raise kind(
            f"'{' '.join(['systemctl', *arguments])}' failed: {(said or ['(no message)'])[0]}",
            " ".join(said[1:]),
        )
    return done.stdout

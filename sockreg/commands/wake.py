"""Having sockreg run when the next rule ends.

If systemd runs this network namespace, a timer of systemd does it, which follows the wall clock
when that is set. Otherwise, a process in its own session does; it looks at the wall clock every few
seconds. Each apply sets the next timer again, if what would wake sockreg has died.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

from sockreg import shipped
from sockreg.commands.watch import is_systemds, watch_members
from sockreg.context import Context
from sockreg.errors import SockregError
from sockreg.host import detached
from sockreg.registry.generation_record import Header
from sockreg.rules.ending import format_time

_MARK = "end-"  # of a directory in the registry, which the process that waits has locked
_SOON = 10  # s; a timer for a time that has passed when systemd sees it would never run
_SETTINGS = ("AccuracySec=100ms", "RemainAfterElapse=no")
# It cannot end the rules while another command holds the lock for long.
_AGAIN = (
    "Restart=on-failure", "RestartSec=10", "StartLimitIntervalSec=3600", "StartLimitBurst=20"
)  # fmt: skip


def set_timers(context: Context, before: Header | None, after: Header) -> None:
    """Set the timers that the generation in force wants; arguments are as in watch()."""
    wake_at_end(context, after)
    watch_members(context, before, after)


def wake_at_end(context: Context, header: Header) -> None:
    """Have end_rules() run when the first of the rules of the generation in force ends.

    Raises SockregError if that cannot be done.
    """
    if not header.ends:
        return
    when = min(end for _, _, end in header.ends)
    root = header.root.path if header.root else "/"
    command = [sys.executable, "-I", str(shipped.PACKAGE / "__main__.py")]
    command += ["--bpffs", context.bpffs, "--root", root, "apply", "--ended", str(when)]
    if is_systemds(context):
        _set_timer(when, command)
    else:
        _leave_waiting(context.registry, when, command)


def _set_timer(when: int, command: list[str]) -> None:
    """Set a timer of systemd, unless it is set already."""
    name = f"sockreg-end-{when}"
    told = format_time(when)
    stay = f"the rules that end at {told} stay until an apply after that"
    if _run(["systemctl", "is-active", "--quiet", f"{name}.timer"], stay).returncode == 0:
        return
    left = when - time.time()
    day, clock = told.rstrip("Z").split("T")
    at = f"--on-calendar={day} {clock} UTC"
    if left < _SOON:
        at = f"--on-active={max(0, left):.3f}s"  # the process then waits for the wall clock
    settings = [f"--timer-property={setting}" for setting in _SETTINGS]
    settings += [f"--property={setting}" for setting in _AGAIN]
    about = f"--description=Socket registry, rules that end at {told}"
    run = ["systemd-run", "--quiet", at, *settings, "--collect", f"--unit={name}", about, "--"]
    done = _run([*run, *command], stay)
    if done.returncode != 0:
        raise SockregError(f"systemd-run: {done.stderr.strip()}; {stay}")


def _run(command: list[str], otherwise: str) -> subprocess.CompletedProcess[str]:
    """Run a program of systemd. Raises SockregError if it is not there."""
    try:
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except OSError as error:
        raise SockregError(f"{command[0]}: {error.strerror}; {otherwise}") from None


def _leave_waiting(registry: str, when: int, command: list[str]) -> None:
    """Leave a process that waits, unless there is one. It holds a lock as long as it lives."""
    wanted = f"{_MARK}{when}"
    for path in Path(registry).glob(f"{_MARK}*"):
        if path.name != wanted:
            fd = _locked(path)
            if fd is not None:
                path.rmdir()
                os.close(fd)
    path = Path(registry, wanted)
    path.mkdir(mode=0o700, exist_ok=True)
    fd = _locked(path)
    if fd is not None:
        try:
            detached.run(command, fd)
        finally:
            os.close(fd)


def _locked(path: Path) -> int | None:
    """A descriptor of the directory, locked; None if another process has locked it, or if it is
    gone.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd

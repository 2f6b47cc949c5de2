"""Registering inherited sockets, then becoming the server that they were passed for."""

import os
import shutil
import signal
from collections.abc import Sequence

from sockreg import streams
from sockreg.errors import UsageError
from sockreg.systemd import listen_fds


def labelled(received: Sequence[tuple[int, str]], labels: Sequence[str]) -> list[tuple[int, str]]:
    """The sockets with their labels: their names, one label for all, or one label each.

    Raises UsageError if there are neither as many labels as sockets nor one.
    """
    if not labels:
        return list(received)
    if len(labels) not in (1, len(received)):
        raise UsageError(
            f"{len(labels)} labels for {len(received)} sockets",
            "give one label per socket in order, one for all, or none: then each socket has its "
            "FileDescriptorName=",
        )
    names = list(labels) if len(labels) == len(received) else [labels[0]] * len(received)
    return [(fd, name) for (fd, _), name in zip(received, names, strict=True)]


def check_command(command: Sequence[str]) -> None:
    """Raises UsageError if there is no such program, before anything is registered."""
    if shutil.which(command[0]) is None:
        raise UsageError(f"{command[0]}: no such program, or not executable", "check PATH")


def become(command: Sequence[str]) -> None:
    """Run ``command`` in place of this process, with everything that this process was given.

    LISTEN_PID stays right, because execve(2) keeps the pid. Raises OSError if it cannot be run.
    """
    count = int(os.environ.get("LISTEN_FDS", "0"))
    for fd in range(listen_fds.FIRST_FD, listen_fds.FIRST_FD + count):
        os.set_inheritable(fd, True)
    streams.flush()
    # Python ignores two signals, and ignoring is inherited. SIGPIPE stays ignored, as systemd does
    # for services (IgnoreSIGPIPE= in systemd.exec(5)).
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execvpe(command[0], list(command), _given_environment())


def _given_environment() -> dict[bytes, bytes]:
    """The environment as it was: Python may have set LC_CTYPE in it (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        entries = file.read().split(b"\0")
    pairs = (entry.partition(b"=") for entry in entries if b"=" in entry)
    return {name: value for name, _, value in pairs}

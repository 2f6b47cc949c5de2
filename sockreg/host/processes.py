"""Processes: their names, their units, and the sockets they have open.

All of it comes from /proc (proc(5)). A process may end between two reads. Functions about all
processes leave such a process out, and functions about one process raise FileNotFoundError or
ProcessLookupError.
"""

import os
from collections.abc import Iterable
from typing import NamedTuple

from sockreg.printable import printable
from sockreg.systemd.unit_of import unit_of

SYSTEMD = 1  # its pid; it keeps open the sockets that it passes on


class Process(NamedTuple):
    """Prints as ``nginx (pid 123)``."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


class Holders(NamedTuple):
    """Who has sockets open: (process, descriptor) by the socket's inode, by ascending pid.

    ``hidden`` counts the processes without permission to look into.
    """

    by_inode: dict[int, list[tuple[Process, int]]]
    hidden: int

    def of(self, inode: int) -> list[Process]:
        """Who has one socket open, as far as it may be seen; systemd last."""
        held = [process for process, _ in self.by_inode.get(inode, [])]
        return sorted(held, key=lambda process: process.pid == SYSTEMD)


def named(pid: int) -> Process:
    """The process with its name. Raises OSError if there is none.

    A process chooses its name: it may be a command for the terminal.
    """
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="backslashreplace") as comm:
        return Process(pid, printable(comm.read().removesuffix("\n")))


def all_pids() -> list[int]:
    """The processes of this pid namespace in /proc, ascending."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def socket_descriptors(pid: int) -> dict[int, int]:
    """The sockets that a process has open: inode -> its first descriptor of the socket.

    Raises PermissionError, unless the process is of the same user, or we have CAP_SYS_PTRACE (for
    PTRACE_MODE_READ_FSCREDS) and CAP_DAC_READ_SEARCH (for the mode of the directory,
    proc_fd_permission() in fs/proc/fd.c).
    """
    directory = f"/proc/{pid}/fd"
    found: dict[int, int] = {}
    for name in sorted(os.listdir(directory), key=int):
        try:
            target = os.readlink(f"{directory}/{name}")
        except FileNotFoundError:
            continue  # closed in the meantime
        if target.startswith("socket:["):
            found.setdefault(int(target[len("socket:[") : -1]), int(name))
    return found


def holders(inodes: Iterable[int], pids: Iterable[int] | None = None) -> Holders:
    """Which of ``pids`` (all processes by default) have one of these sockets open."""
    wanted = set(inodes)
    found = Holders({}, 0)
    hidden = 0
    for pid in all_pids() if pids is None else pids:
        try:
            descriptors = socket_descriptors(pid)
            for inode in wanted & descriptors.keys():
                found.by_inode.setdefault(inode, []).append((named(pid), descriptors[inode]))
        except PermissionError:
            hidden += 1
        except (FileNotFoundError, ProcessLookupError):
            continue  # the process has ended
    return found._replace(hidden=hidden)


def pids_of_unit(unit: str) -> list[int]:
    """The processes of a unit except this one, which may run as its ExecStartPost=."""
    found = []
    for pid in all_pids():
        try:
            if pid != os.getpid() and unit_of(pid) == unit:
                found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # the process has ended
    return found

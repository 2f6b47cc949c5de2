"""Where the state of a network namespace is pinned, and who may write it when.

    BPFFS/sockreg/NETNS/            the registry; its lock guards slots and members
        sockets counters pools destinations members units       pinned maps
        copy_socket                 a program that copies a socket from slot to slot
        link                        the attached program: this is what is in force
        generations/                its lock guards the swap of generations
            7/program table rules   a compiled rule set and the program that holds it
        sockops/                    for those who ask for it: see registry/sockops.py

NETNS is the namespace's cookie (SO_NETNS_COOKIE), which unlike an inode number is never
used twice; ``inode-N`` on kernels before 5.14. bpffs forbids dots in names.
On the companion's start-up path.
"""

import errno
import fcntl
import posix
import time

from sockreg.errors import (
    AccessError,
    BusyError,
    NotLoadedError,
    SockregError,
)

BPFFS = "/sys/fs/bpf"
HOME = "sockreg"  # our directory in the bpffs
MAPS = ("sockets", "counters", "pools", "destinations", "members", "units")
COPY = "copy_socket"  # a program that copies a socket between slots
LINK = "link"
GENERATIONS = "generations"
UNFINISHED = "new-"  # prefix of a registry or generation that is still being built

_POLL = 0.01  # s between two looks at a lock


def netns_name(cookie: int, inode: int) -> str:
    """The directory name of a network namespace."""
    return str(cookie) if cookie else f"inode-{inode}"


def registry_path(bpffs: str, netns: str) -> str:
    return f"{bpffs}/{HOME}/{netns}"


def not_loaded(path: str) -> SockregError:
    return NotLoadedError(
        f"no registry at {path}: nothing is loaded in this network namespace",
        "start it: 'systemctl start sockreg.service' or 'sockreg load'",
    )


def denied(path: str, error: OSError) -> SockregError:
    hint = "run it as root, or as a member of the group that owns the pin"
    # Not the pin's mode (EACCES) but bpf(2) itself, whatever one does (__sys_bpf()).
    if error.errno == errno.EPERM:
        hint = "before Linux 5.19 that needs CAP_BPF and CAP_NET_ADMIN: add them to the unit"
    return AccessError(f"{path}: {error.strerror}", hint)


class Lock:
    """An exclusive flock(2) on a directory, released by ``close`` or the end of the process.

    A registry can be removed and made again between opening the directory and locking
    it; then the lock is taken on the new one. ``timeout`` is in seconds. SockregError:
    EXIT_BUSY names the holder, EXIT_NOT_LOADED if the directory is gone.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        deadline = time.monotonic() + timeout
        while True:
            self._fd = self._open()
            if self._acquired(deadline, timeout):
                return
            posix.close(self._fd)

    def _open(self) -> int:
        try:
            return posix.open(self.path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        except FileNotFoundError:
            raise not_loaded(self.path) from None
        except PermissionError as error:
            raise denied(self.path, error) from None

    def _acquired(self, deadline: float, timeout: float) -> bool:
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno != errno.EWOULDBLOCK:
                    raise
            if time.monotonic() >= deadline:
                raise BusyError(
                    f"{self.path} is locked by {_holder(posix.fstat(self._fd).st_ino)} "
                    f"for more than {timeout:g} s",
                    "wait for it to end and try again",
                )
            time.sleep(_POLL)
        try:
            return posix.fstat(self._fd).st_ino == posix.stat(self.path).st_ino
        except FileNotFoundError:
            raise not_loaded(self.path) from None

    def close(self) -> None:
        posix.close(self._fd)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _holder(inode: int) -> str:
    """The process that holds a flock, from /proc/locks: ``sockreg (pid 123)``."""
    try:
        with open("/proc/locks", encoding="ascii") as locks:
            for line in locks:
                words = line.split()
                if "FLOCK" in words and "->" not in words and words[5].endswith(f":{inode}"):
                    with open(f"/proc/{words[4]}/comm", encoding="utf-8") as comm:
                        return f"{comm.read().strip()} (pid {words[4]})"
    except OSError:
        pass  # /proc may be hidden from a hardened unit; the message does without
    return "another process"

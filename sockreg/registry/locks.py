"""Locks: who may write to a registry, and when.

They are taken in this order: sockreg's directory in the bpffs to create or remove a registry, its
generations to change rules, the registry itself to change slots and members.

flock(2) takes no more than the right to open a directory for reading. So readers may enter the
first two, but not open them. They list the registry, so a directory in it is locked in its place.

On the companion's start-up path.
"""

import errno
import fcntl
import posix
import time

from sockreg.errors import BusyError
from sockreg.printable import printable
from sockreg.registry.directory import GENERATIONS, LOCK, damaged, denied, is_there, not_loaded

PATIENCE = 60.0  # s; a million rules take half of this
REGISTRATION_PATIENCE = 5.0  # s; the companion's unit gives up after 10
_POLL = 0.01  # s between two attempts to lock
_FLAGS = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC


class DirectoryLock:
    """An exclusive flock(2) on a directory, released with the block or when the process ends.

    A registry can be removed and created again between opening and locking the directory; then the
    new directory is locked. ``patience`` is in seconds. Raises BusyError, which names the holder,
    and NotLoadedError if the directory is gone.
    """

    def __init__(self, path: str, patience: float | None = None) -> None:
        self.path = path
        self._locked = path
        self._patience = PATIENCE if patience is None else patience
        deadline = time.monotonic() + self._patience
        while True:
            self._fd = self._open()
            try:
                acquired = self._acquired(deadline)
            except BaseException:
                posix.close(self._fd)
                raise
            if acquired:
                return
            posix.close(self._fd)

    def _open(self) -> int:
        try:
            return posix.open(self._locked, _FLAGS)
        except FileNotFoundError:
            registry, _, name = self.path.rpartition("/")
            if name == GENERATIONS and is_there(registry):
                raise damaged(self.path) from None
            raise not_loaded(self.path) from None
        except PermissionError as error:
            raise denied(self.path, error) from None

    def _acquired(self, deadline: float) -> bool:
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno != errno.EWOULDBLOCK:
                    raise
            if time.monotonic() >= deadline:
                raise BusyError(
                    f"{self.path} has been locked by {_holder(posix.fstat(self._fd).st_ino)} for "
                    f"more than {self._patience:g} s",
                    "wait for it to end and try again",
                )
            time.sleep(_POLL)
        try:
            return posix.fstat(self._fd).st_ino == posix.stat(self._locked).st_ino
        except FileNotFoundError:
            raise not_loaded(self.path) from None

    def __enter__(self) -> "DirectoryLock":
        return self

    def __exit__(self, *_: object) -> None:
        posix.close(self._fd)


class Lock(DirectoryLock):
    """The lock of a registry. Its ``path`` is the registry, which readers may open, too."""

    def _open(self) -> int:
        self._locked = f"{self.path}/{LOCK}"
        try:
            return posix.open(self._locked, _FLAGS)
        except FileNotFoundError:
            pass  # the registry of a version that locked the registry itself
        except PermissionError as error:
            raise denied(self.path, error) from None
        try:
            posix.mkdir(self._locked, 0o700)
        except OSError as error:
            # The units of the companion and the receiver may write to maps, and make no directory.
            if error.errno == errno.EROFS:
                self._locked = self.path
        return super()._open()


def _holder(inode: int) -> str:
    """The process that holds a flock, from /proc/locks: ``sockreg (pid 123)``."""
    try:
        with open("/proc/locks", encoding="ascii") as locks:
            for line in locks:
                words = line.split()
                if "FLOCK" in words and "->" not in words and words[5].endswith(f":{inode}"):
                    with open(f"/proc/{words[4]}/comm", "rb") as comm:
                        name = comm.read().decode("utf-8", "surrogateescape")
                    return f"{printable(name[:-1])} (pid {words[4]})"
    except OSError:
        pass  # /proc may be hidden from a hardened unit; the message then has no name
    return "another process"

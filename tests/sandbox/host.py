"""What a sandbox needs of the host: a directory, a cgroup, and that both go away again.

A box's directory and cgroup carry the same name. Its owner holds a lock on the directory
for as long as it lives, so what a killed run left behind is known by its free lock.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "sockreg-box-"


class HostPlace:
    """A new box's directory and cgroup on the host."""

    def __init__(self) -> None:
        self._cgroups = _cgroup2()
        with _all_places():
            self._remove_abandoned()
            self.directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
            self._lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self.cgroup = self._cgroups / self.directory.name
            try:
                self.cgroup.mkdir()
            except OSError:
                self.directory.rmdir()
                os.close(self._lock)
                raise

    def remove(self) -> None:
        """Remove both. The box's processes and mounts must be gone."""
        deadline = time.monotonic() + 10
        while not _remove_cgroup(self.cgroup):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.cgroup} is still in use")
            time.sleep(0.01)
        shutil.rmtree(self.directory)
        os.close(self._lock)

    def _remove_abandoned(self) -> None:
        for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _remove_cgroup(self._cgroups / directory.name):
                    shutil.rmtree(directory)
            except BlockingIOError:
                continue
            finally:
                os.close(lock)


@contextmanager
def _all_places() -> Iterator[None]:
    """One at a time: nobody sweeps a directory that is made but not yet locked."""
    fd = os.open(tempfile.gettempdir(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _cgroup2() -> Path:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, target, fstype, *_ = line.split(" ")
        if fstype == "cgroup2":
            return Path(target)
    raise AssertionError("the sandbox needs a cgroup2 hierarchy, and none is mounted")


def _remove_cgroup(cgroup: Path) -> bool:
    """Remove a cgroup and those below it; say whether it is gone."""
    for directory, _, _ in os.walk(cgroup, topdown=False):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue
        except OSError:
            # EBUSY: its last process is still on the way out.
            return False
    return True

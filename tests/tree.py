"""The source tree: where it lies, and a copy of it that every user can read.

The tree may have any name and lie anywhere, also below directories that only root can enter,
and its files may have any mode. Processes without privilege and boxes (tests/sandbox) use the
copy.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.linux import MNT_DETACH, MS_NODEV, MS_NOSUID, mount, private_mounts, umount

ROOT = Path(__file__).resolve().parents[1]
# Where every box has the copy. No unit of systemd gets a name of sockreg's from it.
IN_BOX = "/run/tree"

_DIRECTORY = Path("/run")
_PREFIX = "sockreg-tree-"
_PARTS = ("bpf", "docs", "pyproject.toml", "sockreg", "tests", "units")


@cache
def public() -> Path:
    """A copy of the tree that every user can read. It ends with this process; takes root.

    It lies in a tmpfs that only this process and its children see.
    """
    private_mounts()
    # One process at a time: none removes what is made but not yet locked.
    everywhere = _open(_DIRECTORY)
    fcntl.flock(everywhere, fcntl.LOCK_EX)
    _remove_abandoned()
    place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_DIRECTORY))
    fcntl.flock(_open(place), fcntl.LOCK_EX)  # for as long as this process lives
    os.close(everywhere)
    mount("tmpfs", str(place), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    atexit.register(_remove, place, os.getpid())
    for name in _PARTS:
        copy(ROOT / name, place / name)
    return place


def copy(source: Path, target: Path) -> None:
    """Copy a file or directory, without bytecode, so that every user can read the copy."""
    if source.is_dir():
        target.mkdir(parents=True)
        target.chmod(0o755)
        for entry in source.iterdir():
            if entry.name != "__pycache__":
                copy(entry, target / entry.name)
    else:
        shutil.copy2(source, target)
        target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)


def _remove(place: Path, owner: int) -> None:
    # A child that was forked has the same list of things to do at its end.
    if os.getpid() == owner:
        umount(str(place), MNT_DETACH)
        place.rmdir()


def _remove_abandoned() -> None:
    """Remove the empty directories of processes that were killed: nobody locks them."""
    for place in _DIRECTORY.glob(f"{_PREFIX}*"):
        if place.is_mount():  # that of a parent
            continue
        with suppress(FileNotFoundError, BlockingIOError):
            lock = _open(place)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                place.rmdir()
            finally:
                os.close(lock)


def _open(directory: Path) -> int:
    return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

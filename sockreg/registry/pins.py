"""Pins: names in the bpffs that keep maps, programs and links, and their permissions."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sockreg.host import capabilities
from sockreg.kernel import bpf
from sockreg.registry.directory import (
    COPY,
    DENIED,
    GENERATIONS,
    HOME,
    LINK,
    LOCK,
    PROGRAM,
    TRACING,
    denied,
)

# BPF_PROG_TEST_RUN takes no more than the right to open a program's pin for reading, and a run of
# a program changes what it changes. So readers may open only maps.
_PRIVATE = (COPY, LINK, PROGRAM, TRACING)
_DIRECTORIES = {HOME: 0o2710, GENERATIONS: 0o2710, LOCK: 0o2700}


@contextlib.contextmanager
def pinned(path: str | Path, *, read_only: bool = False) -> Iterator[int]:
    """A descriptor of a pin, closed with the block. Raises AccessError without permission."""
    try:
        opened = bpf.Pinned(str(path), bpf.READ_ONLY if read_only else bpf.READ_WRITE)
    except OSError as error:
        if error.errno not in DENIED:
            raise
        raise denied(str(path), error) from None
    with opened as fd:
        yield fd


@contextlib.contextmanager
def closing(fd: int) -> Iterator[int]:
    """A descriptor that is closed with the block."""
    try:
        yield fd
    finally:
        os.close(fd)


def pin(fd: int, path: Path) -> None:
    """Pin: the owner may write, and the group may read what is a map.

    Raises AccessError if that is refused.
    """
    try:
        bpf.obj_pin(fd, str(path))
    except OSError as error:
        if error.errno not in DENIED:
            raise
        raise denied(str(path), error) from None
    path.chmod(_mode(path))


def _mode(path: Path) -> int:
    return 0o600 if path.name in _PRIVATE else 0o640


def _directory_mode(path: Path) -> int:
    return _DIRECTORIES.get(path.name, 0o2750)


def narrow(registry: Path) -> None:
    """Take from a registry and all below the permissions that this version would not give.

    Earlier versions of sockreg gave more. Raises OSError.
    """
    _narrow(registry.parent)
    for directory, _, files in os.walk(registry):
        for path in (directory, *(f"{directory}/{name}" for name in files)):
            _narrow(Path(path))


def _narrow(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # registrations go on meanwhile
        found = path.lstat()
        mode = found.st_mode
        allowed = _directory_mode(path) if stat.S_ISDIR(mode) else _mode(path)
        if stat.S_ISLNK(mode) or not stat.S_IMODE(mode) & ~allowed:
            return
        # Without the bit, readers would lose what is made later. The loader's unit narrows its
        # directories before it drops capabilities.
        if not mode & stat.S_ISGID or _keeps_set_group_id(found.st_gid):
            path.chmod(stat.S_IMODE(mode) & allowed)


def _keeps_set_group_id(group: int) -> bool:
    return group in (os.getegid(), *os.getgroups()) or capabilities.keeps_set_group_id()


def make_directory(path: Path) -> None:
    """Create a directory of pins that the owner may write and the group may enter.

    The group may also list those that are not locked; see registry/locks.py.

    The umask does not matter. chmod(2) would remove the set-group-ID bit that the directory
    inherits from its parent (setattr_copy() in fs/attr.c); see registry/access.py.
    """
    before = os.umask(0o027)
    try:
        path.mkdir(mode=_directory_mode(path) & 0o777)
    finally:
        os.umask(before)


def remove_directory(path: Path) -> None:
    """Remove a directory of pins, if it exists."""
    if path.exists():
        import shutil

        shutil.rmtree(path)

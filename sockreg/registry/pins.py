"""Pins: names in the bpffs that keep maps, programs and links, and their permissions."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sockreg.kernel import bpf
from sockreg.registry.directory import DENIED, denied

MODE = 0o640


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
    """Pin, so that the owner may write and the group may read. AccessError if that is refused."""
    try:
        bpf.obj_pin(fd, str(path))
    except OSError as error:
        if error.errno not in DENIED:
            raise
        raise denied(str(path), error) from None
    path.chmod(MODE)


def make_directory(path: Path) -> None:
    """Create a directory of pins that the owner may write and the group may read.

    The umask does not matter. chmod(2) would remove the set-group-ID bit that the directory
    inherits from its parent (setattr_copy() in fs/attr.c); see registry/access.py.
    """
    before = os.umask(0o027)
    try:
        path.mkdir(mode=0o750)
    finally:
        os.umask(before)


def remove_directory(path: Path) -> None:
    """Remove a directory of pins, if it exists."""
    if path.exists():
        import shutil

        shutil.rmtree(path)

"""Keeping typing errors from disarming a host: another --root, or one without its files.

A generation remembers the directory that its rules were read from. Rules from another directory, or
from the same one while a file system below it is not mounted, would replace all of them.
"""

from __future__ import annotations

import os

from sockreg.errors import RefusedError
from sockreg.printable import shell
from sockreg.registry.generation_record import Header, Root


def root_of(path: str) -> Root:
    """What a generation remembers of the root ``path``. Raises OSError if it is not there."""
    found = os.stat(path)
    return Root(path, found.st_dev, found.st_ino)


def same(one: Root, other: Root) -> bool:
    """Whether both are one directory, or one took the place of the other in one file system.

    The latter also means inode numbers that do not last, as on overlayfs. What a chroot(2) sees as
    ``/`` is not the host's.
    """
    if one[1:] == other[1:]:
        return True
    paths = os.path.realpath(one.path), os.path.realpath(other.path)
    return one.device == other.device and paths[0] == paths[1] != "/"


def guard(header: Header | None, path: str, *, force: bool) -> None:
    """Raise RefusedError unless rules in force are those of ``path``, or ``force`` is given.

    ``header`` describes the generation in force.
    """
    if force or header is None or header.root is None:
        return
    refuse_other(
        header,
        path,
        f"use 'sockreg --root {shell(path)} apply --force' to put the rules there in force instead",
    )
    lost = _lost(header, header.root, path)
    if lost:
        raise RefusedError(
            f"{lost}: missing or empty, but rules in force were read from files below it",
            "nothing was changed; mount it ('findmnt' shows what is mounted), or use 'sockreg "
            "apply --force' if the files are gone for good",
        )


def refuse_other(header: Header | None, path: str, otherwise: str) -> None:
    """Raise RefusedError if the rules in force were read below another directory than ``path``.

    ``otherwise`` is what to do if that is meant, for the hint.
    """
    if header is None or header.root is None or same(header.root, root_of(path)):
        return
    before = header.root.path
    if os.path.realpath(before) == os.path.realpath(path):
        what = "another directory than the one below which the rules in force were read"
        fix = "mount or restore what was there"
    else:
        what = f"another root than {before}, below which the rules in force were read"
        fix = f"give --root {before}"
    raise RefusedError(f"--root {path}: {what}", f"nothing was changed; {fix}, or {otherwise}")


def _lost(header: Header, root: Root, path: str) -> str | None:
    """The first directory right below the root that rules in force came from and that is empty."""
    before = root.path.rstrip("/") + "/"
    tops = {
        file.removeprefix(before).partition("/")[0]
        for file in header.paths
        if file.startswith(before)
    }
    for top in sorted(tops):
        directory = os.path.join(path, top)
        try:
            with os.scandir(directory) as entries:
                if next(entries, None) is None:
                    return directory
        except FileNotFoundError:
            return directory
        except OSError:
            continue  # reading the rules says what is wrong with it
    return None

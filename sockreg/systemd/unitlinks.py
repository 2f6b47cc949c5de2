"""The links by which systemctl(1) enables units, in the directories that it writes to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable

from sockreg.systemd.unitpaths import search_path

_WRITTEN = ("/etc/systemd/system", "/run/systemd/system")
_PULLING = (".wants", ".requires", ".upholds")


def links_of(root: str, units: Collection[str]) -> list[str]:
    """The links that pull in one of these units, where systemctl makes them. Raises OSError."""
    return _links(units, [root.rstrip("/") + directory for directory in _WRITTEN])


def other_links_of(root: str, units: Collection[str]) -> list[str]:
    """The links that pull in one of these units, and that packages or generators make."""
    ours = {root.rstrip("/") + directory for directory in _WRITTEN}
    return _links(units, [place for place in search_path(root) if place not in ours])


def _links(units: Collection[str], directories: Iterable[str]) -> list[str]:
    """The links in .wants, .requires and .upholds directories that name one of these units.

    The name of a link counts, not its target, as in process_deps() of systemd's
    core/load-dropin.c.
    """
    found = []
    for top in directories:
        for name in sorted(_listed(top)):
            if name.endswith(_PULLING):
                pulled = sorted(_listed(f"{top}/{name}") & set(units))
                found += [f"{top}/{name}/{unit}" for unit in pulled]
    return [path for path in found if os.path.islink(path)]


def remove_links(paths: Iterable[str]) -> None:
    """Remove links, and their directories if nothing is left in them. Raises OSError."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        remove_if_empty(os.path.dirname(path))


def remove_if_empty(directory: str) -> None:
    """Remove a directory unless it has files. Raises OSError."""
    if not _listed(directory):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(directory)


def _listed(directory: str) -> set[str]:
    try:
        return set(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return set()

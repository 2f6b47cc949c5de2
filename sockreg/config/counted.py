"""Which .socket units count: those whose ``sockreg@`` companion is enabled or active.

A unit that is only installed changes nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from typing import NamedTuple

from sockreg.config.parts import NO_FILES
from sockreg.config.report import Notice, Problem, unreadable
from sockreg.config.socketunit import (
    SocketUnit,
    nowhere,
    read_socket_unit,
    wanted_by_dropins,
    wants_companion,
)
from sockreg.systemd.unitpaths import (
    files_in,
    files_state,
    find_unit,
    has_content,
    is_masked,
    is_template,
    lost_links,
    reachable,
    search_path,
    winners,
)
from sockreg.terms import COMPANION_PREFIX, companion, is_unit_name


class Unread(NamedTuple):
    """Why a unit cannot be read, and files_state() of its files as far as they are found."""

    problem: Problem
    state: tuple[int, int, int, int]


class Counted(NamedTuple):
    """``units`` count. ``unread`` count, but cannot be read. ``directories`` cannot be read, so
    that further units may count.
    """

    units: dict[str, SocketUnit]
    unread: dict[str, Unread]
    directories: list[Problem]
    notices: list[Notice]


def counted_units(root: str, active: Collection[str]) -> Counted:
    """The units that count, sorted by name.

    These are the ``active`` units, the units whose companion is enabled, and the units that are
    enabled themselves and want their companion in their own files. Units that are missing or masked
    do not count, nor do units whose companion is masked.
    """
    directories: list[Problem] = []
    pulled_in = _pulled_in(root, directories)
    by_companion = _of_companions(pulled_in)
    units: dict[str, SocketUnit] = {}
    unread: dict[str, Unread] = {}
    notices: list[Notice] = []
    for name in sorted(by_companion.union(active)):
        try:
            if is_masked(root, companion(name)):
                continue
            unit = read_socket_unit(root, name)
            if unit:
                units[name] = unit
            elif lost := lost_links(root, name):
                unread[name] = Unread(nowhere(lost[0]), NO_FILES)
            elif name in by_companion:
                text = f"{companion(name)} is enabled, but {_lack(root, name)}"
                notices.append(Notice(None, text))
        except OSError as error:
            unread[name] = Unread(unreadable(error, error.filename or name), _state(root, name))
    for name in sorted(pulled_in):
        if name.endswith(".socket") and name not in units and name not in unread:
            try:
                unit = read_socket_unit(root, name)
                if unit is None:
                    _add_lost(root, name, unread, notices)
                elif wants_companion(unit) and not is_masked(root, companion(unit.name)):
                    units[unit.name] = unit
            except OSError:
                continue  # as far as anybody can see, it does not count
    return Counted(dict(sorted(units.items())), unread, directories, notices)


def _add_lost(root: str, name: str, unread: dict[str, Unread], notices: list[Notice]) -> None:
    """Name a unit that would register its own sockets, but is not there. Raises OSError."""
    wanted = wanted_by_dropins(root, name)
    lost = lost_links(root, name)
    if wanted and lost:
        unread[name] = Unread(nowhere(lost[0]), NO_FILES)
    elif wanted:
        text = f"{wanted[0].path}: {name} is enabled with sockreg, but {_lack(root, name)}"
        notices.append(Notice(None, text))


def lost_units(root: str) -> dict[str, str]:
    """.socket units that would register their own sockets, but are missing or masked, and the
    drop-in of each that says so.
    """
    found = {}
    for name in sorted(_pulled_in(root, [])):
        with contextlib.suppress(OSError):
            if name.endswith(".socket") and not find_unit(root, name)[1]:
                wanted = wanted_by_dropins(root, name)
                if wanted and not lost_links(root, name):
                    found[name] = wanted[0].path
    return found


def units_of_companions(root: str) -> set[str]:
    """The .socket units whose companion is enabled, whether they exist or not."""
    return _of_companions(_pulled_in(root, []))


def _of_companions(pulled_in: Collection[str]) -> set[str]:
    return {
        name.removeprefix(COMPANION_PREFIX).removesuffix(".service") + ".socket"
        for name in pulled_in
        if name.startswith(COMPANION_PREFIX) and name.endswith(".service") and not is_template(name)
    }


def _pulled_in(root: str, problems: list[Problem]) -> set[str]:
    """Names of companions and .socket units in the .wants or .requires directory of any unit.

    Directories that cannot be read are added to the problems. The name of the link counts, not its
    target. The first directory that has the link wins, and a link to /dev/null undoes it
    (process_deps() of systemd's core/load-dropin.c).
    """
    directories = search_path(root)
    lists = {
        name
        for directory in directories
        for name in _names(directory, problems)
        if name.endswith((".wants", ".requires"))
    }
    pulled_in: set[str] = set()
    for listed in sorted(lists):
        places = [f"{directory}/{listed}" for directory in directories]
        for path in winners([(place, _files(place, problems)) for place in places]):
            name = os.path.basename(path)
            ours = name.startswith(COMPANION_PREFIX) or name.endswith(".socket")
            if ours and is_unit_name(name) and os.path.islink(path) and not _is_mask(root, path):
                pulled_in.add(name)
    return pulled_in


def _names(directory: str, problems: list[Problem]) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        problems.append(unreadable(error, directory))
        return []


def _files(directory: str, problems: list[Problem]) -> list[str]:
    try:
        return files_in(directory, "")
    except OSError as error:
        if not any(directory.startswith(f"{problem.place.path}/") for problem in problems):
            problems.append(unreadable(error, directory))
        return []


def _is_mask(root: str, path: str) -> bool:
    """Whether a link leads to an empty file. A link that leads nowhere does not."""
    try:
        return os.path.exists(reachable(root, path)) and not has_content(root, path)
    except OSError:
        return False  # as for systemd, the name of the link counts, wherever it leads


def _state(root: str, name: str) -> tuple[int, int, int, int]:
    """As the companion sees it: companion/lifecycle.py."""
    try:
        return files_state(find_unit(root, name)[1])
    except OSError:
        return NO_FILES


def _lack(root: str, name: str) -> str:
    if is_template(name):
        return f"{name} is a template"
    return f"{name} is masked" if is_masked(root, name) else f"there is no {name}"

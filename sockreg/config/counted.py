"""Which .socket units count: those whose ``sockreg@`` companion is enabled or active.

A unit that is only installed changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from sockreg.config.report import Notice, Report, unreadable
from sockreg.config.socketunit import SocketUnit, read_socket_unit, wants_companion
from sockreg.systemd.unitpaths import (
    files_in,
    has_content,
    is_masked,
    is_template,
    reachable,
    search_path,
    winners,
)
from sockreg.terms import COMPANION_PREFIX, companion


def counted_units(root: str, active: Collection[str], report: Report) -> dict[str, SocketUnit]:
    """The units that count, sorted by name.

    These are the ``active`` units, the units whose companion is enabled, and the units that are
    enabled themselves and want their companion in their own files. Units that are missing or masked
    do not count, nor do units whose companion is masked.
    """
    pulled_in = _pulled_in(root)
    by_companion = _of_companions(pulled_in)
    units: dict[str, SocketUnit] = {}
    for name in sorted(by_companion.union(active)):
        if is_masked(root, companion(name)):
            continue
        unit = _read(root, name, report)
        if unit:
            units[name] = unit
        elif name in by_companion:
            text = f"{companion(name)} is enabled, but {_lack(root, name)}"
            report.notices.append(Notice(None, text))
    for name in sorted(pulled_in):
        if name.endswith(".socket") and name not in units:
            unit = _read(root, name, report)
            if unit and wants_companion(unit) and not is_masked(root, companion(unit.name)):
                units[unit.name] = unit
    return dict(sorted(units.items()))


def units_of_companions(root: str) -> set[str]:
    """The .socket units whose companion is enabled, whether they exist or not."""
    return _of_companions(_pulled_in(root))


def _of_companions(pulled_in: Collection[str]) -> set[str]:
    return {
        name.removeprefix(COMPANION_PREFIX).removesuffix(".service") + ".socket"
        for name in pulled_in
        if name.startswith(COMPANION_PREFIX) and name.endswith(".service") and not is_template(name)
    }


def _pulled_in(root: str) -> set[str]:
    """Names of companions and .socket units in the .wants or .requires directory of any unit.

    The name of the link counts, not its target. The first directory that has the link wins, and a
    link to /dev/null undoes it (process_deps() of systemd's core/load-dropin.c).
    """
    directories = search_path(root)
    lists = {
        name
        for directory in directories
        for name in _names(directory)
        if name.endswith((".wants", ".requires"))
    }
    pulled_in: set[str] = set()
    for listed in sorted(lists):
        places = [f"{directory}/{listed}" for directory in directories]
        for path in winners([(place, files_in(place, "")) for place in places]):
            name = os.path.basename(path)
            ours = name.startswith(COMPANION_PREFIX) or name.endswith(".socket")
            if ours and os.path.islink(path) and not _is_mask(root, path):
                pulled_in.add(name)
    return pulled_in


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_mask(root: str, path: str) -> bool:
    """Whether a link leads to an empty file. A dangling link does not."""
    return os.path.exists(reachable(root, path)) and not has_content(root, path)


def _read(root: str, name: str, report: Report) -> SocketUnit | None:
    try:
        return read_socket_unit(root, name)
    except OSError as error:
        report.problems.append(unreadable(error))
        return None


def _lack(root: str, name: str) -> str:
    if is_template(name):
        return f"{name} is a template"
    return f"{name} is masked" if is_masked(root, name) else f"there is no {name}"

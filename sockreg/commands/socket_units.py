"""The .socket units that an operator names."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence

from sockreg.errors import UsageError
from sockreg.printable import shell
from sockreg.systemd.unitpaths import (
    files_in,
    find_unit,
    is_masked,
    is_template,
    lost_links,
    search_path,
)
from sockreg.terms import ADDING_PREFIX, APPLYING_PREFIX, COMPANION_PREFIX

_SUFFIX = ".socket"
# unit_name_is_valid() of systemd's basic/unit-name.c.
_VALID = re.compile(r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\@-]*)?")
_LENGTH = 255
_PATTERN = re.compile(r"[*?\[]")
_OTHER_TYPES = (".service", ".target", ".mount", ".path", ".timer", ".slice", ".scope", ".device")
_LIST = "'systemctl list-unit-files *.socket' lists them"


def installed(root: str, names: Sequence[str]) -> list[str]:
    """The units with these names, each once, by their own names; ``web`` means ``web.socket``.

    Raises UsageError, which names every wrong name, if one is not a unit that can be started.
    """
    units: dict[str, None] = {}
    wrong: list[UsageError] = []
    for name in names:
        try:
            units[_installed(root, complete(name))] = None
        except UsageError as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise UsageError([error.line for error in wrong])
    return list(units)


def own_name(root: str, name: str) -> str:
    """The unit's own name, or its name as given if there is no such unit."""
    return find_unit(root, name)[0]


def exists(root: str, name: str) -> bool:
    """Whether there is a file for the unit, even if it is masked or a link to nowhere."""
    return bool(find_unit(root, name)[1]) or is_masked(root, name) or bool(lost_links(root, name))


def complete(name: str) -> str:
    """``web.socket`` for ``web``. Raises UsageError if it cannot be the name of a .socket unit."""
    if _PATTERN.search(name):
        raise UsageError(
            f"{name} is a pattern; only names of units are taken",
            f"'systemctl list-unit-files {shell(name)}' lists the units that match",
        )
    wanted = name if name.endswith(_SUFFIX) else f"{name}{_SUFFIX}"
    if len(wanted) > _LENGTH or not _VALID.fullmatch(wanted.removesuffix(_SUFFIX)):
        raise UsageError(f"{name!r} is not the name of a unit", _LIST)
    for prefix in (COMPANION_PREFIX, ADDING_PREFIX, APPLYING_PREFIX):
        if name.startswith(prefix):
            socket = name.removeprefix(prefix).removesuffix(".service") + _SUFFIX
            raise UsageError(f"{name} belongs to {socket}", f"name that unit: {socket}")
    for suffix in _OTHER_TYPES:
        if name.endswith(suffix):
            socket = name.removesuffix(suffix) + _SUFFIX
            raise UsageError(f"{name} is not a .socket unit", f"did you mean {socket}?")
    return wanted


def no_such_unit(root: str, name: str) -> UsageError:
    """There is no unit with this name; names one that is similar."""
    known = {
        unit
        for directory in search_path(root)
        for unit in files_in(directory, _SUFFIX)
    }  # fmt: skip
    near = difflib.get_close_matches(name, sorted(known - {name}), n=1)
    hint = f"did you mean {near[0]}? {_LIST}" if near else _LIST
    return UsageError(f"there is no {name}", hint)


def _installed(root: str, wanted: str) -> str:
    if is_template(wanted):
        example = wanted.replace("@.", "@1.")
        raise UsageError(f"{wanted} is a template", f"name an instance, such as {example}")
    identity, paths = find_unit(root, wanted)
    if paths:
        return identity
    if is_masked(root, wanted):
        raise UsageError(f"{wanted} is masked", f"'systemctl unmask {shell(wanted)}' undoes it")
    for link in lost_links(root, wanted):
        raise UsageError(
            f"{link} is a link that leads nowhere",
            f"restore {os.readlink(link)}, or remove the link",
        )
    raise no_such_unit(root, wanted)

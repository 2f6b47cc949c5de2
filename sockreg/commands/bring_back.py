"""Registering again what started units have open and the registry lacks.

A registry that was removed is empty when the loader creates it again. This starts nothing that is
not active: only units that register sockets are started, and without their dependencies, so that
no socket is opened and no other unit is touched.
"""

import os
from collections.abc import Mapping

from sockreg import shipped
from sockreg.commands import tell
from sockreg.commands.announcing import announce, take_back
from sockreg.commands.apply import apply
from sockreg.context import Context
from sockreg.errors import SockregError
from sockreg.plural import plural
from sockreg.printable import shell
from sockreg.registry import sockops
from sockreg.registry.locks import Lock
from sockreg.registry.maps import Maps
from sockreg.registry.members import read_members
from sockreg.registry.slots import cookie_in
from sockreg.registry.units import UnitState, read_units, write_unit
from sockreg.systemd import systemctl, unit_control
from sockreg.terms import (
    ADDING_PREFIX,
    COMPANION_PREFIX,
    SOCK_OPS,
    adding_unit,
    companion,
)

_PATTERNS = (
    "*.socket",
    f"{ADDING_PREFIX}*.service",
    f"{COMPANION_PREFIX}*.service",
    SOCK_OPS,
)


def bring_back(context: Context) -> list[str]:
    """Register the sockets of all started units that have none in the registry.

    Returns a sentence for each unit for which that failed, which is a notice, too. Also loads the
    sock_ops program again if its unit is active. Raises SockregError if systemd does not answer.
    """
    registry = context.loaded_registry()
    states = systemctl.states(*_PATTERNS)
    if states.get(SOCK_OPS) == "active" and not sockops.is_loaded(registry):
        sockops.load(registry, shipped.sock_ops_object_path())
    with Maps(registry, read_only=True) as maps:
        counted = read_units(maps)
    present = _present(registry)
    lost = [unit for unit in _started(states, counted) if unit not in present]
    if not lost:
        return []
    tell.notice(f"registering the sockets of {plural(len(lost), 'started unit')} again")
    uncounted = [unit for unit in lost if unit not in counted]
    announce(context, uncounted)
    _start([adding_unit(unit) for unit in lost])
    # A start of the companion may wait for this, and says that the rules are in force.
    _count(context, lost, uncounted)
    _start([name for unit in lost if states.get(name := companion(unit)) not in (None, "active")])
    present = _present(registry)
    sentences = [
        f"{unit} is not registered again: 'systemctl status {shell(adding_unit(unit))}' says why"
        for unit in lost
        if unit not in present
    ]
    for sentence in sentences:
        tell.notice(sentence)
    return sentences


def _present(registry: str) -> set[str]:
    """The units that have a socket in the registry."""
    with Maps(registry, read_only=True) as maps:
        return {
            member.unit
            for member in read_members(maps)
            if cookie_in(maps, member.slot) == member.cookie
        }


def bring_back_taken_in(context: Context) -> None:
    """bring_back(), after parts that were left out have come into force.

    The registration of their sockets may have been refused before, for want of a label. Does
    nothing if the rules are not those of the systemd that runs. A failure only makes a notice: the
    rules are in force.
    """
    try:
        if os.path.realpath(context.root) != "/" or not unit_control.is_running():
            return
        if _netns_of_systemd() == context.netns.inode:
            bring_back(context)
    except (SockregError, OSError) as error:
        tell.notice(f"sockets of units that are no longer left out may be missing: {error}")


def _netns_of_systemd() -> int:
    try:
        return os.stat("/proc/1/ns/net").st_ino
    except PermissionError:  # in a unit without CAP_SYS_PTRACE, which is in the same one
        return os.stat("/proc/self/ns/net").st_ino


def _started(states: Mapping[str, str], counted: Mapping[str, UnitState]) -> list[str]:
    """The .socket units that are open and that somebody wants to be registered.

    These are the units with a started companion, the units whose companion could not start for
    want of a registry, and the counted units that register their own sockets: systemd has no
    companion of theirs in memory. A companion that was stopped stays stopped.
    """
    found = []
    for unit, state in sorted(states.items()):
        if not unit.endswith(".socket") or state != "active":
            continue
        of_companion = states.get(companion(unit))
        failed = "failed" in (of_companion, states.get(adding_unit(unit)))
        if of_companion == "active" or failed or (of_companion is None and unit in counted):
            found.append(unit)
    return found


def _start(units: list[str]) -> None:
    """Start units, and no unit that they depend on. Their failures are in their own journals."""
    if units:
        systemctl.run("--job-mode=ignore-dependencies", "start", *units)


def _count(context: Context, units: list[str], uncounted: list[str]) -> None:
    """Have the rules of these units count, as if they had started after the loader."""
    with Maps(context.registry) as maps, Lock(context.registry):
        states = read_units(maps)
        for unit in units:
            state = states.get(unit)
            if state is not None and not state.active:
                state.active = True
                write_unit(maps, unit, state)
    for number, unit in enumerate(uncounted):
        try:
            apply(context, start=unit)
        except BaseException:
            take_back(context, uncounted[number:])
            raise

"""Taking .socket units out of the registry, whatever enabled them, and whatever is left of it.

Takes out what either mode of enable makes, and also what a failed or killed enable, systemctl(1) or
an earlier version has left: drop-ins, links, started companions, rules, registered sockets. The
.socket unit itself may be gone. Its sockets stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sockreg.commands import socket_units, tell, unfinished
from sockreg.commands.change import Change
from sockreg.commands.enable import dropin, is_live, not_written
from sockreg.config.counted import counted_units
from sockreg.config.socketunit import companion_wanted
from sockreg.context import Context
from sockreg.errors import RefusedError
from sockreg.host import files
from sockreg.printable import shell
from sockreg.registry import registration
from sockreg.registry.destinations import read_destinations
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of
from sockreg.registry.units import read_units
from sockreg.systemd import unit_control, unitlinks
from sockreg.systemd.unitpaths import has_content
from sockreg.terms import adding_unit, companion


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The traces of sockreg that some units have.

    ``files`` are drop-ins and links. ``stopped`` are the companions to stop. ``counted`` are the
    units whose rules count, ``registered`` those with sockets. ``nothing`` are units of which there
    is nothing. ``live`` says whether this is about the system that runs.
    """

    units: list[str]
    dropins: list[str]
    links: list[str]
    stopped: list[str]
    counted: list[str]
    registered: list[str]
    nothing: list[str]
    live: bool


@dataclass(frozen=True, kw_only=True)
class Disabled:
    """``healed`` is a sentence about an earlier command that died."""

    plan: Plan
    healed: str
    change: Change | None


def plan_disable(context: Context, names: Sequence[str]) -> Plan:
    """What disable() would do.

    Raises UsageError if a unit neither exists nor has left anything, and RefusedError if something
    else makes it count.
    """
    live = is_live(context)
    given = [socket_units.complete(name) for name in names]
    units = list(dict.fromkeys(socket_units.own_name(context.root, name) for name in given))
    dropins = {unit: str(dropin(context.root, unit)) for unit in units}
    links = {
        unit: unitlinks.links_of(context.root, [companion(unit), adding_unit(unit)])
        for unit in units
    }
    companions = list(map(companion, units))
    states = unit_control.states(companions) if live else {}
    counted, registered = _in_registry(context) if live else (set(), set())
    _refuse_others(context.root, dropins)
    plan = Plan(
        units=units,
        dropins=[path for path in dropins.values() if os.path.lexists(path)],
        links=[path for unit in units for path in links[unit]],
        stopped=[name for name in companions if live and states[name].active != "inactive"],
        counted=[unit for unit in units if unit in counted],
        registered=[unit for unit in units if unit in registered],
        nothing=[],
        live=live,
    )
    for unit in units:
        if not (
            os.path.lexists(dropins[unit])
            or links[unit]
            or companion(unit) in plan.stopped
            or unit in counted
            or unit in registered
        ):
            if not socket_units.exists(context.root, unit):
                raise socket_units.no_such_unit(context.root, unit)
            plan.nothing.append(unit)
    return plan


def disable(context: Context, names: Sequence[str]) -> Disabled:
    """Take units out of the registry. If it dies, the same command goes on."""
    if not is_live(context):
        plan = plan_disable(context, names)
        _remove_files(plan)
        return Disabled(plan=plan, healed="", change=None)
    with unfinished.locked():
        healed = unfinished.heal(context)
        plan = plan_disable(context, names)
        if _remove_files(plan):
            unit_control.run(["daemon-reload"])
        # The rules go first, so that nobody is sent to a socket that is gone.
        change = _withdraw(context, plan.units) if context.is_loaded else None
        unfinished.stop(plan.stopped)
    return Disabled(plan=plan, healed=healed, change=change)


def _refuse_others(root: str, dropins: Mapping[str, str]) -> None:
    """Raises RefusedError if a unit would still count without what enable and systemctl make.

    ``dropins`` are units with the drop-ins that enable writes.
    """
    counted = counted_units(root, ()).units
    reasons = []
    for name, own in dropins.items():
        for path in unitlinks.other_links_of(root, [companion(name)]):
            if name in counted and has_content(root, path):
                fix = f"'systemctl mask {shell(companion(name))}' undoes it"
                reasons.append(RefusedError(f"{path} enables {companion(name)}", fix))
        unit = counted.get(name)
        for place in companion_wanted(unit) if unit else ():
            if place.path != own:
                what = f"{place}: {name} asks for its registration itself"
                reasons.append(RefusedError(what, "remove this line, then disable it"))
    if reasons:
        raise RefusedError([reason.line for reason in reasons], "nothing was changed")


def _withdraw(context: Context, units: Sequence[str]) -> Change | None:
    change = unfinished.withdraw(context, units)
    if change is not None:
        tell.applied(change)
    for unit in units:
        registration.unregister(context.registry, unit=unit)
    return change


def _remove_files(plan: Plan) -> bool:
    """Returns whether there were any."""
    path = ""
    try:
        for path in plan.dropins:
            files.remove(path)
            unitlinks.remove_if_empty(os.path.dirname(path))
        unitlinks.remove_links(plan.links)
    except OSError as error:
        raise not_written(error.filename or path, error) from None
    return bool(plan.dropins or plan.links)


def _in_registry(context: Context) -> tuple[set[str], set[str]]:
    """The units that count, and those with sockets."""
    if not context.is_loaded:
        return set(), set()
    with Maps(context.registry, read_only=True) as maps:
        members = [
            member for slot in read_destinations(maps).values() for member in members_of(maps, slot)
        ]
        return set(read_units(maps)), {member.unit for member in members}

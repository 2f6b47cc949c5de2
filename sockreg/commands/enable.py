"""Enabling .socket units with the registry, all of them or none.

- companion: sockreg@NAME.service is enabled; works with any systemd.
- exec: a drop-in makes the .socket unit register its own sockets; systemd 256 and later, where
  PassFileDescriptorsToExec= passes them to ExecStartPost= (systemd.socket(5)).

First everything is checked that can be known beforehand (enable_checks.py). Then the state is noted
(unfinished.py), links and drop-ins are written, systemd reads them, the sockets are opened and
registered, and their rules come into force, in this order and each once for all units. If a step
fails, everything is undone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from sockreg.commands import enable_checks, socket_units, tell, unfinished
from sockreg.commands.announcing import announce
from sockreg.commands.apply import configuring, put_in_force
from sockreg.commands.change import Change
from sockreg.commands.install import own, rendered
from sockreg.companion import boot_units, marks
from sockreg.config.counted import units_of_companions
from sockreg.config.socketunit import read_socket_unit
from sockreg.config.unit import Unit
from sockreg.context import Context
from sockreg.errors import SockregError, UsageError, failure
from sockreg.host import files
from sockreg.printable import shell_words
from sockreg.registry import generations
from sockreg.registry.destinations import read_destinations
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of
from sockreg.registry.units import read_units
from sockreg.systemd import journal_reader, unit_control, unitlinks, unitpaths
from sockreg.terms import BOOT_PREFIX, LOADER, NEEDED, adding_unit, applying_unit, companion

EXEC_SINCE = 256  # systemd's version
_DROPIN_NAME = "50-sockreg.conf"
DIRECTORY = "etc/systemd/system"

# No command for the stop: before ExecStopPre= and ExecStopPost=, systemd clears O_NONBLOCK of
# the sockets, which a running server shares. Closing a socket empties its slot anyway. The '-'
# keeps a failed registration from failing the socket.
_DROPIN = f"""\
# Written by 'sockreg enable'; 'sockreg disable' removes it.
[Unit]
Wants={NEEDED}
After={NEEDED} {LOADER}

[Socket]
PassFileDescriptorsToExec=yes
ExecStartPost=-@PYTHON@ -I -S @COMPANION@ open %n @SOCKREG@
"""


# At boot, nothing starts these units but sockets.target, and only once.
_BY_COMMAND = "[Unit]\nConditionPathExists=\nRefuseManualStart=no\n"


class Mode(Enum):
    COMPANION = "companion"
    EXEC = "exec"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps of enabling some units.

    ``dropins`` are files to write, with their text, and ``temporary`` those that are removed again
    at the end. ``commands`` are those of systemctl(1) that follow. ``servers`` are what clients
    start by the sockets. ``live`` says whether this is about the system that runs: units are
    started and sockets registered. ``force`` lets their rules take the ssh port.
    """

    units: list[str]
    mode: Mode
    dropins: dict[Path, str] = field(default_factory=dict)
    temporary: dict[Path, str] = field(default_factory=dict)
    commands: list[list[str]]
    servers: list[str] = field(default_factory=list)
    live: bool
    notices: list[str] = field(default_factory=list)
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Enabled:
    """``healed`` is a sentence about an earlier command that died. ``served`` is the number of
    destinations of each unit; empty for another root. ``left_out`` are sentences about sockets of
    the units that are not registered.
    """

    plan: Plan
    healed: str
    served: dict[str, int]
    change: Change | None
    left_out: list[str] = field(default_factory=list)


def plan_enable(
    context: Context, names: Sequence[str], mode: Mode | None, *, force: bool = False
) -> Plan:
    """How to enable units. ``mode`` None selects the best mode of this systemd.

    Raises SockregError where enable() would, as far as that is known beforehand.
    """
    units = socket_units.installed(context.root, names)
    live = is_live(context)
    chosen = _mode(context, units, mode)
    found = enable_checks.examine(context, units, live=live, force=force)
    if live:
        enable_checks.check_lasting(found.states, units, generated=chosen is not Mode.EXEC)
    dropins = {}
    notices = []
    if chosen is Mode.EXEC:
        text = rendered(_DROPIN, own())
        dropins = {dropin(context.root, unit): text for unit in units}
        notices = [
            f"{unit} has no [Install] section, so only other units start it at boot; add "
            "WantedBy=sockets.target, or use --mode companion"
            for unit in units
            if not _has_install(context.root, unit)
        ]
    together = _together(context, units, found) if live and chosen is Mode.COMPANION else []
    return Plan(
        units=units,
        mode=chosen,
        dropins=dropins,
        temporary=_passing(together),
        commands=_commands(context, units, chosen, found, len(together), live=live),
        servers=[name for unit in units if live for name in found.states[unit].triggers],
        live=live,
        notices=notices,
        force=force,
    )


def _has_install(root: str, name: str) -> bool:
    unit = read_socket_unit(root, name)
    return unit is not None and any(
        key in ("WantedBy", "RequiredBy", "UpheldBy", "Alias", "Also")
        for _, section in unit.sections
        if section.name == "Install"
        for _, _, key, _ in section.entries
    )


def _together(
    context: Context, units: list[str], found: enable_checks.Found
) -> list[list[tuple[str, str]]]:
    """The units whose sockets one process registers, as at boot, and the names of these."""
    closed = [unit for unit in units if not _is_up(found, unit, companion(unit))]
    return boot_units.sort_into_batches(boot_units.never_late(context.root, closed))


def _passing(batches: list[list[tuple[str, str]]]) -> dict[Path, str]:
    """The files of the units that register them, for as long as this command takes."""
    files = {}
    for number, batch in enumerate(batches):
        for name, text in boot_units.files_of(_instance(number), batch).items():
            if name.endswith(".conf"):
                text += _BY_COMMAND
            files[Path("/run/systemd/system", name)] = text
    return files


def _instance(number: int) -> str:
    return f"enable-{number}"


def _commands(
    context: Context,
    units: list[str],
    mode: Mode,
    found: enable_checks.Found,
    batches: int,
    *,
    live: bool,
) -> list[list[str]]:
    to_enable = units if mode is Mode.EXEC else list(map(companion, units))
    if not live:
        return [[f"--root={context.root}", "enable", "--quiet", *to_enable]]
    commands = []
    if not found.in_force:
        # A loader may be active without a registry: after 'sockreg unload'.
        commands.append(["restart" if found.states[LOADER].is_up else "start", LOADER])
    commands.append(["enable", "--quiet", "--no-reload", *to_enable])
    commands.append(["daemon-reload"])
    # A start of what is active already would register again, and change flags for nothing.
    closed = [
        name for unit, name in zip(units, to_enable, strict=True) if not _is_up(found, unit, name)
    ]
    # systemd refuses to restart a socket whose server runs. For this once, a companion will do.
    late = [
        adding_unit(unit)
        for unit, name in zip(units, to_enable, strict=True)
        if name not in closed and unit not in found.registered
    ]
    # First: they start everything in one transaction, in which the companions come after them.
    first = [f"{BOOT_PREFIX}{_instance(number)}.service" for number in range(batches)]
    commands += [["start", *names] for names in (first + closed, late) if names]
    return commands


def _is_up(found: enable_checks.Found, unit: str, name: str) -> bool:
    return found.states[unit].is_up and (name == unit or name in found.up)


def enable(
    context: Context, names: Sequence[str], mode: Mode | None, *, force: bool = False
) -> Enabled:
    """Enable units. Raises SockregError if one of them cannot be; nothing has changed then."""
    if not is_live(context):
        plan = plan_enable(context, names, mode)
        _enable_elsewhere(context, plan)
        return Enabled(plan=plan, healed="", served={}, change=None)
    with unfinished.locked():
        healed = unfinished.heal(context)
        with unitpaths.Steady():
            plan = plan_enable(context, names, mode, force=force)
            before = _before(context, plan)
        cursor = journal_reader.end()
        unfinished.note(before)
        try:
            served, change = _carry_out(context, plan, cursor)
        except BaseException as error:
            problems = unfinished.undo(context, before)
            if isinstance(error, SockregError):
                raise enable_checks.undone(error, problems) from None
            raise
        unfinished.done()
    tell.applied(change)
    left_out = enable_checks.left_out(plan.units, cursor)
    return Enabled(plan=plan, healed=healed, served=served, change=change, left_out=left_out)


def _carry_out(context: Context, plan: Plan, cursor: str | None) -> tuple[dict[str, int], Change]:
    for path, text in [*plan.dropins.items(), *plan.temporary.items()]:
        _write(path, text)
    announced = False
    for command in plan.commands:
        if command[0] == "start" and LOADER not in command and not announced:
            announce(context, plan.units)
            announced = True
        try:
            unit_control.run(command)
        except SockregError as error:
            raise enable_checks.not_started(plan.units, cursor) or error from None
    _remove(plan)
    served = _served(context, plan.units)
    missing = [unit for unit in plan.units if not served[unit]]
    if missing:
        raise enable_checks.not_registered(missing, cursor)
    with configuring(context, force=plan.force) as writer:
        active = writer.active_units() | set(plan.units)
        return served, put_in_force(writer, active, {}, changes=plan.units, force=plan.force)


def _remove(plan: Plan) -> None:
    """Remove what was only for this command; systemd forgets it at the next daemon-reload."""
    if plan.temporary:
        marks.remove_all(plan.units)
        unfinished.restore({str(path): None for path in plan.temporary})


def _before(context: Context, plan: Plan) -> unfinished.Before:
    names = [LOADER, NEEDED]
    watched = []
    for unit in plan.units:
        names += [unit, companion(unit), adding_unit(unit), applying_unit(unit)]
        found = read_socket_unit(context.root, unit)
        watched += [unit, companion(unit)]
        if found is not None:
            also = Unit(found.name, found.paths, found.sections).words("Install", "Also")
            watched += [word.value for word in also]
    # A client may start the server as soon as the socket listens.
    names += sorted(set(plan.servers) - set(names))
    up = unit_control.up(names)
    registered: set[str] = set()
    counted: set[str] = set()
    in_force = context.is_loaded and generations.in_force(context.registry) is not None
    if context.is_loaded:
        served = _served(context, plan.units)
        registered = {unit for unit in plan.units if served[unit]}
        with Maps(context.registry, read_only=True) as maps:
            counted = set(read_units(maps))
    return unfinished.Before(
        units=plan.units,
        watched=watched,
        links=unitlinks.links_of(context.root, watched),
        dropins=_texts(plan),
        inactive=[
            name
            for name in names
            # A loader that stops takes all rules out of force.
            if name not in up and not (name == LOADER and in_force)
        ],
        unregistered=[unit for unit in plan.units if unit not in registered],
        uncounted=[unit for unit in plan.units if unit not in counted],
        loaded=context.is_loaded,
    )


def _enable_elsewhere(context: Context, plan: Plan) -> None:
    """Enable below another root: only files and links."""
    watched = [*plan.units, *map(companion, plan.units)]
    links = unitlinks.links_of(context.root, watched)
    before = _texts(plan)
    try:
        for path, text in plan.dropins.items():
            _write(path, text)
        for command in plan.commands:
            unit_control.run(command)
    except BaseException:
        now = unitlinks.links_of(context.root, watched)
        unitlinks.remove_links(sorted(set(now) - set(links)))
        unfinished.restore(before)
        raise


def _texts(plan: Plan) -> dict[str, str | None]:
    """The text of the files to be written, before that."""
    return {
        str(path): path.read_text("utf-8", "surrogateescape") if path.exists() else None
        for path in (*plan.dropins, *plan.temporary)
    }


def _mode(context: Context, units: list[str], mode: Mode | None) -> Mode:
    wanted = mode
    if is_live(context):
        version = unit_control.version()
        if wanted is None:
            wanted = Mode.EXEC if version >= EXEC_SINCE else Mode.COMPANION
        elif wanted is Mode.EXEC and version < EXEC_SINCE:
            raise UsageError(
                f"--mode exec needs systemd {EXEC_SINCE}; this is {version}",
                "--mode companion works with any version",
            )
    elif wanted is None:
        where = "systemd does not run here, so its version"
        if context.root != "/":
            where = f"the systemd version of {context.root}"
        raise UsageError(
            f"{where} is unknown",
            f"give the mode: --mode companion, or --mode exec for systemd {EXEC_SINCE} and later",
        )
    companions = units_of_companions(context.root)
    other = Mode.COMPANION if wanted is Mode.EXEC else Mode.EXEC
    in_other = [
        unit
        for unit in units
        if (unit in companions if other is Mode.COMPANION else dropin(context.root, unit).exists())
    ]
    if in_other:
        raise UsageError(
            f"{', '.join(in_other)} {'is' if len(in_other) == 1 else 'are'} enabled already, in "
            f"mode {other.value}",
            f"undo this first: 'sockreg disable {shell_words(*in_other)}'",
        )
    return wanted


def is_live(context: Context) -> bool:
    """Whether the files are those of the systemd that runs."""
    return os.path.realpath(context.root) == "/" and unit_control.is_running()


def dropin(root: str, unit: str) -> Path:
    """The file that enables a unit in mode exec."""
    return Path(root, DIRECTORY, f"{unit}.d", _DROPIN_NAME)


def _write(path: Path, text: str) -> None:
    try:
        files.replace(str(path), text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise not_written(str(path), error) from None


def not_written(path: str, error: OSError) -> SockregError:
    """A file below /etc/systemd/system cannot be written or removed."""
    hint = "run it as root" if isinstance(error, PermissionError) else ""
    return failure(error, f"{path}: cannot be written: {error.strerror}", hint)


def _served(context: Context, units: Sequence[str]) -> dict[str, int]:
    """The number of destinations that each unit serves."""
    found = dict.fromkeys(units, 0)
    with Maps(context.loaded_registry(), read_only=True) as maps:
        for slot in read_destinations(maps).values():
            for unit in {member.unit for member in members_of(maps, slot)}:
                if unit in found:
                    found[unit] += 1
    return found

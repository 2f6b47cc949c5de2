"""Why units cannot be enabled: what is known beforehand, and what systemd said."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from sockreg.commands.apply import preview, preview_load
from sockreg.commands.taken_label import refuse_taken_labels
from sockreg.config.listens import LISTENS, Listen, read_listens
from sockreg.config.networks import elsewhere
from sockreg.config.ruleset import read_rule_set
from sockreg.config.socketunit import read_socket_unit
from sockreg.config.unit import Unit
from sockreg.context import Context
from sockreg.errors import (
    AccessError,
    BusyError,
    ConfigError,
    NotLoadedError,
    RefusedError,
    SockregError,
    UsageError,
    failure,
)
from sockreg.host import cgroup, processes, sockdiag
from sockreg.host.listener import address_text
from sockreg.host.sockdiag import DiagSocket
from sockreg.model import ANY_ADDRESS, FAMILY_BITS, INET6, TCP
from sockreg.printable import shell
from sockreg.registry import generations
from sockreg.registry.destinations import read_destinations
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of
from sockreg.systemd import journal, journal_reader, unit_control
from sockreg.systemd.sandboxing import Fault, fault_of
from sockreg.systemd.unit_control import State
from sockreg.systemd.unit_of import NO_UNIT, unit_of
from sockreg.systemd.unitpaths import find_unit, is_masked
from sockreg.terms import LOADER, adding_unit, applying_unit, companion

_INSTALL = "install them: 'sockreg install-units'"
# Sentences of systemd that follow from another one.
_FOLLOWS = re.compile(
    r"Failed with result|^Failed to (listen on|start) |Failed to receive listening|"
    r"Failed to listen on sockets|^Dependency failed|Control process exited"
)
_BY_STATUS = {
    kind.status: kind
    for kind in (AccessError, BusyError, ConfigError, NotLoadedError, RefusedError)
}


class Found(NamedTuple):
    """The situation: whether rules are in force, the states of the units and of what they start,
    the companions that are up, and the units that have a socket in the registry.
    """

    in_force: bool
    states: Mapping[str, State]
    up: frozenset[str]
    registered: frozenset[str]


def examine(context: Context, units: Sequence[str], *, live: bool, force: bool) -> Found:
    """Look at everything that enabling needs, and change nothing.

    Raises SockregError with all problems of the units, one per line.
    """
    _check_installed(context.root, units)
    _check_writable(context.root)
    found = _look(context, units) if live else Found(False, {}, frozenset(), frozenset())
    read = {unit: _read(context.root, unit) for unit in units}
    checks: list[Callable[[], Iterator[SockregError]]] = [
        lambda: _networks(context.root, read.values()),
        lambda: _unsteerable(read.values()),
    ]
    if live:
        checks += [
            lambda: _in_systemd(found.states, read.values()),
            lambda: _taken_ports(found.states, read.values()),
        ]
    problems = [problem for check in checks for problem in check()]
    if problems:
        raise _together(problems)
    _foretell(context, units, found, live=live, force=force)
    return found


def _foretell(
    context: Context, units: Sequence[str], found: Found, *, live: bool, force: bool
) -> None:
    """Raise SockregError if the rules would be refused once these units count."""
    refuse_taken_labels(context, units)
    if not live:
        read_rule_set(context.root, units)
    elif found.in_force:
        change = preview(context, start=units, force=force)
        # It may be left out since the boot.
        wrong = [left for left in change.left_out if left.part in units]
        if wrong:
            problems = [f"{place}: {text}" for left in wrong for place, text in left.problems]
            raise ConfigError(problems, "nothing was changed; correct this first")
    else:
        preview_load(context, start=units, force=force)


def _together(problems: Sequence[SockregError]) -> SockregError:
    first = problems[0]
    if len(problems) == 1:
        return first
    return type(first)(
        [line for problem in problems for line in problem.entry], "nothing was changed"
    )


def _check_installed(root: str, units: Sequence[str]) -> None:
    for name in (LOADER, *(name for unit in units for name in _family(unit)[1:])):
        if is_masked(root, name):
            raise SockregError(f"{name} is masked", f"'systemctl unmask {shell(name)}' undoes it")
        if not find_unit(root, name)[1]:
            raise SockregError(
                f"the units of sockreg are not installed: there is no {name}", _INSTALL
            )


def _check_writable(root: str) -> None:
    directory = os.path.join(root, "etc/systemd/system")
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    if os.access(directory, os.W_OK):
        return
    if os.geteuid() != 0:
        raise AccessError(f"{directory} cannot be written", "run it as root")
    raise SockregError(
        f"{directory} cannot be written: the file system is read-only",
        "'systemctl start sockreg@NAME.service' registers a socket until the next boot",
    )


def _look(context: Context, units: Sequence[str]) -> Found:
    _check_namespace(context)
    states = unit_control.states([LOADER, *units])
    triggered = {name for state in states.values() for name in state.triggers} - states.keys()
    states |= unit_control.states(sorted(triggered))
    registered: set[str] = set()
    in_force = False
    if context.is_loaded:
        in_force = generations.in_force_for_readers(context.registry) is not None
        with Maps(context.registry, read_only=True) as maps:
            for slot in read_destinations(maps).values():
                registered |= {member.unit for member in members_of(maps, slot)}
    up = unit_control.up(map(companion, units))
    return Found(in_force, states, frozenset(up), frozenset(registered))


def _check_namespace(context: Context) -> None:
    """systemd opens sockets in its own network namespace, so no other registry can be meant."""
    try:
        own = os.stat("/proc/1/ns/net").st_ino
    except PermissionError:
        return  # not root: it is refused for that
    if own != context.netns.inode:
        raise UsageError(
            f"units listen in the network namespace of systemd (net:[{own}]), not in "
            f"net:[{context.netns.inode}]",
            "leave out --netns; for another one, see 'Another network namespace' in "
            "docs/recipes.md",
        )


def _read(root: str, name: str) -> Unit:
    try:
        unit = read_socket_unit(root, name)
    except OSError as error:
        raise failure(error, f"{error.filename}: cannot be read: {error.strerror}") from None
    assert unit is not None, name
    return Unit(unit.name, unit.paths, unit.sections)


def _networks(root: str, units: Collection[Unit]) -> Iterator[SockregError]:
    for unit in units:
        found = elsewhere(root, unit)
        if found:
            key, setting = found
            yield RefusedError(
                f"{setting.place}: {key}={setting.value}: {unit.name} listens in another network "
                "namespace, and rules of this one cannot steer to it",
                "its rules belong to a registry of that namespace: see docs/recipes.md",
            )


def _unsteerable(units: Collection[Unit]) -> Iterator[SockregError]:
    for unit in units:
        if read_listens(unit.name, unit.sections):
            continue
        lines = [setting for key in LISTENS for setting in unit.all("Socket", key)]
        what = ", ".join(setting.value for setting in lines) or "nothing"
        yield RefusedError(
            f"{lines[0].place if lines else unit.home}: {unit.name} has no TCP or UDP socket: it "
            f"listens on {what}",
            "rules can steer to ListenStream= and ListenDatagram= with an address and port",
        )


def _in_systemd(states: Mapping[str, State], units: Collection[Unit]) -> Iterator[SockregError]:
    """What systemd would refuse to start."""
    for unit in units:
        state = states[unit.name]
        if state.load not in ("loaded", "not-found"):
            said = _said([unit.name], None)
            text = "; ".join(said.get(unit.name, [])[-1:]) or state.load_error
            yield SockregError(text, f"'systemd-analyze verify {unit.name}' shows all of it")
            continue
        if state.is_up:
            continue
        for name in state.triggers:
            server = states[name]
            if server.load in ("not-found", "masked"):
                yield SockregError(
                    f"{unit.name} has no service to start: {name} is {server.load}",
                    f"create or unmask {name}, or name another one with Service= in [Socket]",
                )
            elif server.is_up:
                yield SockregError(
                    f"{unit.name} cannot listen: {name} runs already, without this socket",
                    f"'systemctl stop {shell(name)}' first; the socket starts it again on demand",
                )


def _taken_ports(states: Mapping[str, State], units: Collection[Unit]) -> Iterator[SockregError]:
    wanted = [
        (unit, listens)
        for unit in units
        if not states[unit.name].is_up
        and not unit.is_on("Socket", "ReusePort")
        and unit.last("Socket", "BindToDevice") is None
        for listens in read_listens(unit.name, unit.sections)
        if listens.protocol == TCP
    ]
    if not wanted:
        return
    try:
        listening = [sock for sock in sockdiag.receiving() if sock.protocol == TCP]
    except SockregError:
        return  # systemd says it
    for unit, listens in wanted:
        for sock in listening:
            if _collide(listens, sock):
                yield SockregError(
                    f"{listens.place}: {unit.name} cannot listen: port {listens.port} is taken by "
                    f"{_owner(sock)}, which listens on "
                    f"{address_text(sock.family, sock.address, sock.port)}",
                    "stop it, or choose another port: rules steer any port to the socket",
                )
                break


def _collide(listens: Listen, sock: DiagSocket) -> bool:
    """Whether the kernel refuses to have both listen: inet_csk_get_port(), without SO_REUSEPORT."""
    if listens.port != sock.port:
        return False
    if listens.address == sock.address:
        return True
    wild = listens.address == ANY_ADDRESS[listens.family], sock.address == ANY_ADDRESS[sock.family]
    families = {sock.family} if sock.v6only or sock.family != INET6 else set(FAMILY_BITS)
    if not wild[1]:
        families = {sock.family}
    mine = set(listens.serves)
    return any(wild) and bool(families & mine)


def _owner(sock: DiagSocket) -> str:
    """``nginx (pid 12) of nginx.service``; for a socket that systemd holds, its unit."""
    holders = processes.holders([sock.inode]).of(sock.inode)
    unit = cgroup.unit_of_id(sock.cgroup) if sock.cgroup else NO_UNIT
    if not holders:
        return unit if unit != NO_UNIT else "another process"
    holder = holders[0]
    if holder.pid == processes.SYSTEMD:
        return unit if unit != NO_UNIT else str(holder)
    try:
        of = unit_of(holder.pid)
    except OSError:
        of = NO_UNIT
    return str(holder) if of == NO_UNIT else f"{holder} of {of}"


def check_lasting(states: Mapping[str, State], units: Sequence[str], *, generated: bool) -> None:
    """Raises SockregError if systemctl cannot enable a unit.

    With ``generated``, nothing of a unit that a generator makes needs to be enabled.
    """
    for unit in units:
        if states[unit].file == "transient":
            raise RefusedError(
                f"{unit} is transient: it is gone when it stops",
                f"'systemctl start {shell(companion(unit))}' registers it for so long",
            )
        if states[unit].file == "generated" and not generated:
            raise RefusedError(
                f"{unit} is made by a generator, and cannot be enabled itself",
                "--mode companion enables its companion",
            )


def not_started(units: Sequence[str], cursor: str | None) -> SockregError | None:
    """Why systemd did not start some units, in its own words or those of the units; None if it said
    nothing. ``cursor`` is the last entry of the journal from before.
    """
    names = [LOADER, *(each for unit in units for each in _family(unit))]
    states = unit_control.states(names)
    if states[LOADER].is_up:
        # It lists the rules that it has put in force, and what is wrong with other parts.
        names.remove(LOADER)
    faults = _sandbox_faults(states, names)
    said = _said(names, cursor)
    lines = [sentence for name in names for sentence in said[name]]
    if faults:
        sentences = [f"{fault.what}: {fault.why}" for fault in faults]
        return SockregError(list(dict.fromkeys([*lines, *sentences])), _helps(faults))
    if not lines:
        return None
    statuses = [states[name].exit_status for name in names if states[name].active == "failed"]
    kind = next((_BY_STATUS[status] for status in statuses if status in _BY_STATUS), SockregError)
    return kind(list(dict.fromkeys(lines)))


def not_registered(units: Sequence[str], cursor: str | None) -> SockregError:
    """The units have started, but have no socket in the registry."""
    names = [each for unit in units for each in _family(unit)]
    said = _said(names, cursor)
    lines = dict.fromkeys(sentence for name in names for sentence in said[name])
    what = f"no socket of {', '.join(units)} is registered"
    faults = _sandbox_faults(unit_control.states(names), names)
    sentences = [f"{fault.what}: {fault.why}" for fault in faults]
    return RefusedError([what, *lines, *sentences], _helps(faults))


def _sandbox_faults(states: Mapping[str, State], names: Sequence[str]) -> list[Fault]:
    """What systemd could not do for units of sockreg, once for all that the same helps."""
    found: dict[tuple[str, ...], Fault] = {}
    for name in names:
        if states[name].active != "failed" or not name.endswith(".service"):
            continue
        read = read_socket_unit("/", name)
        unit = Unit(name, [], []) if read is None else Unit(read.name, read.paths, read.sections)
        fault = fault_of(name, states[name].exit_status, partial(unit.last, "Service"))
        if fault is not None:
            found.setdefault(fault.about, fault)
    return list(found.values())


def _helps(faults: Sequence[Fault]) -> str:
    return "; ".join(
        f"{fault.fix}; then enable again" if fault.by_dropin else fault.fix for fault in faults
    )


def left_out(units: Sequence[str], cursor: str | None) -> list[str]:
    """What the units said about sockets of theirs that are not registered, one line for each."""
    names = [each for unit in units for each in _family(unit)]
    said = journal_reader.complaints(names, cursor, kind=journal.SKIPPED)
    return list(dict.fromkeys(sentence for name in names for sentence in said[name]))


def undone(error: SockregError, problems: Sequence[str]) -> SockregError:
    """The same error, with what became of the attempt."""
    rest = "everything is as before"
    if problems:
        rest = "; ".join(["not everything could be undone", *problems, "try 'sockreg disable'"])
    hint = f"{error.hint}; {rest}" if error.hint else rest
    return type(error)(error.lines, hint)


def _family(unit: str) -> tuple[str, ...]:
    return unit, applying_unit(unit), adding_unit(unit), companion(unit)


def _said(names: Sequence[str], cursor: str | None) -> dict[str, list[str]]:
    """What was logged about each unit, without what only follows from it."""
    said = journal_reader.complaints(names, cursor)
    return {name: [*_causes(lines)] for name, lines in said.items()}


def _causes(lines: Sequence[str]) -> Iterator[str]:
    causes = [line for line in lines if not _FOLLOWS.search(line)]
    # A command that fails without a word.
    yield from causes or [line for line in lines if "Failed with result" in line]

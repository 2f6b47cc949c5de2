"""A unit's rules start and stop counting with its sockreg@ instance.

If the loader has read the unit's files as they are now, the registration has noted the start
(counting.py). Otherwise it starts sockreg-apply@.service, and the full command compiles the rule
set again. On the start-up path of these units: imports no rule syntax.
"""

import posix

from sockreg.companion import counting, marks
from sockreg.companion.counting import own_registry
from sockreg.errors import RefusedError, SockregError
from sockreg.printable import shell
from sockreg.registry import registration, ssh_labels
from sockreg.registry.locks import REGISTRATION_PATIENCE, Lock
from sockreg.registry.maps import Maps
from sockreg.registry.members import read_members
from sockreg.registry.slots import cookie_in
from sockreg.registry.units import unit_state, write_unit
from sockreg.systemd import systemctl, unitpaths
from sockreg.terms import LOADER, SHUTDOWN, companion, settling_unit


def start(unit: str, bpffs: str, root: str, command: list[str]) -> None:
    """Count ``unit`` as active. Runs ``command`` in place of this process if rules change.

    ``command`` is the argument vector of the full 'sockreg apply --start UNIT'.
    """
    if not counting.count(own_registry(bpffs), unit, root):
        posix.execv(command[0], command)


def stop(unit: str, bpffs: str, root: str, command: list[str], *, listens: bool = False) -> None:
    """Remove the unit's sockets, and also its rules unless it stays enabled.

    ``command`` is the argument vector of the full 'sockreg apply --stop UNIT'. ``listens`` says
    that the socket goes on. If a rule leads the port of ssh to it, it stays registered: without its
    rules this does not matter, and otherwise RefusedError is raised.
    """
    registry = own_registry(bpffs)
    carried = ssh_labels.carried_by(registry, unit) if listens else []
    if not carried:
        registration.unregister(registry, unit=unit)
    if not _is_enabled(root, unit) and _counts(registry, unit):
        posix.execv(command[0], command)
    if carried:
        raise RefusedError(
            f"{unit} stays registered: rules lead port {carried[0]} of this host to it, which ssh "
            "listens on, and stay in force while the unit is enabled",
            f"'systemctl disable --now {shell(companion(unit))}' takes both away",
        )
    with Maps(registry) as maps, Lock(registry, REGISTRATION_PATIENCE):
        state = unit_state(maps, unit)
        if state is not None:
            state.active = False
            write_unit(maps, unit, state)


def _counts(registry: str, unit: str) -> bool:
    """Whether the unit has rules to take out of force. 'sockreg disable' does that itself."""
    with Maps(registry) as maps:
        return unit_state(maps, unit) is not None


def leave(unit: str, bpffs: str, root: str, command: list[str]) -> None:
    """What ExecStop= does: ``stop``, unless systemd is about to start the unit again.

    systemd does not tell ExecStop= why it runs, but its jobs do. A restart, including one caused by
    a restart of the socket or the loader, keeps the old socket in its slot until the new one
    replaces it, so that no connection meets an empty slot. At shutdown there is nothing to clean
    up: the state in the kernel ends with it. If systemd does not answer, the sockets stay, too;
    raises SockregError. It is not asked if nothing of the unit is left, as after 'sockreg disable':
    its answer takes as much time as the rest.
    """
    # Whatever has left it: from here on, a start must register.
    marks.remove(unit)
    if _has_nothing(unit, bpffs):
        return
    jobs = systemctl.jobs(companion(unit), unit, LOADER, SHUTDOWN)
    if SHUTDOWN in jobs:
        return
    if jobs.get(companion(unit)) != "restart":
        stop(unit, bpffs, root, command, listens=unit not in jobs)
    elif jobs.keys() == {companion(unit)} and _is_unchanged(unit, bpffs, root):
        marks.put(unit)
        # The mark is for the start that follows, for which there is a job already.
        status, _ = systemctl.run("--no-block", "start", settling_unit(unit))
        if status:
            marks.remove(unit)


def _has_nothing(unit: str, bpffs: str) -> bool:
    """Whether the unit neither counts in the registry nor has members there."""
    registry = own_registry(bpffs)
    try:
        posix.stat(registry)
        with Maps(registry) as maps:
            if unit_state(maps, unit) is not None:
                return False
            return all(member.unit != unit for member in read_members(maps))
    except (SockregError, OSError):
        return False  # there is no registry, or none that can be read: what needs it reports it


def _is_unchanged(unit: str, bpffs: str, root: str) -> bool:
    """Whether registering the unit again would change nothing.

    Its files are unchanged, and it has sockets in the registry, all with the weight in the files.
    """
    with Maps(own_registry(bpffs)) as maps:
        state = unit_state(maps, unit)
        if state is None or state.files != counting.files_of(root, unit):
            return False
        weights = {
            member.weight
            for member in read_members(maps)
            if member.unit == unit and cookie_in(maps, member.slot) == member.cookie
        }
        return weights == {state.weight}


def _is_enabled(root: str, unit: str) -> bool:
    """Whether a .wants or .requires directory names the unit's sockreg@ instance.

    There are other ways to be enabled; the full command handles those.
    """
    name = companion(unit)
    for directory in unitpaths.search_path(root):
        try:
            entries = posix.listdir(directory)
        except OSError:
            continue  # not every directory of the search path exists
        for entry in entries:
            if entry.endswith((".wants", ".requires")) and name in _listed(f"{directory}/{entry}"):
                return True
    return False


def _listed(directory: str) -> list[str]:
    try:
        return posix.listdir(directory)
    except OSError:
        return []  # a file or dangling link of that name

"""A unit's rules enter and leave force with its sockreg@ instance.

At boot the loader has already put the rules of all enabled units in force; then all that
is left to do here is a look at the unit's files and one mark in the registry. Only if
the files have changed since, or were not counted, the whole rule set is compiled again,
by the full command. On the start-up path of sockreg@.service: imports no rule syntax.
"""

import _socket
import posix

from sockreg import registrar
from sockreg.config import unitpaths
from sockreg.kernel import layout, syscall
from sockreg.kernel.listener import netns_cookie
from sockreg.registry import sockets
from sockreg.registry.directory import Lock, netns_name, registry_path

_SYSTEMCTL = "/usr/bin/systemctl"


def own_registry(bpffs: str) -> str:
    """The registry of the network namespace this process is in."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    cookie = netns_cookie(sock)
    sock.close()
    return registry_path(bpffs, netns_name(cookie, posix.stat("/proc/self/ns/net").st_ino))


def companion(unit: str) -> str:
    """The sockreg@ instance of a .socket unit."""
    return f"sockreg@{unit.removesuffix('.socket')}.service"


def start(unit: str, bpffs: str, root: str, command: list[str]) -> None:
    """Count ``unit`` as active; runs ``command`` in place of this process if that changes rules.

    ``command`` is the argument vector of the full 'sockreg apply --start UNIT'.
    """
    maps = sockets.Maps(own_registry(bpffs))
    try:
        key = layout.UNIT_NAME.pack(unit.encode("ascii"))
        value = syscall.map_lookup(maps.units, key, layout.UNIT_STATE.size)
        files = unitpaths.files_state(unitpaths.find_unit(root, unit)[1])
        if value is not None:
            _, *state, weight, zero = layout.UNIT_STATE.unpack(value)
            if tuple(state) == files:
                with Lock(maps.registry, registrar.LOCK_TIMEOUT):
                    value = layout.UNIT_STATE.pack(1, *files, weight, zero)
                    syscall.map_update(maps.units, key, value)
                return
    finally:
        maps.close()
    posix.execv(command[0], command)


def stop(unit: str, bpffs: str, root: str, command: list[str]) -> None:
    """Take the unit's sockets out, and its rules too unless it stays enabled.

    ``command`` is the argument vector of the full 'sockreg apply --stop UNIT'.
    """
    registry = own_registry(bpffs)
    registrar.unregister(registry, None, unit)
    maps = sockets.Maps(registry)
    try:
        key = layout.UNIT_NAME.pack(unit.encode("ascii"))
        if _is_enabled(root, unit):
            value = syscall.map_lookup(maps.units, key, layout.UNIT_STATE.size)
            if value is not None:
                state = layout.UNIT_STATE.unpack(value)
                syscall.map_update(maps.units, key, layout.UNIT_STATE.pack(0, *state[1:]))
            return
    finally:
        maps.close()
    posix.execv(command[0], command)


def is_restarting(unit: str) -> bool:
    """Whether systemd stops the unit's sockreg@ instance only to start it again.

    ExecStop= is not told. The job is: 'restart' until the stop is done, also when a
    restart of the socket or the loader brought it about (systemd's job_type, job.h).
    A restart keeps the old socket in its slot until the new one replaces it, so that no
    connection meets an empty slot.
    """
    name = companion(unit)
    reader, writer = posix.pipe()
    pid = posix.posix_spawn(
        _SYSTEMCTL,
        [_SYSTEMCTL, "list-jobs", "--no-legend", "--plain", name],
        posix.environ,
        file_actions=[
            (posix.POSIX_SPAWN_DUP2, writer, 1),
            (posix.POSIX_SPAWN_CLOSE, reader),
        ],
    )
    posix.close(writer)
    jobs = b""
    while chunk := posix.read(reader, 4096):
        jobs += chunk
    posix.close(reader)
    posix.waitpid(pid, 0)
    # JOB UNIT TYPE STATE; escaped names may hold backslashes but no spaces.
    return any(line.split()[2:3] == [b"restart"] for line in jobs.splitlines())


def _is_enabled(root: str, unit: str) -> bool:
    """Whether a .wants or .requires directory names the unit's sockreg@ instance.

    There are other ways to be enabled; those are left to the full command.
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

"""A unit's rules count as soon as its socket is registered, if the loader has read its files.

Then a mark in the registry is all that a start adds, and no process needs the right to load a
program. On the companion's start-up path: imports no rule syntax.
"""

import _socket
import posix

from sockreg.host.listener import netns_cookie
from sockreg.registry.directory import netns_name, registry_path
from sockreg.registry.locks import REGISTRATION_PATIENCE, Lock
from sockreg.registry.maps import Maps
from sockreg.registry.units import UnitState, unit_state, write_unit
from sockreg.systemd import unitpaths


def own_registry(bpffs: str) -> str:
    """The registry of this process's network namespace."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        return _registry(bpffs, sock)
    finally:
        sock.close()


def registry_of(bpffs: str, fd: int) -> str:
    """The registry of a socket's network namespace, which need not be that of this process.

    Raises OSError if ``fd`` is no socket.
    """
    sock = _socket.socket(fileno=fd)
    try:
        return _registry(bpffs, sock)
    finally:
        sock.detach()


def _registry(bpffs: str, sock: _socket.socket) -> str:
    inode = posix.stat("/proc/self/ns/net").st_ino
    return registry_path(bpffs, netns_name(netns_cookie(sock), inode))


def has_started(registry: str, unit: str, root: str) -> bool:
    """Whether count() would change nothing."""
    with Maps(registry) as maps:
        state = unit_state(maps, unit)
        return state is not None and state.active and _is_as_read(state, unit, root)


def count(registry: str, unit: str, root: str) -> bool:
    """Note that the unit has started; False if its rules are not in force as its files are now."""
    with Maps(registry) as maps, Lock(registry, REGISTRATION_PATIENCE):
        state = unit_state(maps, unit)
        if state is None or not _is_as_read(state, unit, root):
            return False
        state.active = True
        write_unit(maps, unit, state)
        return True


def _is_as_read(state: UnitState, unit: str, root: str) -> bool:
    # Files that cannot be found or read are those that the loader could not read, either, and it
    # has said so. Whatever rules the unit has are in force.
    return files_of(root, unit) in (state.files, None)


def files_of(root: str, unit: str) -> tuple[int, int, int, int] | None:
    """The state of the unit's files, as stored in the registry; None if it cannot be found out."""
    try:
        return unitpaths.files_state(unitpaths.find_unit(root, unit)[1])
    except OSError:
        return None

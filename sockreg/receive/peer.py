"""Who is at the other end of a connection: what the kernel noted when it was made (unix(7)).

On the receiver's start-up path.
"""

import _socket
import errno
import posix
import struct

_SO_PEERGROUPS = 59  # asm-generic/socket.h
_SO_PEERPIDFD = 77  # asm-generic/socket.h; since Linux 6.5
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_GROUPS_SIZE = 1024  # bytes; what getsockopt() of Python takes
_GROUPS_SIZE_MAX = 4 * 65536  # bytes; NGROUPS_MAX of linux/limits.h
_START_TIME = 19  # of the fields after the name in /proc/PID/stat, from 0 (proc_pid_stat(5))


class Peer:
    """The peer when it connected (SO_PEERCRED).

    ``registrant`` is its unit, or ``uid:NNN`` if it has none, or is gone, so that its number may
    be that of another process now.
    """

    def __init__(self, connection: _socket.socket) -> None:
        level = _socket.SOL_SOCKET
        packed = connection.getsockopt(level, _socket.SO_PEERCRED, _CREDENTIALS.size)
        self.pid, self.uid, gid = _CREDENTIALS.unpack(packed)
        self.gids = {gid, *_groups(connection)}
        self.registrant = _unit(connection, self.pid) or f"uid:{self.uid}"

    def __str__(self) -> str:
        return f"pid {self.pid}, uid {self.uid}"


def _unit(connection: _socket.socket, pid: int) -> str:
    """The unit of the peer, or '' without one that is certain."""
    try:
        pidfd = connection.getsockopt(_socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            return ""  # it has ended
        return _unit_now(pid) if _is_older(pid) else ""
    try:
        unit = _unit_now(pid)
        return unit if _lives(pidfd) else ""
    finally:
        posix.close(pidfd)


def _unit_now(pid: int) -> str:
    """The unit of the process with this number at this moment, or ''."""
    from sockreg.systemd.unit_of import NO_UNIT, unit_of

    try:
        unit = unit_of(pid)
    except OSError:
        return ""  # it has ended, or its number means nothing in this pid namespace
    return "" if unit == NO_UNIT else unit


def _lives(pidfd: int) -> bool:
    """Whether the process of a pidfd has not ended, so that its number was always its own."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def _is_older(pid: int) -> bool:
    """Whether a process started before this one, as each peer has: it had to connect first.

    This is all that can be known before Linux 6.5. A process that got the number in the moment
    between the two is not noticed.
    """
    try:
        return _started(pid) <= _started(posix.getpid())
    except OSError:
        return False


def _started(pid: int) -> int:
    """When a process started, in clock ticks since the boot."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[_START_TIME])


def _groups(connection: _socket.socket) -> list[int]:
    """The supplementary groups of the peer."""
    try:
        packed = connection.getsockopt(_socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_SIZE)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        packed = _many_groups(connection)
    return [number for (number,) in struct.iter_unpack("=I", packed)]


def _many_groups(connection: _socket.socket) -> bytes:
    """The groups of a peer that has more than getsockopt() of Python takes, packed."""
    import ctypes  # heavy, and hardly any peer needs it

    groups = ctypes.create_string_buffer(_GROUPS_SIZE_MAX)
    size = ctypes.c_uint32(_GROUPS_SIZE_MAX)
    libc = ctypes.CDLL(None, use_errno=True)
    option = (connection.fileno(), _socket.SOL_SOCKET, _SO_PEERGROUPS)
    if libc.getsockopt(*option, groups, ctypes.byref(size)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, posix.strerror(number))
    return groups.raw[: size.value]

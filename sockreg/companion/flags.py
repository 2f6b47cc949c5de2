"""Restoring O_NONBLOCK of a shared socket.

Before ExecStart=, systemd sets or clears O_NONBLOCK on every descriptor that it passes, as this
unit's NonBlocking= says. The flag belongs to the open file description, which a running server
shares. Therefore, sockreg-add@.service records the flags of PID 1's descriptors beforehand
(/proc/1/fdinfo, proc(5)), and the companion restores them before it does anything else. The time
between the two cannot be avoided; see docs/nonblocking.md. This module imports nothing unnecessary,
because every millisecond counts.
"""

import fcntl
import posix

_KIND_AND_WRITERS, _FILE = 0o170022, 0o100000  # of st_mode: inode(7)


def restore(record: str, fds: range) -> int:
    """Set O_NONBLOCK of ``fds`` as in ``record``. Returns how many were changed.

    ``record`` is a file with the fdinfo texts of PID 1, one after another. A socket that is not in
    the file is not changed: kernels before 5.14 do not report inode numbers.
    """
    try:
        flags = _flags_by_inode(record)
    except (OSError, ValueError):
        return 0  # not recorded: started by hand, or the disk was full
    changed = 0
    for fd in fds:
        try:
            recorded = flags.get(posix.fstat(fd).st_ino)
        except OSError:
            break  # not open, or not a descriptor: sockreg/systemd/listen_fds.py reports it
        if recorded is None:
            continue
        now = fcntl.fcntl(fd, fcntl.F_GETFL)
        wanted = now & ~posix.O_NONBLOCK | recorded & posix.O_NONBLOCK
        if wanted != now:
            fcntl.fcntl(fd, fcntl.F_SETFL, wanted)
            changed += 1
    return changed


def _flags_by_inode(record: str) -> dict[int, int]:
    found: dict[int, int] = {}
    flags = 0
    fd = posix.open(record, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK)
    status = posix.fstat(fd)
    if status.st_uid != posix.geteuid() or status.st_mode & _KIND_AND_WRITERS != _FILE:
        posix.close(fd)
        return found  # of somebody else
    # As bytes: the codec of a text file is one more import.
    with open(fd, "rb") as lines:
        for line in lines:
            if line.startswith(b"flags:"):
                flags = int(line[6:], 8)
            elif line.startswith(b"ino:"):
                found[int(line[4:])] = flags
    return found

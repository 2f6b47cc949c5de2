"""Give a shared socket its O_NONBLOCK back.

Before ExecStart= systemd sets or clears O_NONBLOCK on every descriptor it passes, after
this unit's NonBlocking=, and the flag lives in the open file description that a running
server shares. Unit sockreg-add@.service therefore records the flags of PID 1's
descriptors beforehand (/proc/1/fdinfo, proc(5)) and the companion puts them back as its
very first act. The time between the two is the one thing that cannot be avoided here;
see docs/nonblocking.md. Imports nothing that is not needed: every millisecond counts.
"""

import fcntl
import posix


def restore(record: str, fds: range) -> int:
    """Set O_NONBLOCK of ``fds`` as ``record`` has it; returns how many were changed.

    ``record`` is a file with the fdinfo texts of PID 1, one after the other. A socket
    that is not in it is left alone: kernels before 5.14 do not tell inode numbers.
    """
    try:
        flags = _flags_by_inode(record)
    except OSError:
        return 0  # not recorded: started by hand
    changed = 0
    for fd in fds:
        try:
            recorded = flags.get(posix.fstat(fd).st_ino)
        except OSError:
            break  # not open, or no number of a descriptor: sockreg/systemd/listen_fds.py says it
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
    # As bytes: the codec of a text file is one more import.
    with open(record, "rb") as lines:
        for line in lines:
            if line.startswith(b"flags:"):
                flags = int(line[6:], 8)
            elif line.startswith(b"ino:"):
                found[int(line[4:])] = flags
    return found

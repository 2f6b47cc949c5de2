"""Failed system calls that no other place has words for."""

from __future__ import annotations

import errno

from sockreg.errors import SockregError, failure

_HELP = {
    errno.ENOMEM: "free some memory, and run it again",
    errno.EMFILE: "raise the limit of open files of this process, and run it again",
    errno.ENFILE: "raise the limit of open files of the system, and run it again",
    errno.ENOSPC: "make room on that file system or in that map, and run it again",
    errno.EROFS: "make that file system writable, and run it again",
}


def unforeseen(error: OSError, verb: str) -> SockregError:
    """The failure as an operator reads it: the verb, the file if there is one, and why."""
    name = errno.errorcode.get(error.errno or 0)
    if name is None:
        return failure(error, f"{verb}: {error}")
    where = f"{error.filename}: " if error.filename is not None else ""
    what = f"{verb}: {where}the system refused a call: {error.strerror} ({name})"
    return failure(error, what, _HELP.get(error.errno or 0, ""))

"""Duplicating a descriptor out of a running process: pidfd_open(2) and pidfd_getfd(2).

The duplicate shares the open file description, as after dup(2). It is not changed here; in
particular, O_NONBLOCK stays as the server set it.
"""

import contextlib
import ctypes
import os
import select
from collections.abc import Iterator

# The same on every architecture: system calls since Linux 5.1 share their numbers.
_PIDFD_GETFD = 438

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def opened(pid: int) -> Iterator[int]:
    """A pidfd of the process during the block. Raises ProcessLookupError if there is none.

    The pidfd refers to this one process, even after it has ended and its number was reused. It does
    not keep the number: what was found by number is of this process if is_alive() afterwards.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        # EINVAL, and ENOENT since Linux 6.9: the number of a thread, or no number at all.
        if isinstance(error, PermissionError):
            raise
        raise ProcessLookupError(error.errno, error.strerror) from None
    try:
        yield pidfd
    finally:
        os.close(pidfd)


def is_alive(pidfd: int) -> bool:
    """Whether the process has not ended. Until then, no other process gets its number."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


@contextlib.contextmanager
def duplicated(pidfd: int, fd: int) -> Iterator[int]:
    """As getfd(), closed with the block."""
    duplicate = getfd(pidfd, fd)
    try:
        yield duplicate
    finally:
        os.close(duplicate)


def getfd(pidfd: int, fd: int) -> int:
    """Duplicate descriptor ``fd`` of the process. The caller closes the new one (CLOEXEC).

    Raises PermissionError without PTRACE_MODE_ATTACH_REALCREDS (ptrace(2)), which the same user and
    CAP_SYS_PTRACE have; ProcessLookupError if the process has ended; EBADF if it has closed ``fd``.
    """
    result: int = _libc.syscall(
        ctypes.c_long(_PIDFD_GETFD), ctypes.c_int(pidfd), ctypes.c_int(fd), ctypes.c_uint(0)
    )
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result

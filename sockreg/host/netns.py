"""Network namespaces: which one this process is in, and entering another one."""

import _socket
import contextlib
import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass

from sockreg.errors import (
    AccessError,
    UsageError,
    failure,
)
from sockreg.host.listener import netns_cookie

_CLONE_NEWNET = 0x40000000  # linux/sched.h; os.setns() comes with Python 3.12
_OWN = "/proc/thread-self/ns/net"
_NAMED = "/run/netns"  # ip-netns(8)


@dataclass(frozen=True)
class Netns:
    """The network namespace that a command works on.

    ``fd`` is open on it. ``cookie`` is its SO_NETNS_COOKIE (0 before Linux 5.14). ``inode`` is the
    number that link information and /proc show.
    """

    fd: int
    cookie: int
    inode: int


@contextlib.contextmanager
def entered(name: str | None) -> Iterator[Netns]:
    """Enter the namespace with this name or path; None is the current one.

    The calling thread is in the namespace until the context ends. Raises SockregError if there is
    no such namespace.
    """
    with contextlib.ExitStack() as stack:
        home = fd = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, home)
        if name is not None:
            fd = _open(name)
            stack.callback(os.close, fd)
            _enter(fd, name)
            stack.callback(_enter, home, "the network namespace of this process")
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        cookie = netns_cookie(sock)
        sock.close()
        yield Netns(fd, cookie, os.fstat(fd).st_ino)


def _open(name: str) -> int:
    if not name:
        raise UsageError(
            "--netns '': no network namespace has this name",
            "'ip netns list' shows named ones; without --netns, it is the one of this process",
        )
    path = name if "/" in name else f"{_NAMED}/{name}"
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        kind = AccessError if isinstance(error, PermissionError) else UsageError
        raise kind(
            f"network namespace {name}: {path}: {error.strerror}",
            "'ip netns list' shows named ones; a path such as /proc/PID/ns/net works, too",
        ) from None


def _enter(fd: int, name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise failure(
            OSError(number, os.strerror(number)),
            f"cannot enter network namespace {name}: {os.strerror(number)}",
            "this needs CAP_SYS_ADMIN and a file of a network namespace",
        )

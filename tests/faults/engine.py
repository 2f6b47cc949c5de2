"""Run a command in a forked process, and let one of its changing system calls go wrong.

The process is stepped with ptrace(2). At the call in question it is killed, gets a signal, or the
kernel does not see the call and an errno is returned instead. x86-64.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import struct
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long

# linux/ptrace.h
_TRACEME, _PEEKUSER, _POKEUSER, _SYSCALL, _SETOPTIONS = 0, 3, 6, 24, 0x4200
_GET_SYSCALL_INFO = 0x420E
_O_TRACESYSGOOD, _O_EXITKILL = 1, 1 << 20
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_INFO = struct.Struct("=B3xIQQQ6Q")  # struct ptrace_syscall_info: op ... nr and arguments
_OP_ENTRY = 1
_RAX, _ORIG_RAX = 10 * 8, 15 * 8  # in struct user of sys/user.h

# arch/x86/entry/syscalls/syscall_64.tbl
_BPF, _OPEN, _OPENAT = 321, 2, 257
_FILES = {
    73: "flock",
    74: "fsync",
    77: "ftruncate",
    82: "rename",
    83: "mkdir",
    84: "rmdir",
    87: "unlink",
    88: "symlink",
    90: "chmod",
    91: "fchmod",
    92: "chown",
    93: "fchown",
    258: "mkdirat",
    260: "fchownat",
    263: "unlinkat",
    264: "renameat",
    268: "fchmodat",
    316: "renameat2",
}
# enum bpf_cmd
_COMMANDS = {
    0: "MAP_CREATE",
    2: "MAP_UPDATE_ELEM",
    3: "MAP_DELETE_ELEM",
    5: "PROG_LOAD",
    6: "OBJ_PIN",
    10: "PROG_TEST_RUN",
    22: "MAP_FREEZE",
    28: "LINK_CREATE",
    29: "LINK_UPDATE",
    34: "LINK_DETACH",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Errnos that fit, by the name of a call. The kernel knows more; these take other ways in the code.
_ERRNOS = {
    "MAP_CREATE": (errno.ENOMEM, errno.EPERM),
    "MAP_UPDATE_ELEM": (errno.ENOMEM, errno.E2BIG),
    "MAP_DELETE_ELEM": (errno.ENOMEM,),
    "PROG_LOAD": (errno.ENOMEM, errno.EMFILE),
    "OBJ_PIN": (errno.ENOMEM, errno.EPERM),
    "PROG_TEST_RUN": (errno.ENOMEM,),
    "MAP_FREEZE": (errno.ENOMEM,),
    "LINK_CREATE": (errno.ENOMEM, errno.EPERM),
    "LINK_UPDATE": (errno.ENOMEM, errno.EPERM),
    "LINK_DETACH": (errno.ENOMEM,),
    "flock": (errno.ENOLCK,),
    "fsync": (errno.EIO, errno.ENOSPC),
    "open": (errno.ENOSPC, errno.EMFILE, errno.EROFS),
}
_OF_FILES = (errno.ENOSPC, errno.EIO, errno.EROFS)


class Fault(NamedTuple):
    """What happens at the ``number``-th changing call: ``kill``, ``killed`` after it, ``SIGINT``
    before it returns, or the name of an errno.
    """

    number: int
    what: str


@dataclass(frozen=True)
class Ran:
    """How a run ended. ``status`` is None if the process was killed.

    ``calls`` are the names of its changing calls, up to its end.
    """

    status: int | None
    text: str
    calls: list[str]
    reached: bool


def kinds(call: str) -> list[str]:
    """The faults to try at a call of this name."""
    errnos = _ERRNOS.get(call, _OF_FILES)
    return ["kill", "killed", "SIGINT", *(errno.errorcode[number] for number in errnos)]


def run(command: Callable[[], tuple[int, str]], fault: Fault | None = None) -> Ran:
    """Run ``command`` in a child, which returns its exit status and what it printed."""
    with tempfile.TemporaryFile() as said:
        pid = _forked(command, said.fileno())
        calls, reached = _stepped(pid, fault)
        said.seek(0)
        content = said.read()
    if not content:
        return Ran(None, "", calls, reached)
    status, text = json.loads(content)
    return Ran(status, text, calls, reached)


def _forked(command: Callable[[], tuple[int, str]], said: int) -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of locks that other threads hold; servers of tests hold none.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _ptrace(_TRACEME, 0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            ended = command()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.write(said, json.dumps(ended).encode())
        except BaseException as error:  # noqa: BLE001  # the parent shows it
            os.write(said, json.dumps((-1, f"Traceback: {error!r}")).encode())
        finally:
            os._exit(0)
    return pid


def _stepped(pid: int, fault: Fault | None) -> tuple[list[str], bool]:
    os.waitpid(pid, 0)
    _ptrace(_SETOPTIONS, pid, _O_TRACESYSGOOD | _O_EXITKILL)
    calls: list[str] = []
    reached, signalled = False, 0
    while True:
        _ptrace(_SYSCALL, pid, signalled)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return calls, reached
        stop = os.WSTOPSIG(status)
        signalled = 0 if stop == _SYSCALL_STOP else stop
        if stop != _SYSCALL_STOP or (call := _change(pid)) is None:
            continue
        calls.append(call)
        if fault is None or len(calls) != fault.number:
            continue
        reached = True
        if fault.what == "SIGINT":
            os.kill(pid, signal.SIGINT)
            continue
        if fault.what not in {"killed", "kill"}:
            _ptrace(_POKEUSER, pid, 0xFFFFFFFFFFFFFFFF, _ORIG_RAX)  # no such call
        if fault.what != "kill":
            _ptrace(_SYSCALL, pid, 0)
            os.waitpid(pid, 0)
        if fault.what in ("kill", "killed"):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return calls, reached
        number = getattr(errno, fault.what)
        _ptrace(_POKEUSER, pid, -number & 0xFFFFFFFFFFFFFFFF, _RAX)


def _change(pid: int) -> str | None:
    """The name of the call that begins, if it changes something."""
    info = ctypes.create_string_buffer(_INFO.size)
    _ptrace(_GET_SYSCALL_INFO, pid, ctypes.addressof(info), _INFO.size)
    operation, _, _, _, number, first, second, third, *_ = _INFO.unpack(info.raw)
    if operation != _OP_ENTRY:
        return None
    if number == _BPF:
        return _COMMANDS.get(first)
    if number in (_OPEN, _OPENAT):
        flags = second if number == _OPEN else third
        return "open" if flags & _WRITING else None
    return _FILES.get(number)


def _ptrace(request: int, pid: int, data: int, address: int = 0) -> None:
    if _libc.ptrace(request, pid, address, data) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"ptrace request {request:#x}")

"""Let a command die before each single change of the system that it makes.

A process that is killed between two system calls leaves the same state as one killed
before the next system call that changes something: those are the points worth trying.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import platform
import signal
import struct
import warnings
from collections.abc import Callable, Iterator

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long

# linux/ptrace.h
_TRACEME, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_O_TRACESYSGOOD, _O_EXITKILL = 1, 1 << 20
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_INFO = struct.Struct("=B3xIQQQ6Q")  # struct ptrace_syscall_info: op ... nr and arguments
_OP_ENTRY = 1

# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h: mkdir, rename,
# unlink, rmdir and their *at forms
_FILE_CALLS = {
    "x86_64": {82, 83, 84, 87, 258, 263, 264, 316},
    "aarch64": {34, 35, 38, 276},
}[platform.machine()]
_BPF_CALL = {"x86_64": 321, "aarch64": 280}[platform.machine()]
# enum bpf_cmd: MAP_UPDATE, MAP_DELETE, OBJ_PIN, PROG_TEST_RUN (copies a socket from slot to
# slot), LINK_CREATE, LINK_UPDATE, LINK_DETACH
_BPF_COMMANDS = {2, 3, 6, 10, 28, 29, 34}


def deaths(command: Callable[[], object]) -> Iterator[int]:
    """Run ``command`` in a child that is killed before its first change, its second, ...

    Yields after each death the number of the change that was not made, so that the caller
    looks at what is left and puts everything back as it was. Ends after the run in which
    the command came to its end.
    """
    for number in itertools.count(1):
        if not _killed(command, number):
            assert number > 1, "the command changes nothing"
            return
        yield number


def _killed(command: Callable[[], object], number: int) -> bool:
    pid = _fork_traced(command)
    os.waitpid(pid, 0)
    _ptrace(_SETOPTIONS, pid, _O_TRACESYSGOOD | _O_EXITKILL)
    signalled = 0
    while True:
        _ptrace(_SYSCALL, pid, signalled)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "the command failed without being killed"
            return False
        stop = os.WSTOPSIG(status)
        signalled = 0 if stop == _SYSCALL_STOP else stop
        if stop == _SYSCALL_STOP and _is_change(pid):
            number -= 1
            if number == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return True


def _fork_traced(command: Callable[[], object]) -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of locks that other threads hold; servers of tests hold none.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _ptrace(_TRACEME, 0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            command()
            status = 0
        finally:
            os._exit(status)
    return pid


def _is_change(pid: int) -> bool:
    info = ctypes.create_string_buffer(_INFO.size)
    _ptrace(_GET_SYSCALL_INFO, pid, ctypes.addressof(info), _INFO.size)
    operation, _, _, _, number, first, *_ = _INFO.unpack(info.raw)
    if operation != _OP_ENTRY:
        return False
    return number in _FILE_CALLS or (number == _BPF_CALL and first in _BPF_COMMANDS)


def _ptrace(request: int, pid: int, data: int, address: int = 0) -> None:
    if _libc.ptrace(request, pid, address, data) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"ptrace request {request:#x}")

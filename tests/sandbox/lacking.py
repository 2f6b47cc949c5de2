"""How PID 1 of a sandbox gives up what its machine lacks: system calls and capabilities."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any

from tests.sandbox.plan import Lack, Refusal

# linux/prctl.h
_PR_CAPBSET_DROP = 24
# linux/seccomp.h
_SECCOMP_SET_MODE_FILTER = 1
_RET_ERRNO = 0x00050000
_RET_ALLOW = 0x7FFF0000
# linux/bpf_common.h, linux/filter.h: load a word of struct seccomp_data, jump, and, return.
_LOAD, _JUMP_EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06
_NUMBER = 0  # offsetof(struct seccomp_data, nr)
_ARGUMENTS = 16  # offsetof(struct seccomp_data, args)

# x86-64, and the architectures of asm-generic/unistd.h.
_NUMBERS = {
    "x86_64": {
        "bpf": 321, "clone": 56, "mknodat": 259, "mount": 165, "prctl": 157, "seccomp": 317,
        "setns": 308, "unshare": 272,
    },
    "other": {
        "bpf": 280, "clone": 220, "mknodat": 33, "mount": 40, "prctl": 167, "seccomp": 277,
        "setns": 268, "unshare": 97,
    },
}  # fmt: skip


def from_json(read: list[Any]) -> Lack:
    """The Lack that json.dumps() has written as a list."""
    refusals, capabilities, proc, flags = read
    return Lack(
        tuple(Refusal(*each) for each in refusals),
        tuple(capabilities),
        proc,
        tuple((path, number) for path, number in flags),
    )


def give_up(lack: Lack) -> None:
    """Do without, from now on: this process and all that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in lack.capabilities:
        _check(libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), "prctl(PR_CAPBSET_DROP)")
    if not lack.refusals:
        return
    program = _program(lack.refusals)
    instructions = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(instructions))
    number = _number("seccomp")
    _check(
        libc.syscall(
            ctypes.c_long(number), ctypes.c_long(_SECCOMP_SET_MODE_FILTER), ctypes.c_long(0), fprog
        ),
        "seccomp(SECCOMP_SET_MODE_FILTER)",
    )


def _program(refusals: tuple[Refusal, ...]) -> bytes:
    program = b""
    for refusal in refusals:
        test = b""
        if refusal.mask:
            test += _instruction(_LOAD, _ARGUMENTS + 8 * refusal.argument)  # the low half
            test += _instruction(_AND, refusal.mask)
            test += _instruction(_JUMP_EQUAL, refusal.value, 0, 1)
        test += _instruction(_RETURN, _RET_ERRNO | refusal.error)
        program += _instruction(_LOAD, _NUMBER)
        program += _instruction(_JUMP_EQUAL, _number(refusal.call), 0, len(test) // 8)
        program += test
    return program + _instruction(_RETURN, _RET_ALLOW)


def _instruction(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, k)


def _number(call: str) -> int:
    return _NUMBERS["x86_64" if os.uname().machine == "x86_64" else "other"][call]


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")

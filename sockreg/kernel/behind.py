"""Running an sk_lookup program behind another one, which has selected a socket.

BPF_PROG_TEST_RUN starts a program without a selected socket. But a program replaces the socket
selected before it only if it gives the right flag to bpf_sk_assign(). So a small program of ours
selects a stand-in, and then continues as the program in question, in the same context, by a tail
call.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator

from sockreg.kernel import bpf, libbpf

_KEY = bytes(4)  # of the only element of each map
_INSTRUCTION = struct.Struct("=BBhi")  # code, source << 4 | destination, offset, immediate

# linux/bpf.h: functions, and instructions as (code, destination, source, offset, immediate)
_MAP_LOOKUP, _TAIL_CALL, _SK_RELEASE, _SK_ASSIGN = 1, 12, 86, 124
_R0, _R1, _R2, _R3, _R6, _R7, _FRAME = 0, 1, 2, 3, 6, 7, 10


@contextlib.contextmanager
def behind_a_selection(program_fd: int, stand_in_fd: int) -> Iterator[int]:
    """A program that runs the given program after it has selected a socket, the stand-in.

    The stand-in is a listening TCP or a bound UDP socket. Raises OSError if the kernel refuses a
    part of it.
    """
    with contextlib.ExitStack() as stack:

        def closed_at_end(fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        sockets = libbpf.create_map(libbpf.MAP_TYPE_SOCKMAP, "stand_in", value_size=8)
        bpf.map_update(closed_at_end(sockets), _KEY, struct.pack("=Q", stand_in_fd))
        programs = libbpf.create_map(libbpf.MAP_TYPE_PROG_ARRAY, "following", value_size=4)
        bpf.map_update(closed_at_end(programs), _KEY, struct.pack("=I", program_fd))
        yield closed_at_end(libbpf.load_sk_lookup("behind", _instructions(sockets, programs)))


def _instructions(sockets: int, programs: int) -> bytes:
    program = [
        _move(_R6, _R1),  # the context
        (0x62, _FRAME, 0, -4, 0),  # *(u32 *)(frame - 4) = 0
        *_map(_R1, sockets),
        _move(_R2, _FRAME),
        (0x07, _R2, 0, 0, -4),  # r2 += -4
        _call(_MAP_LOOKUP),
        (0x15, _R0, 0, 12, 0),  # if r0 == 0, go to the end
        _move(_R7, _R0),  # the socket
        _move(_R1, _R6),
        _move(_R2, _R7),
        _set(_R3, 0),
        _call(_SK_ASSIGN),
        _move(_R1, _R7),
        _call(_SK_RELEASE),
        _move(_R1, _R6),
        *_map(_R2, programs),
        _set(_R3, 0),
        _call(_TAIL_CALL),
        _set(_R0, bpf.SK_PASS),
        (0x95, 0, 0, 0, 0),  # exit
    ]
    return b"".join(
        _INSTRUCTION.pack(code, source << 4 | destination, offset, immediate)
        for code, destination, source, offset, immediate in program
    )


_Instruction = tuple[int, int, int, int, int]


def _move(destination: int, source: int) -> _Instruction:
    return 0xBF, destination, source, 0, 0


def _set(destination: int, value: int) -> _Instruction:
    return 0xB7, destination, 0, 0, value


def _call(function: int) -> _Instruction:
    return 0x85, 0, 0, 0, function


def _map(destination: int, fd: int) -> tuple[_Instruction, _Instruction]:
    """Load the address of a map: two instructions, of which the first names its descriptor."""
    return (0x18, destination, 1, 0, fd), (0, 0, 0, 0, 0)

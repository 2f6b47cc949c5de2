"""Try everything that bpf(2) and locks offer on every pin below a directory. Runs by itself.

    python3 -I -S walk.py PATH...

Opens each pin in each mode, does with the descriptor all that bpf(2) takes one for, takes every
lock on every file and directory, and prints as JSON what succeeded. Holds the locks until its
standard input ends. The paths are given, because some may be known that cannot be listed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import struct
import sys
from collections.abc import Callable

_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
_libc = ctypes.CDLL(None, use_errno=True)
_MODES = {"rw": 0, "r": 1 << 3, "w": 1 << 4}  # BPF_F_RDONLY, BPF_F_WRONLY
_F_OFD_SETLK = 37  # fcntl(2)
_ROOM = 1 << 16  # bytes: more than any key or value

_memory = ctypes.create_string_buffer(_ROOM)
_key = ctypes.create_string_buffer(_ROOM)
_ADDRESS, _KEY = ctypes.addressof(_memory), ctypes.addressof(_key)

# Number, and attributes for a descriptor: enum bpf_cmd and union bpf_attr of linux/bpf.h
_ELEMENT = struct.Struct("=I4xQQQ")
_BATCH = struct.Struct("=QQQQIIQQ")
_RUN = struct.Struct("=IIIIQQIIIIQQ")


def _element(fd: int) -> bytes:
    return _ELEMENT.pack(fd, _KEY, _ADDRESS, 0)


def _batch(fd: int) -> bytes:
    return _BATCH.pack(0, _ADDRESS, _KEY, _ADDRESS + 4096, 1, fd, 0, 0)


COMMANDS: dict[str, tuple[int, Callable[[int], bytes]]] = {
    "MAP_CREATE": (0, lambda fd: struct.pack("=IIIIII100x", 12, 4, 4, 1, 0, fd)),  # inner map
    "MAP_LOOKUP_ELEM": (1, _element),
    "MAP_UPDATE_ELEM": (2, _element),
    "MAP_DELETE_ELEM": (3, _element),
    "MAP_GET_NEXT_KEY": (4, lambda fd: _ELEMENT.pack(fd, 0, _ADDRESS, 0)),
    "PROG_ATTACH": (8, lambda fd: struct.pack("=IIII", fd, fd, 36, 0)),  # BPF_SK_LOOKUP
    "PROG_DETACH": (9, lambda fd: struct.pack("=IIII", fd, fd, 5, 0)),  # BPF_SK_SKB_STREAM_VERDICT
    "PROG_TEST_RUN": (10, lambda fd: _RUN.pack(fd, 0, 0, 0, 0, 0, 1, 0, 64, 0, _ADDRESS, 0)),
    "OBJ_GET_INFO_BY_FD": (15, lambda fd: struct.pack("=IIQ", fd, 256, _ADDRESS)),
    "PROG_QUERY": (16, lambda fd: struct.pack("=IIIIQI4x", fd, 36, 0, 0, _ADDRESS, 8)),
    "MAP_LOOKUP_AND_DELETE_ELEM": (21, _element),
    "MAP_FREEZE": (22, lambda fd: struct.pack("=I", fd)),
    "MAP_LOOKUP_BATCH": (24, _batch),
    "MAP_LOOKUP_AND_DELETE_BATCH": (25, _batch),
    "MAP_UPDATE_BATCH": (26, _batch),
    "MAP_DELETE_BATCH": (27, _batch),
    "LINK_CREATE": (28, lambda fd: struct.pack("=IIII", fd, fd, 36, 0)),
    "LINK_UPDATE": (29, lambda fd: struct.pack("=IIII", fd, fd, 0, 0)),
    "ITER_CREATE": (33, lambda fd: struct.pack("=II", fd, 0)),
    "LINK_DETACH": (34, lambda fd: struct.pack("=I", fd)),
    "PROG_BIND_MAP": (35, lambda fd: struct.pack("=III", fd, fd, 0)),
    "TOKEN_CREATE": (36, lambda fd: struct.pack("=II", 0, fd)),
}
BY_ID = {
    "PROG_GET_NEXT_ID": 11,
    "MAP_GET_NEXT_ID": 12,
    "PROG_GET_FD_BY_ID": 13,
    "MAP_GET_FD_BY_ID": 14,
    "BTF_GET_FD_BY_ID": 19,
    "LINK_GET_FD_BY_ID": 30,
    "LINK_GET_NEXT_ID": 31,
}


def bpf(command: int, attributes: bytes) -> int:
    """The result of bpf(2). Raises OSError."""
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = int(_libc.syscall(_BPF, command, buffer, len(attributes)))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _at(path: str) -> tuple[ctypes.Array[ctypes.c_char], int]:
    name = ctypes.create_string_buffer(os.fsencode(path))
    return name, ctypes.addressof(name)


def tried(call: Callable[..., object], *arguments: object) -> str:
    """What came of a call: ``done``, or the name of the error."""
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))
    return "done"


def opened(path: str, flags: int) -> int:
    _name, address = _at(path)
    return bpf(7, struct.pack("=QII", address, 0, flags))


def pinned(fd: int, path: str) -> None:
    _name, address = _at(path)
    bpf(6, struct.pack("=QII", address, fd, 0))


def mapped(fd: int, access: int) -> None:
    mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, access).close()


def locked(fd: int, command: int, kind: int) -> None:
    fcntl.fcntl(fd, command, struct.pack("hhqqi4x", kind, 0, 0, 0, 0))


def of_descriptor(fd: int, directories: list[str]) -> list[str]:
    """What succeeds with a descriptor."""
    done = []
    for name, (number, attributes) in COMMANDS.items():
        ctypes.memset(_ADDRESS, 0, _ROOM)  # the kernel takes no garbage behind what it knows
        if tried(bpf, number, attributes(fd)) == "done":
            done.append(name)
    for directory in directories:
        if tried(pinned, fd, f"{directory}/another") == "done":
            done.append(f"OBJ_PIN in {os.path.basename(directory)}")
    for name, access in (("mmap read", mmap.PROT_READ), ("mmap write", mmap.PROT_WRITE)):
        if tried(mapped, fd, access) == "done":
            done.append(name)
    return done


def of_pin(path: str, directories: list[str]) -> dict[str, list[str]]:
    """What succeeds by the mode in which a pin opens."""
    found = {}
    for name, flags in _MODES.items():
        try:
            fd = opened(path, flags)
        except OSError:
            continue
        found[name] = of_descriptor(fd, directories)
    return found


def locks(path: str) -> list[str]:
    """The locks that succeed on a file or directory. They are held until the process ends."""
    done = set()
    for mode in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
        try:
            fd = os.open(path, mode | os.O_NONBLOCK)
        except OSError:
            continue
        for name, number in (("exclusive", fcntl.LOCK_EX), ("shared", fcntl.LOCK_SH)):
            if tried(fcntl.flock, fd, number | fcntl.LOCK_NB) == "done":
                done.add(name)
        for name, kind in (("record read", fcntl.F_RDLCK), ("record write", fcntl.F_WRLCK)):
            if tried(locked, fd, _F_OFD_SETLK, kind) == "done":
                done.add(name)
    return sorted(done)


def main(*paths: str) -> None:
    is_directory = {path: os.path.isdir(path) for path in paths}
    directories = [path for path in paths if is_directory[path]]
    result = {
        "pins": {path: of_pin(path, directories) for path in paths if not is_directory[path]},
        "by id": {
            name: tried(bpf, number, struct.pack("=III", 1, 0, 0)) for name, number in BY_ID.items()
        },
        "locks": {path: locks(path) for path in paths},
        "made": [at for at in directories if tried(os.mkdir, f"{at}/another") == "done"],
        "removed": [path for path in paths if tried(os.rename, path, f"{path}x") == "done"],
    }
    print(json.dumps(result), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])

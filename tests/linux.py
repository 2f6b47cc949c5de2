"""The system calls of namespaces and mounts, for the tests and the demo.

Python has os.unshare() and os.setns() only since 3.12, and mount(2) not at all. Every
function raises OSError with the kernel's errno.
"""

from __future__ import annotations

import ctypes
import os
import threading

# linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# linux/mount.h
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 0x2

_libc = ctypes.CDLL(None, use_errno=True)
_private_in_process: int | None = None


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces (unshare(2))."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd: int, kind: int) -> None:
    """Move the calling thread into the namespace behind ``fd`` (setns(2))."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2); an empty ``fstype`` or ``data`` is passed as NULL."""
    result = _libc.mount(
        ctypes.c_char_p(os.fsencode(source)),
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_char_p(os.fsencode(fstype) if fstype else None),
        ctypes.c_ulong(flags),
        ctypes.c_char_p(os.fsencode(data) if data else None),
    )
    _check(result, f"mount {fstype or source} on {target} {data}".rstrip())


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(ctypes.c_char_p(os.fsencode(target)), ctypes.c_int(flags)), target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2), which glibc does not wrap."""
    # 155 on x86-64 and 41 on the architectures of asm-generic/unistd.h.
    number = 155 if os.uname().machine == "x86_64" else 41
    result = _libc.syscall(
        ctypes.c_long(number),
        ctypes.c_char_p(os.fsencode(new_root)),
        ctypes.c_char_p(os.fsencode(put_old)),
    )
    _check(result, f"pivot_root to {new_root}")


def private_mounts() -> None:
    """Give this process its own mount namespace, once; what it mounts dies with it.

    Nothing mounted afterwards reaches the host, however the process ends. To be called
    from the main thread before others start: unshare(2) moves the calling thread only.
    """
    global _private_in_process  # noqa: PLW0603
    if _private_in_process == os.getpid():
        return
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("private_mounts() belongs into the main thread")
    unshare(CLONE_NEWNS)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    _private_in_process = os.getpid()


def _check(result: int, what: str) -> None:
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")

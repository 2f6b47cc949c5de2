#!/usr/bin/python3
"""The first process of a guest: mounts, loads modules, runs the tests, and powers off.

pytest's arguments are the lines of ``/arguments``. The last line on the console is "tests ended
with STATUS": the exit status of pytest.
"""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path

TREE = Path("/sockreg")
_RB_AUTOBOOT = 0x01234567  # linux/reboot.h; QEMU's -no-reboot makes an end of it
_MOUNTS = (
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", ""),
    ("tmpfs", "/run", "mode=0755"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("bpf", "/sys/fs/bpf", "mode=0700"),
    ("cgroup2", "/sys/fs/cgroup", ""),
)
# The clock counts instructions: these seconds are work of the guest's, not time of the host's.
_NO_STALL = ("-o", "faulthandler_timeout=300", "-o", "faulthandler_exit_on_timeout=true")
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Have a child run the tests, and be the parent of all that lose theirs. Then power off."""
    tests = os.fork()
    if tests == 0:
        _set_up()
        command = [str(TREE / ".venv/bin/python"), "-m", "pytest", *_NO_STALL, *_arguments()]
        os.chdir(TREE)
        os.execv(command[0], command)
    while (ended := os.wait())[0] != tests:
        pass
    with open("/dev/console", "w") as console:
        print("tests ended with", os.waitstatus_to_exitcode(ended[1]), file=console)
    _libc.reboot(_RB_AUTOBOOT)


def _set_up() -> None:
    for kind, target, data in _MOUNTS:
        _called(_libc.mount, kind.encode(), target.encode(), kind.encode(), 0, data.encode())
    console = os.open("/dev/console", os.O_RDWR)
    for fd in range(3):
        os.dup2(console, fd)
    print("Linux", os.uname().release, flush=True)
    os.environ.update(
        PATH="/usr/sbin:/usr/bin:/sbin:/bin", HOME="/root", LANG="C.UTF-8", TERM="dumb"
    )
    # Ubuntu's lets nobody take sockets from processes that they did not start, if this is there.
    yama = Path("/proc/sys/kernel/yama/ptrace_scope")
    if yama.exists():
        yama.write_text("0")
    for module in sorted(Path("/modules").iterdir()):
        _load(module)
    # Before Linux 5.11 maps and programs count against it, root's too.
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 19, 1 << 19))


def _arguments() -> list[str]:
    return Path("/arguments").read_text().splitlines()


def _load(module: Path) -> None:
    fd = os.open(module, os.O_RDONLY)
    try:
        # 313 on x86-64: finit_module(2), which glibc does not wrap
        _called(_libc.syscall, 313, fd, b"", 0)
    finally:
        os.close(fd)


def _called(function: ctypes._NamedFuncPointer, *arguments: object) -> None:
    if function(*arguments) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{arguments}: {os.strerror(error)}")


main()

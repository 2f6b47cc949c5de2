"""Where commands are measured: a network namespace, a bpffs and configuration of its own."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.linux import MNT_DETACH, mount, private_mounts, umount
from tests.netns import Namespace, bpffs
from tests.process import run

BASH = "/bin/bash"
FIRST = ("chrt", "--fifo", "1")
_LIMIT = 600.0  # s; no command of the measurements takes nearly as long


class Cost(NamedTuple):
    """What a process took: seconds from start to end and on CPUs, and its most memory in MiB."""

    wall: float
    cpu: float
    memory: float


class Ground(NamedTuple):
    """Commands run as processes of their own, from start to end, as people run them."""

    namespace: Namespace
    bpffs: Path
    root: Path

    def command(self, *arguments: str) -> list[str]:
        place = ["--netns", self.namespace.path, "--bpffs", str(self.bpffs)]
        return [sys.executable, "-m", "sockreg", *place, "--root", str(self.root), *arguments]

    def run(self, *arguments: str) -> str:
        """Run a command that must succeed; returns what it printed."""
        return run(self.command(*arguments), timeout=_LIMIT).stdout

    def cost(self, *arguments: str) -> Cost:
        """What a command that must succeed takes."""
        return cost(self.command(*arguments))

    def configure(self, lines: Sequence[str]) -> None:
        """Have these lines be the only file of /etc/sockreg."""
        path = self.root / "etc/sockreg/bench.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")

    def register(self, label: str, sock: socket.socket, unit: str) -> None:
        """Register a socket, passed as systemd passes it."""
        script = f'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES="$0" exec "$@" 3<&{sock.fileno()}'
        command = [BASH, "-c", script, label, *self.command("register", "--unit", unit)]
        done = subprocess.run(
            command, pass_fds=[sock.fileno()], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def ground() -> Iterator[Ground]:
    """A place of the measurement's own, without rules yet; nothing of it remains."""
    private_mounts()
    with (
        tempfile.TemporaryDirectory(prefix="sockreg-bench-") as directory,
        bpffs() as pins,
        Namespace() as namespace,
    ):
        # What commands log is not the journal's business.
        mount("none", "/run", "tmpfs", data="mode=0755")
        try:
            yield Ground(namespace, pins, Path(directory))
        finally:
            umount("/run", MNT_DETACH)


def cost(command: Sequence[str], statuses: Sequence[int] = (0,)) -> Cost:
    """What a command takes that must end with one of these statuses, else its output is shown.

    It goes before everything else on the machine (chrt(1)), or other processes' time would
    be taken for its own. The kernel leaves them a twentieth (sched_rt_runtime_us, sched(7)).
    """
    with tempfile.TemporaryFile("w+") as output:
        begin = time.monotonic()
        process = subprocess.Popen([*FIRST, *command], stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        assert process.returncode in statuses, f"{' '.join(command)}\n{output.read()}"
    return _cost(wall, used)


def _cost(wall: float, used: resource.struct_rusage) -> Cost:
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)

"""A kernel with its initramfs in QEMU, and what the guest said.

QEMU emulates the processor, so no /dev/kvm is needed, and with ``-icount`` the guest's clock
counts its instructions: however busy this machine is, a timeout inside leaves the same work the
same time, and waiting takes none. So nothing here has a limit in seconds; a test that does not
end is ended inside (``init.py``).
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

_MEMORY_MB = 2048
_RELEASE = re.compile(r"^Linux (\S+)", re.MULTILINE)
_ENDED = re.compile(r"^tests ended with (\d+)", re.MULTILINE)
_SUMMARY = re.compile(r"^=* ?(\d+ (?:passed|failed).*?)(?: in [\d.]+s.*)?$", re.MULTILINE)


class Seen(NamedTuple):
    """What a guest said: its kernel's release, the summary of pytest, and everything.

    ``passed`` is whether all tests ran and passed.
    """

    passed: bool
    release: str
    summary: str
    console: str


class Machine(NamedTuple):
    """A guest that runs: QEMU, and the file that the guest's console is written to."""

    process: subprocess.Popen[bytes]
    console: IO[bytes]

    def seen(self) -> Seen:
        """What it has said by now."""
        self.console.seek(0)
        said = self.console.read().decode(errors="replace").replace("\r", "")
        release, ended = _RELEASE.search(said), _ENDED.search(said)
        summaries = _SUMMARY.findall(said)
        return Seen(
            ended is not None and ended[1] == "0",
            release[1] if release else "did not start",
            summaries[-1] if summaries else "no tests ran to their end",
            said,
        )


def kernel_image(kernel: Path) -> Path:
    """The kernel of a package that is unpacked here."""
    return next(kernel.rglob("vmlinuz*"))


def release_of(kernel: Path) -> tuple[int, int]:
    """Its release, as (6, 12)."""
    (modules,) = (path.parent for path in kernel.rglob("modules/*/kernel"))
    major, minor = modules.name.split(".")[:2]
    return int(major), int(minor)


@contextmanager
def booted(qemu: Path, kernel: Path, initramfs: IO[bytes]) -> Iterator[Machine]:
    """A guest that runs until it powers off. It does not outlive the block, nor this process.

    QEMU is Debian's, with the libraries it was built with, whatever this machine has.
    """
    libraries = qemu / "usr/lib/x86_64-linux-gnu"
    command = [
        *("setpriv", "--pdeathsig", "KILL"),
        str(qemu / "usr/lib64/ld-linux-x86-64.so.2"),
        *("--library-path", str(libraries)),
        str(qemu / "usr/bin/qemu-system-x86_64"),
        *("-L", str(qemu / "usr/share/qemu"), "-L", str(qemu / "usr/share/seabios")),
        *("-M", "pc", "-cpu", "max", "-accel", "tcg", "-m", str(_MEMORY_MB)),
        *("-icount", "shift=1,sleep=off"),
        *("-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"),
        # The file has no name, so that nothing is left of it whatever ends us.
        *("-kernel", str(kernel_image(kernel)), "-initrd", f"/proc/self/fd/{initramfs.fileno()}"),
        *("-append", "console=ttyS0 panic=-1 quiet"),
    ]
    with (
        tempfile.TemporaryFile() as console,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            pass_fds=[initramfs.fileno()],
        ) as process,
    ):
        try:
            yield Machine(process, console)
        finally:
            process.kill()

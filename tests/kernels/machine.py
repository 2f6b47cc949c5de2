"""Booting a kernel with its initramfs in QEMU, and what the guest said."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

_SECONDS = 1800
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


def kernel_image(kernel: Path) -> Path:
    """The kernel of a package that is unpacked here."""
    return next(kernel.rglob("vmlinuz*"))


def release_of(kernel: Path) -> tuple[int, int]:
    """Its release, as (6, 12)."""
    (modules,) = (path.parent for path in kernel.rglob("modules/*/kernel"))
    major, minor = modules.name.split(".")[:2]
    return int(major), int(minor)


def boot(qemu: Path, kernel: Path, initramfs: Path, console: Path) -> Seen:
    """Boot, wait until the guest powers off, and read what it wrote to ``console``.

    QEMU emulates the processor: no /dev/kvm is needed. It is Debian's, with the libraries it
    was built with, whatever this machine has.
    """
    libraries = qemu / "usr/lib/x86_64-linux-gnu"
    command = [
        str(qemu / "usr/lib64/ld-linux-x86-64.so.2"),
        *("--library-path", str(libraries)),
        str(qemu / "usr/bin/qemu-system-x86_64"),
        *("-L", str(qemu / "usr/share/qemu"), "-L", str(qemu / "usr/share/seabios")),
        *("-M", "pc", "-cpu", "max", "-accel", "tcg", "-m", str(_MEMORY_MB)),
        *("-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", str(kernel_image(kernel)), "-initrd", str(initramfs)),
        *("-append", "console=ttyS0 panic=-1 quiet"),
    ]
    with console.open("wb") as output:
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            output.write(f"\nnot at its end after {_SECONDS} s\n".encode())
    said = console.read_text(errors="replace").replace("\r", "")
    release, ended = _RELEASE.search(said), _ENDED.search(said)
    summaries = _SUMMARY.findall(said)
    return Seen(
        ended is not None and ended[1] == "0",
        release[1] if release else "did not start",
        summaries[-1] if summaries else "no tests ran to their end",
        said,
    )

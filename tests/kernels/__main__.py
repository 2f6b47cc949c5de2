"""``python -m tests.kernels [SUITE...]``: run the chosen tests on the kernels of these suites."""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from tests.kernels import chosen, initramfs, machine

# Debian 11, 12 and 13, the newest that there is for 13; Ubuntu 22.04 and 24.04.
_SUITES = ("bullseye", "jammy", "bookworm", "noble", "trixie", "trixie-backports")
_UBUNTU = ("jammy", "noble")  # has VRFs in a package of its own, linux-modules-extra
_AT_ONCE = 2


def main() -> int:
    """Boot them all; returns 0 if every kernel passed all its tests."""
    parser = argparse.ArgumentParser(prog="tests.kernels", description=__doc__)
    parser.add_argument(
        "suites", metavar="SUITE", nargs="*", help="of Debian or Ubuntu, such as bookworm"
    )
    parser.add_argument("--only", metavar="TEST", action="append", help="these tests instead")
    given = parser.parse_args()
    suites = given.suites or list(_SUITES)
    # The default action would end this process without undoing anything.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    fetched = subprocess.run(
        [Path(__file__).parent / "fetch", *suites], stdout=subprocess.PIPE, text=True, check=False
    )
    if fetched.returncode != 0:
        return fetched.returncode
    try:
        return 0 if all(_run(suites, Path(fetched.stdout.strip()), given.only)) else 1
    except KeyboardInterrupt:
        print("tests.kernels: interrupted; no guest is left", file=sys.stderr)
        return 130


def _run(suites: list[str], cache: Path, only: list[str] | None) -> list[bool]:
    """Boot them, a few at a time, and say of each as it ends whether it passed."""
    waiting, passed = list(suites), []
    running: dict[int, tuple[str, machine.Machine, ExitStack]] = {}  # by pidfd
    with ExitStack() as all_of_them, tempfile.TemporaryFile() as shared:
        initramfs.write_shared(shared)
        while waiting or running:
            while waiting and len(running) < _AT_ONCE:
                suite = waiting.pop(0)
                stack = all_of_them.enter_context(ExitStack())
                guest = stack.enter_context(_booted(cache, suite, shared, only))
                running[os.pidfd_open(guest.process.pid)] = suite, guest, stack
            for pidfd in select.select(list(running), [], [])[0]:
                suite, guest, stack = running.pop(pidfd)
                os.close(pidfd)
                passed.append(_report(suite, guest.seen()))
                stack.close()
    return passed


@contextmanager
def _booted(
    cache: Path, suite: str, shared: IO[bytes], only: list[str] | None
) -> Iterator[machine.Machine]:
    kernel = cache / suite
    arguments = only or chosen.arguments(machine.release_of(kernel), has_vrf=suite not in _UBUNTU)
    with tempfile.TemporaryFile() as archive:
        shared.seek(0)
        shutil.copyfileobj(shared, archive)
        initramfs.append_own(archive, kernel, ["-q", "--tb=short", "--no-skips", *arguments])
        archive.flush()
        with machine.booted(cache / "qemu", kernel, archive) as guest:
            yield guest


def _report(suite: str, seen: machine.Seen) -> bool:
    if not seen.passed:
        print(f"--- what {suite} said ---\n{seen.console}--- end of {suite} ---")
    verdict = "passed" if seen.passed else "FAILED"
    print(f"{verdict}  {suite:18} Linux {seen.release:30} {seen.summary}", flush=True)
    return seen.passed


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.kernels [SUITE...]``: run the chosen tests on the kernels of these suites."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.kernels import chosen, initramfs, machine

# Debian 11, 12 and 13, the newest that there is for 13; Ubuntu 22.04 and 24.04.
_SUITES = ("bullseye", "jammy", "bookworm", "noble", "trixie", "trixie-backports")
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
    fetched = subprocess.run(
        [Path(__file__).parent / "fetch", *suites], stdout=subprocess.PIPE, text=True, check=False
    )
    if fetched.returncode != 0:
        return fetched.returncode
    cache = Path(fetched.stdout.strip())
    with tempfile.TemporaryDirectory(prefix="sockreg-kernels-") as directory:
        shared = Path(directory, "shared")
        initramfs.write_shared(shared)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            passed = pool.map(
                lambda suite: _run(suite, cache, shared, Path(directory), given.only), suites
            )
            return 0 if all(list(passed)) else 1


def _run(suite: str, cache: Path, shared: Path, directory: Path, only: list[str] | None) -> bool:
    began = time.monotonic()
    kernel = cache / suite
    arguments = only or chosen.arguments(machine.release_of(kernel))
    archive = directory / suite
    with archive.open("wb") as file:
        file.write(shared.read_bytes())
    initramfs.append_own(archive, kernel, ["-q", "--tb=short", *arguments])
    seen = machine.boot(cache / "qemu", kernel, archive, directory / f"{suite}.log")
    archive.unlink()
    if not seen.passed:
        print(f"--- what {suite} said ---\n{seen.console}--- end of {suite} ---")
    minutes = (time.monotonic() - began) / 60
    verdict = "passed" if seen.passed else "FAILED"
    print(
        f"{verdict}  {suite:18} Linux {seen.release:30} {seen.summary} ({minutes:.0f} min)",
        flush=True,
    )
    return seen.passed


if __name__ == "__main__":
    sys.exit(main())

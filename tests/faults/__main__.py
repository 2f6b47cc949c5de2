"""``make test-faults``: a fault at each changing system call of each command.

``python -m tests.faults [SCENARIO[,SCENARIO...] [NUMBER FAULT]]``: prints each failure, and the
counts. Ends with status 1 if there is a failure.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

from tests.faults.engine import Fault
from tests.faults.scenarios import SCENARIOS
from tests.faults.trial import stage, try_all
from tests.linux import private_mounts


def _one(given: tuple[str, Fault | None]) -> tuple[str, int, list[str]]:
    name, only = given
    (scenario,) = (it for it in SCENARIOS if it.name == name)
    cases, wrong = 0, []
    try:
        with (
            tempfile.TemporaryDirectory(prefix="sockreg-faults-") as directory,
            stage(Path(directory)) as there,
        ):
            for found in try_all(there, scenario, only):
                cases += 1
                wrong += found
    except Exception as error:  # noqa: BLE001  # the others go on
        wrong.append(f"{name}: {error!r}")
    return name, cases, wrong


def main(arguments: list[str]) -> int:
    """Run them on all processors; returns the exit status."""
    names = arguments[0].split(",") if arguments else [it.name for it in SCENARIOS]
    only = Fault(int(arguments[1]), arguments[2]) if len(arguments) > 2 else None
    private_mounts()
    total, failures = 0, 0
    context = multiprocessing.get_context("fork")
    with context.Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for name, cases, wrong in pool.imap_unordered(_one, [(name, only) for name in names]):
            for line in wrong:
                print(line, end="\n\n", flush=True)
            print(f"{name}: {cases} cases, {len(wrong)} failures", flush=True)
            total, failures = total + cases, failures + len(wrong)
    print(f"{len(names)} commands, {total} cases, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

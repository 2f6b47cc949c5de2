"""``make test-fuzz``: look for input that a reader does not bear, with atheris.

``python -m tests.fuzz SECONDS [READER...]``: all readers share the time. Begins with the inputs of
tests/fuzz/corpus.py. Prints what was tried, and for a fault the traceback and the input, which
belongs to tests/fuzz/corpus.py then.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz import corpus
from tests.tree import ROOT

_ONE = "--one"
_LONGEST = 4096  # bytes of an input
_SLOWEST = 10  # s for an input
_MEMORY = 2048  # MB
_RUNS = re.compile(r"Done (\d+) runs")


def main(arguments: list[str]) -> int:
    if arguments[0] == _ONE:
        return _fuzz(*arguments[1:])
    names = arguments[1:] or list(corpus.NAMES)
    each = max(1, int(arguments[0]) // len(names))
    total, faults = 0, 0
    for name in names:
        runs, report = _of_one(name, each)
        total += runs
        print(f"{name}: {runs} inputs in {each} s: {'a FAULT' if report else 'no fault'}")
        if report:
            faults += 1
            print(report)
        sys.stdout.flush()
    print(f"{total} inputs to {len(names)} readers in {each * len(names)} s: {faults} faults")
    return 1 if faults else 0


def _of_one(name: str, seconds: int) -> tuple[int, str]:
    """How many inputs were tried, and what was said about a fault."""
    # libFuzzer ends the process without what Python does at its end.
    with (
        tempfile.TemporaryDirectory(prefix="sockreg-corpus-") as directory,
        tempfile.TemporaryDirectory(prefix="sockreg-fuzz-", dir="/dev/shm") as home,
    ):
        corpus.write(name, Path(directory))
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", _ONE, name, str(seconds), directory],
            cwd=ROOT,
            env={**os.environ, "SOCKREG_FUZZ_HOME": home},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    said = done.stdout.decode("utf-8", "backslashreplace")
    if done.returncode == 0:
        found = _RUNS.search(said)
        return int(found[1]) if found else 0, ""
    tried = re.findall(r"^#(\d+)", said, re.MULTILINE)
    at = max(said.find("Uncaught Python exception"), 0)
    return int(tried[-1]) if tried else 0, said[at:]


def _fuzz(name: str, seconds: str, directory: str) -> int:
    import atheris

    with atheris.instrument_imports(include=["sockreg"]):
        from tests.fuzz.readers import READERS
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={_LONGEST}",
        f"-timeout={_SLOWEST}",
        f"-rss_limit_mb={_MEMORY}",
        "-print_final_stats=0",
        f"-artifact_prefix={directory}/",
    ]
    atheris.Setup([name, *options, directory], READERS[name])
    os.chdir(directory)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``make test``: the tests, in parts at once, as much of their time is waiting.

Those with the marker ``long`` are left to ``make test-long``.

``python -m tests.run [OPTION...]``: the options are pytest's. What the first part prints is
shown as it comes, that of the others when they end. All must pass. Ctrl-C ends all.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from typing import IO

from tests.tree import ROOT

SHORT = ["-m", "not long"]


def main(options: list[str]) -> int:
    """Run them; returns the worst of their exit statuses (pytest's)."""
    waiting = _parts()
    at_once = (os.cpu_count() or 1) + 1
    running: dict[int, tuple[subprocess.Popen[bytes], IO[bytes] | None]] = {}  # by pidfd
    worst = 0
    with ExitStack() as stack:
        while waiting or running:
            while waiting and len(running) < at_once:
                # The first writes to the terminal.
                shown = stack.enter_context(tempfile.TemporaryFile()) if running else None
                process = stack.enter_context(_started([*SHORT, *options, *waiting.pop(0)], shown))
                stack.callback(_end, process)
                running[os.pidfd_open(process.pid)] = process, shown
            for pidfd in select.select(list(running), [], [])[0]:
                os.close(pidfd)
                process, output = running.pop(pidfd)
                worst = max(worst, process.wait())
                if output is not None:
                    output.seek(0)
                    sys.stdout.write(output.read().decode("utf-8", "replace"))
                    sys.stdout.flush()
    return worst


def _parts() -> list[list[str]]:
    """Arguments of pytest: many parts, those that wait most first, so that all end together."""
    boxes = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/systemd/test_*.py"))
    kernel = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/kernel/test_*.py"))
    rest = ["tests/pure", "tests/truth", "tests/faults", "tests/soak"]
    return [*(boxes[at::6] for at in range(6)), *(kernel[at::4] for at in range(4)), rest]


def _started(arguments: list[str], output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)


def _end(process: subprocess.Popen[bytes]) -> None:
    # As a terminal would on Ctrl-C: pytest then takes its boxes down.
    if process.poll() is None:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``make test-soak``: random changes under traffic.

``python -m tests.soak [SECONDS [SEED]]``: prints what was done and seen. Ends with status 1 if
anything was wrong.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.linux import private_mounts
from tests.soak.soak import run

_SECONDS = 600.0


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    seconds = float(arguments[0]) if arguments else _SECONDS
    seed = int(arguments[1]) if len(arguments) > 1 else time.time_ns()
    private_mounts()
    with tempfile.TemporaryDirectory(prefix="sockreg-soak-") as directory:
        outcome = run(seconds, seed, Path(directory))
    for line in outcome.misdirected:
        print(line)
    print(f"seed {seed}, {seconds:g} s: {outcome}")
    for name, count in outcome.changes.most_common():
        print(f"  {count} {name}")
    good = outcome.counted == outcome.asked and outcome.pins[0] == outcome.pins[1]
    return 0 if good and not outcome.misdirected else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

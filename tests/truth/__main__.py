"""``make test-truth``: compare what sockreg says with what packets meet, for many seeds.

``python -m tests.truth [SEEDS [FIRST]]``: prints each difference with the history of its host, and
the counts. Ends with status 1 if there is a difference.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

from sockreg.errors import SockregError
from tests.linux import private_mounts
from tests.truth.trial import Count, run_seed

_SEEDS = 250


def _one(seed: int) -> Count:
    count = Count()
    with tempfile.TemporaryDirectory(prefix="sockreg-truth-") as directory:
        try:
            run_seed(str(seed), Path(directory), count)
        except (AssertionError, OSError, ValueError, SockregError) as error:
            # The others go on, and it counts as a difference.
            count.differences.append(f"seed {seed}: {error!r}")
    return count


def main(arguments: list[str]) -> int:
    """Run the seeds on all processors; returns the exit status."""
    numbers = [int(word) for word in arguments]
    seeds, first = (*numbers, *(_SEEDS, 0)[len(numbers) :])
    private_mounts()
    total = Count()
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        for count in pool.imap(_one, range(first, first + seeds)):
            for difference in count.differences:
                print(difference, end="\n\n", flush=True)
            total.add(count)
    print(f"seeds {first} to {first + seeds - 1}: {total}")
    return 1 if total.differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

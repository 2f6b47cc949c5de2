"""``make test-oracle``: ten million packets, asked of the program in the kernel and of a reference.

``python -m tests.oracle [--packets N] [--seed N]`` (root).
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import sys
import time

from tests.oracle.run import Count, ask

_PACKETS = 10_000_000
_A_PIECE = 100_000
_SHOWN = 20


def main() -> int:
    """Returns 0 if the program and the reference agree on every packet."""
    parser = argparse.ArgumentParser(prog="tests.oracle", description=__doc__)
    parser.add_argument("--packets", type=int, default=_PACKETS)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000_000)
    given = parser.parse_args()
    if os.geteuid() != 0:
        print("tests.oracle: loading programs takes root", file=sys.stderr)
        return 1
    pieces = -(-given.packets // _A_PIECE)
    seeds = [given.seed + number for number in range(pieces)]
    total = Count()
    # A process each: what one leaves in memory is none of the next one's.
    with multiprocessing.get_context("spawn").Pool(maxtasksperchild=1) as pool:
        for found in pool.imap_unordered(functools.partial(ask, wanted=_A_PIECE), seeds):
            total = total.plus(found)
            for difference in found.differences[:_SHOWN]:
                print(difference)
            if sys.stderr.isatty():
                print(f"\r{total.packets} packets", end="", file=sys.stderr, flush=True)
    print(
        f"seed {given.seed}: {total.packets} packets over {total.rule_sets} rule sets, "
        f"{total.of_files} of them written as files, {total.changes} of them by a set of changes: "
        f"{total.handed_over} handed over, {total.refused} refused, "
        f"{len(total.differences)} differences"
    )
    return 1 if total.differences else 0


if __name__ == "__main__":
    sys.exit(main())

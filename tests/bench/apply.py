"""What it takes to put a rule set in force: the whole command, its steps, its memory.

``sockreg apply`` as a process of its own: read, compile, load, swap, and everything a
command does besides, such as starting the interpreter.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from sockreg import shipped
from sockreg.commands.apply import put_configured
from sockreg.context import Context
from sockreg.host import netns
from tests import large_rulesets
from tests.bench.ground import FIRST, Cost, Ground, ground
from tests.bench.report import Aim, Part, Table, at_most
from tests.process import run

LIMITS = {1_000: 0.25, 100_000: 2.5, 1_000_000: 25.0}  # rules -> seconds
STEPS = ("reading", "compiling", "comparing", "loading", "swapping")
_ROUNDS = {1_000: 9, 10_000: 5, 100_000: 3, 1_000_000: 1}
_QUICK = (1_000, 10_000)
_LISTED = 100_000  # rules; more are not listed


class Applied(NamedTuple):
    """All the rounds of one size. ``steps`` are seconds, of one more apply of the same rules."""

    rules: int
    rounds: list[Cost]
    steps: dict[str, float]
    listings: dict[str, float]  # command -> seconds


def measure(quick: bool) -> Part:
    with ground() as here:
        here.run("load")
        sizes = _QUICK if quick else tuple(LIMITS)
        found = [_applied(here, size, 3 if quick else _ROUNDS[size]) for size in sizes]
    return Part("apply", [_table(found)], [it._asdict() for it in found], _aims(found))


def _applied(here: Ground, size: int, count: int) -> Applied:
    rounds = []
    for number in range(count):
        # Another set each time, so that every round swaps and has all rules to tell of.
        here.configure(large_rulesets.mixed(size, seed=number % 2))
        rounds.append(here.cost("apply"))
    listings = {}
    if size <= _LISTED:
        listings = {verb: here.cost(verb).wall for verb in ("status", "rules")}
    return Applied(size, rounds, _steps_of_an_apply(here), listings)


def _steps_of_an_apply(here: Ground) -> dict[str, float]:
    place = [here.namespace.path, str(here.bpffs), str(here.root)]
    done = run([*FIRST, sys.executable, "-m", "tests.bench.apply", *place], timeout=600)
    steps: dict[str, float] = json.loads(done.stdout)
    return steps


def _print_steps(namespace: str, bpffs: str, root: str) -> None:
    """Swap the configured rules in once more, and print how long each step took as JSON.

    In a process of its own, because the kernel's objects and the memory last as long as it.
    """
    begun: list[tuple[str, float]] = []

    def step(what: str) -> None:
        begun.append((what.partition(" ")[0], time.monotonic()))

    with netns.entered(namespace) as entered:
        put_configured(
            Context(
                netns=entered,
                bpffs=bpffs,
                given_root=root,
                object_path=shipped.object_path(),
                step=step,
            ),
            upgrade=True,
        )
    starts = [at for _, at in begun]
    names = [name for name, _ in begun[:-1]]  # the last says that it is done
    spent = [end - start for start, end in pairwise(starts)]
    print(json.dumps(dict(zip(names, spent, strict=True))))


def _table(found: list[Applied]) -> Table:
    rows = []
    for it in found:
        rows.append(
            [
                f"{it.rules:,}",
                f"{_best(it):.2f}",
                f"{median(cost.wall for cost in it.rounds):.2f}",
                f"{median(cost.cpu for cost in it.rounds):.2f}",
                *(f"{it.steps[step]:.3f}" for step in STEPS),
                f"{max(cost.memory for cost in it.rounds):.0f}",
                *(_listing(it, verb) for verb in ("status", "rules")),
            ]
        )
    steps = [step.upper() for step in STEPS]
    return Table(
        "sockreg apply of a rule set that has no rule in common with the one in force",
        ("RULES", "BEST", "MEDIAN", "CPU", *steps, "MiB", "STATUS", "LIST"),
        rows,
        (
            "Seconds of the whole command, from exec to exit; the steps are those of one more.",
            "STATUS and LIST: sockreg status and sockreg rules on these rules.",
        ),
    )


def _best(applied: Applied) -> float:
    return min(cost.wall for cost in applied.rounds)


def _listing(applied: Applied, verb: str) -> str:
    return f"{applied.listings[verb]:.2f}" if verb in applied.listings else "-"


def _aims(found: list[Applied]) -> list[Aim]:
    return [
        at_most(f"apply of {it.rules:,} rules, best", _best(it), LIMITS[it.rules], "{:.2f} s")
        for it in found
        if it.rules in LIMITS
    ]


if __name__ == "__main__":
    _print_steps(*sys.argv[1:])

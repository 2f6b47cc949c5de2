"""All measurements: ``make bench``, or ``python -m tests.bench`` with options (root).

Prints one table after the other, and for every aim whether it is met. No aim makes the
run fail: a busy machine is no defect. What goes wrong does, such as a packet that does
not arrive.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sockreg import __version__
from tests.bench import (
    apply,
    boot,
    commands,
    connections,
    flows,
    fullpath,
    lookup,
    pool,
    startup,
    swap,
    trace,
)
from tests.bench.report import Aim, Part, Table, machine, show, verdict

_QUICK_STARTS = 20


def _startup(quick: bool) -> Part:
    rounds = _QUICK_STARTS if quick else startup.ROUNDS
    found = startup.figures(startup.measure(rounds))
    rows = [
        [it.name, f"{it.median:.2f}", "{:.2f} - {:.2f}".format(*it.quartiles), f"{it.ratio:.2f}x"]
        for it in found
    ]
    ratio = next(it.ratio for it in found if it.name.startswith(startup.COMPANION))
    return Part(
        "startup",
        [
            Table(
                f"Start-up, exec to exit, in {rounds} rounds that start each once",
                ("", "MEDIAN ms", "QUARTILES", "RATIO"),
                rows,
            )
        ],
        [it._asdict() for it in found],
        [
            Aim(
                f"companion: at most {startup.AIM} times the bare interpreter",
                f"{ratio:.2f}x",
                ratio <= startup.AIM,
            )
        ],
    )


PARTS: dict[str, Callable[[bool], Part]] = {
    "lookup": lookup.measure,
    "apply": apply.measure,
    "swap": swap.measure,
    "fullpath": fullpath.measure,
    "connections": connections.measure,
    "pool": pool.measure,
    "flows": flows.measure,
    "trace": trace.measure,
    "startup": _startup,
    "commands": commands.measure,
    "boot": boot.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write figures and plots where they are asked for."""
    options = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        print("the measurements need root: they load programs", file=sys.stderr)
        return 1
    if options.plots is not None and importlib.util.find_spec("matplotlib") is None:
        # Now, not after ten minutes of measuring.
        print("--plots needs matplotlib: install python3-matplotlib", file=sys.stderr)
        return 1
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "sockreg": __version__,
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "quick": options.quick,
        "parts": (parts := {}),
    }
    print(f"{content['machine']}; {content['date']}; load {os.getloadavg()[0]:.1f}")
    aims: list[Aim] = []
    for name in options.only or PARTS:
        part = _measured(PARTS[name], options.quick)
        show(part)
        aims += part.aims
        parts[name] = {
            "figures": part.figures,
            "aims": [aim._asdict() for aim in part.aims],
        }
        if options.json is not None:  # after each part: a later one may fail
            options.json.write_text(json.dumps(content, indent=2) + "\n")
    _sum_up(aims)
    if options.plots is not None:
        from tests.bench import plots

        for path in plots.draw(content, options.plots):
            print(f"wrote {path}")
    return 0


def _measured(measure: Callable[[bool], Part], quick: bool) -> Part:
    """Measure in a process forked off: what it leaves in memory is none of the next one's."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=lambda: there.send(measure(quick)))
    process.start()
    there.close()
    try:
        part: Part = here.recv()
    except EOFError:  # it has told why
        process.join()
        sys.exit(1)
    process.join()
    return part


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller rule sets")
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART",
                        help=f"one of {', '.join(PARTS)}; may be given several times")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write SVG plots there")
    return parser


def _sum_up(aims: Sequence[Aim]) -> None:
    met = sum(aim.met for aim in aims)
    print(f"\n{met} of {len(aims)} aims met")
    for aim in aims:
        if not aim.met:
            print(verdict(aim))


if __name__ == "__main__":
    sys.exit(main())

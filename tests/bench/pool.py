"""What a pool costs a packet: lone members, pools of several sizes, and dead members in them.

``python -m tests.bench.pool [--quick]`` (root). Test runs of the pinned program
(BPF_PROG_TEST_RUN), beside the same program without the code for pools, compiled here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from sockreg.kernel import libbpf
from sockreg.kernel.object_source import SOURCES
from sockreg.model import INET, TCP, Packet
from sockreg.registry.pins import pinned
from tests.bench.ground import Ground, ground
from tests.bench.own_cpu import own_cpu
from tests.bench.report import Part, Table, at_most, show
from tests.kernel.lookups import context
from tests.process import run
from tests.tree import ROOT

BPF = ROOT / "bpf"
LIMIT = 1.1  # times the program without pools; the layout of the code alone makes some of it
ROUNDS = 60
_QUICK = 6
_REPEAT = 500_000  # runs of the program in one test run
_PORT = 8000  # of the first case; each case has its own rule
# What is left out of the program without pools.
_CALL = "socket = pick(ctx, slot, &flags, &member);"


class Case(NamedTuple):
    """A label with this many members, of which the last ``dead`` are closed afterwards.

    ``left`` are unregistered again; ``drained`` has all weights at 0.
    """

    name: str
    members: int
    left: int = 0
    dead: int = 0
    drained: bool = False


CASES = (
    Case("one member", 1),
    Case("one that is left of two", 2, left=1),
    Case("two members", 2),
    Case("32 members", 32),
    Case("four members, three of them dead", 4, dead=3),
    Case("two members, both drained", 2, drained=True),
    Case("no member", 0),
)
LONE = CASES[0].name
WITHOUT = "one member, program without pools"


def measure(quick: bool) -> Part:
    rounds = _QUICK if quick else ROUNDS
    with ground() as here, ExitStack() as stack:
        _set_up(here, stack)
        with _object_without_pools() as path:
            here.run("--object", str(path), "upgrade")
        (registry,) = (here.bpffs / "sockreg").iterdir()
        programs = [
            stack.enter_context(pinned(str(registry / f"generations/{number}/program")))
            for number in (2, 3)
        ]
        runs = [(case.name, programs[0], _PORT + at) for at, case in enumerate(CASES)]
        runs.append((WITHOUT, programs[1], _PORT))
        times: dict[str, list[float]] = {name: [] for name, _, _ in runs}
        for number in range(-1, rounds):
            turn = number % len(runs)
            for name, program, port in runs[turn:] + runs[:turn]:
                spent = _time(program, port)
                if number >= 0:  # the first round warms up
                    times[name].append(spent)
    return _part(times)


def _set_up(here: Ground, stack: ExitStack) -> None:
    """A rule and a label for each case, with its sockets."""
    here.configure([])
    here.run("load")
    lines = [
        f"[case{at}]\nBind=tcp 192.0.2.0/24 {_PORT + at}" for at, _ in enumerate(CASES)
    ]  # fmt: skip
    here.configure(lines)
    here.run("apply")
    for at, case in enumerate(CASES):
        label = f"case{at}"
        sockets = [
            stack.enter_context(here.namespace.listen("127.0.0.1")) for _ in range(case.members)
        ]
        for number, sock in enumerate(sockets):
            here.register(label, sock, f"{label}@{number}.socket")
        for number in range(case.left, case.members) if case.left else ():
            here.run("unregister", label, "--unit", f"{label}@{number}.socket")
        for sock in sockets[case.members - case.dead :]:
            sock.close()
        if case.drained:
            here.run("drain", label)


@contextmanager
def _object_without_pools() -> Iterator[Path]:
    """The object as bpf/build.sh makes it, but for the call that looks into pools.

    It says that it was made from the sources that it was not quite made from, or sockreg
    would refuse it.
    """
    source = (BPF / "sockreg.bpf.c").read_text()
    assert source.count(_CALL) == 1
    with tempfile.TemporaryDirectory(prefix="sockreg-bench-") as directory:
        path = Path(directory, "sockreg.bpf.o")
        code = Path(directory, "sockreg.bpf.c")
        code.write_text(source.replace(_CALL, "socket = 0;"))
        options = [f"-I{BPF}", f'-DSOURCE_HASH="{SOURCES[path.name]}"', "-Wno-unused-function"]
        run([str(BPF / "compile.sh"), str(code), str(path), *options])
        yield path


def _time(program: int, port: int) -> float:
    """Nanoseconds of a run, by the clock: what the kernel returns are whole ones."""
    packet = context(Packet(TCP, INET, 0xC0000201, port, 0x7F000001, None))
    with own_cpu():
        begin = time.perf_counter_ns()
        libbpf.test_run(program, packet, _REPEAT)
        return (time.perf_counter_ns() - begin) / _REPEAT


def _part(times: dict[str, list[float]]) -> Part:
    rows = []
    for name, values in times.items():
        best = min(values)
        more = best / min(times[LONE])
        rows.append((name, f"{best:.1f}", f"{median(values):.1f}", f"{more:.2f}"))
    table = Table(
        f"A packet to a label, one rule for it, ns; {len(times[LONE])} rounds of {_REPEAT} runs",
        ("MEMBERS", "BEST", "MEDIAN", "TIMES ONE MEMBER"),
        rows,
        ["The best round is the one that the rest of the machine disturbed least."],
    )
    ratio = min(times[LONE]) / min(times[WITHOUT])
    aim = at_most("one member, times the program without pools", ratio, LIMIT, "{:.2f}")
    return Part("pool", [table], times, [aim])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pool")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    show(measure(parser.parse_args(arguments).quick))
    return 0


if __name__ == "__main__":
    sys.exit(main())

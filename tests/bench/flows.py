"""What Flows=sticky costs a datagram, and what it costs others.

``python -m tests.bench.flows [--quick]`` (root). Test runs of pinned programs (BPF_PROG_TEST_RUN):
of a rule set without sticky flows, and of one with a sticky label beside others.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from statistics import median

from sockreg.kernel import libbpf
from sockreg.model import INET, UDP, Packet
from sockreg.registry.pins import pinned
from tests.bench.ground import ground
from tests.bench.own_cpu import own_cpu
from tests.bench.report import Part, Table, at_most, show
from tests.kernel.lookups import context

LIMIT = 60.0  # ns that a flow that is noted may cost more than a pool
OTHERS = 1.05  # times what it was: what labels without it may pay
ROUNDS = 40
_QUICK = 6
_REPEAT = 300_000
_NEW = 20_000  # flows that are new

LONE = "one member"
POOL = "two members"
BESIDE = "two members, another label is sticky"
NOTED = "two members, sticky, the flow is noted"
FRESH = "two members, sticky, a flow that is new"
FULL = "the same, and another one gives way"
_PORTS = {"lone": 8000, "pool": 8001, "sticky": 8002}


def measure(quick: bool) -> Part:
    rounds = _QUICK if quick else ROUNDS
    with ground() as here, ExitStack() as stack:
        here.configure([])
        here.run("load")
        lines = [
            f"[{label}]\nBind=udp 192.0.2.0/24 {port}"
            for label, port in _PORTS.items()
            if label != "sticky"
        ]
        here.configure(lines)
        here.run("apply")
        directory = here.root / "etc/systemd/system"
        directory.mkdir(parents=True)
        (directory / "sticky@.socket").write_text(
            "[Socket]\nListenDatagram=127.0.0.1:5%i\nFileDescriptorName=sticky\n[X-Sockreg]\n"
            f"Bind=udp 192.0.2.0/24 {_PORTS['sticky']}\nFlows=sticky\n"
        )
        for number in (1, 2):
            here.run("apply", "--start", f"sticky@{number}.socket")
        for label in _PORTS:
            for number in (1,) if label == "lone" else (1, 2):
                sock = stack.enter_context(here.namespace.listen("127.0.0.1", 0, UDP))
                here.register(label, sock, f"{label}@{number}.socket")
        (registry,) = (here.bpffs / "sockreg").iterdir()
        sticky = stack.enter_context(pinned(_latest(registry)))
        for number in (1, 2):
            here.run("apply", "--stop", f"sticky@{number}.socket")
        plain = stack.enter_context(pinned(_latest(registry)))
        runs = [
            (LONE, plain, "lone"),
            (f"{LONE}, another label is sticky", sticky, "lone"),
            (POOL, plain, "pool"),
            (BESIDE, sticky, "pool"),
            (NOTED, sticky, "sticky"),
        ]
        times: dict[str, list[float]] = {name: [] for name, _, _ in runs}
        for number in range(-1, rounds):
            turn = number % len(runs)
            for name, program, label in runs[turn:] + runs[:turn]:
                spent = _time(program, _PORTS[label])
                if number >= 0:
                    times[name].append(spent)
        sources = count(0x0A000000)
        call = [_new(plain, "pool", sources) for _ in range(3)]
        times[FRESH] = [_new(sticky, "sticky", sources) - min(call) + min(times[POOL])]
        for _ in range(4):
            _new(sticky, "sticky", sources)  # until there is no room
        times[FULL] = [
            _new(sticky, "sticky", sources) - min(call) + min(times[POOL]) for _ in range(3)
        ]
    return _part(times)


def _latest(registry: Path) -> Path:
    """The program of the generation in force."""
    made = (
        int(path.name) for path in (registry / "generations").iterdir() if path.name.isdecimal()
    )
    return registry / f"generations/{max(made)}/program"


def _packet(port: int, source: int) -> bytes:
    return context(Packet(UDP, INET, 0xC0000201, port, source, None))


def _time(program: int, port: int) -> float:
    """Nanoseconds of a run, by the clock."""
    packet = _packet(port, 0x7F000001)
    with own_cpu():
        begin = time.perf_counter_ns()
        libbpf.test_run(program, packet, _REPEAT)
        return (time.perf_counter_ns() - begin) / _REPEAT


def _new(program: int, label: str, sources: Iterator[int]) -> float:
    """The same for flows that are all new, with the system call of each."""
    packets = [_packet(_PORTS[label], next(sources)) for _ in range(_NEW)]
    with own_cpu():
        begin = time.perf_counter_ns()
        for packet in packets:
            libbpf.test_run(program, packet, 1)
        return (time.perf_counter_ns() - begin) / _NEW


def _part(times: dict[str, list[float]]) -> Part:
    rows = [
        (
            name,
            f"{min(values):.1f}",
            f"{median(values):.1f}",
            f"{min(values) - min(times[POOL]):+.1f}",
        )
        for name, values in times.items()
    ]
    table = Table(
        f"A datagram to a label, ns; {len(times[POOL])} rounds of {_REPEAT} runs",
        ("LABEL", "BEST", "MEDIAN", "MORE THAN A POOL"),
        rows,
        ["New flows are asked for one by one; what the system call takes is taken off."],
    )
    aims = [
        at_most(
            "ns that a noted flow costs more than a pool",
            min(times[NOTED]) - min(times[POOL]),
            LIMIT,
            "{:.1f}",
        ),
        at_most(
            "a pool beside a sticky one, times the same without",
            min(times[BESIDE]) / min(times[POOL]),
            OTHERS,
            "{:.2f}",
        ),
    ]
    return Part("flows", [table], times, aims)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.flows")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    show(measure(parser.parse_args(arguments).quick))
    return 0


if __name__ == "__main__":
    sys.exit(main())

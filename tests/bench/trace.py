"""What a trace costs a packet while it runs, and what it costs before and after: nothing.

``python -m tests.bench.trace [--quick]`` (root). Test runs of pinned programs (BPF_PROG_TEST_RUN):
of the one in force, and of the one that `sockreg trace` puts in its place.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from sockreg.kernel import libbpf
from sockreg.model import INET, UDP, Packet
from sockreg.registry.pins import pinned
from tests.bench.ground import Ground, ground
from tests.bench.own_cpu import own_cpu
from tests.bench.report import Part, Table, at_most, show
from tests.kernel.lookups import context

OFF = 1.05  # times what it was: what a trace that has ended may leave
ROUNDS = 30
_QUICK = 6
_REPEAT = 200_000
_PATIENCE = 30.0  # s
_PACKET = context(Packet(UDP, INET, 0xC0000201, 8000, 0x7F000001, None))

BEFORE = "no trace"
AFTER = "no trace any more"
EACH = "a trace of each decision"
SAMPLED = "a trace of one decision in 1,000"


def measure(quick: bool) -> Part:
    rounds = _QUICK if quick else ROUNDS
    times: dict[str, list[float]] = {}
    with ground() as here, ExitStack() as stack:
        here.configure(["[udp]", "Bind=udp 192.0.2.0/24 8000"])
        here.run("load")
        here.register("udp", stack.enter_context(here.namespace.listen("127.0.0.1", 0, UDP)), "u")
        (registry,) = (here.bpffs / "sockreg").iterdir()
        program = registry / "generations/1/program"
        times[BEFORE] = _times(program, rounds)
        for name, options in ((EACH, []), (SAMPLED, ["--sample", "1000"])):
            with _traced(here, registry / "generations/1/tracing", options) as tracing:
                times[name] = _times(tracing, rounds)
        times[AFTER] = _times(program, rounds)
    return _part(times)


@contextmanager
def _traced(here: Ground, pin: Path, options: Sequence[str]) -> Iterator[Path]:
    """The pin of the tracing program, while a trace runs whose output nobody keeps."""
    command = here.command("trace", "--seconds", "600", *options)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as tracer:
        try:
            end = time.monotonic() + _PATIENCE
            while not pin.exists():
                assert tracer.poll() is None, "the trace does not begin"
                assert time.monotonic() < end, "the trace does not begin"
                time.sleep(0.05)
            yield pin
            assert tracer.poll() is None, "the trace ended before the measurement"
        finally:
            tracer.terminate()
    end = time.monotonic() + _PATIENCE
    while pin.exists():
        assert time.monotonic() < end, "the trace does not end"
        here.run("apply")
        time.sleep(0.05)


def _times(pin: Path, rounds: int) -> list[float]:
    """Nanoseconds of a run, by the clock; without the first round."""
    found = []
    with pinned(str(pin)) as program:
        for _ in range(rounds + 1):
            with own_cpu():
                begin = time.perf_counter_ns()
                libbpf.test_run(program, _PACKET, _REPEAT)
                found.append((time.perf_counter_ns() - begin) / _REPEAT)
    return found[1:]


def _part(times: dict[str, list[float]]) -> Part:
    rows = [
        (
            name,
            f"{min(values):.1f}",
            f"{median(values):.1f}",
            f"{min(values) - min(times[BEFORE]):+.1f}",
        )
        for name, values in times.items()
    ]
    table = Table(
        f"A datagram to a label, ns; {len(times[BEFORE])} rounds of {_REPEAT} runs",
        ("", "BEST", "MEDIAN", "MORE THAN WITHOUT"),
        rows,
        ["Most decisions come faster than the tracer reads them: these are counted as lost."],
    )
    aims = [
        at_most(
            "after a trace, times what a lookup took before",
            min(times[AFTER]) / min(times[BEFORE]),
            OFF,
            "{:.2f}",
        )
    ]
    return Part("trace", [table], times, aims)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.trace")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    show(measure(parser.parse_args(arguments).quick))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The whole way of a packet on one core: a flood of SYNs, and one of datagrams.

One CPU sends frames over a veth pair and receives them, which is what is timed. Round by
round all contenders get the same frames in turn, and each is compared with the ordinary
socket of the same round. After every flood the receiver's own statistics say whether all
of it arrived at the socket.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.contenders import (
    EMPTY,
    ORDINARY,
    PEER,
    PORT,
    REDIRECT,
    SOURCES,
    STEERED,
    TARGETS,
    TPROXY,
    Contender,
    contenders,
)
from tests.bench.frames import flood_of
from tests.bench.own_cpu import last_cpu
from tests.bench.report import Aim, Part, Spread, Table, ratios, spread
from tests.netns import TCP, UDP, Namespace
from tests.process import run

ROUNDS = 60
_QUICK = 3
FLOWS = 10_000  # ports of one address, as in the measurements of the kernel's patch series
PACKETS = 20_000  # a flood: 20 to 60 ms
_WARM_UP = 2_000  # fills the sockets' buffers: after that every datagram is dropped there
_MOST = 0.999 * PACKETS  # a buffer may have found room for a few after all
_SOURCE = Path(__file__).with_name("flood.c")
_STATISTICS = "/proc/thread-self/net"
# What the talk lost on its machine: the part of its packets per second.
TALK = {TCP: 0.02, UDP: 0.04}


class Kind(NamedTuple):
    """A kind of flood. ``counter`` is the receiver's for packets that reached the socket."""

    name: str
    protocol: int
    version: int
    file: str
    counter: str


KINDS = (
    Kind("TCP SYN, IPv4", TCP, 4, "netstat", "TcpExt SyncookiesSent"),
    Kind("TCP SYN, IPv6", TCP, 6, "netstat", "TcpExt SyncookiesSent"),
    Kind("UDP, IPv4", UDP, 4, "snmp", "Udp RcvbufErrors"),
    Kind("UDP, IPv6", UDP, 6, "snmp6", "Udp6RcvbufErrors"),
)


class Generator(NamedTuple):
    """The program that sends, and its frames: kind -> file, bytes of a frame."""

    program: Path
    sender: Namespace
    frames: dict[Kind, tuple[Path, int]]
    cpu: int


Times = dict[Kind, dict[str, list[float]]]  # contender -> ns per packet, one a round


def measure(quick: bool) -> Part:
    with Namespace() as sender, contenders(sender) as compared, _generator(sender) as generator:
        for kind in KINDS:
            for contender in compared:
                _flood(generator, kind, contender, _WARM_UP)
        times = _rounds(generator, compared, _QUICK if quick else ROUNDS)
        own = _own_times(generator, compared)
    tables = [_table(kind, times[kind], own[kind]) for kind in KINDS]
    return Part("fullpath", tables, _figures(times, own), _aims(times))


@contextmanager
def _generator(sender: Namespace) -> Iterator[Generator]:
    with tempfile.TemporaryDirectory(prefix="sockreg-bench-") as directory:
        program = Path(directory, "flood")
        run(["cc", "-O2", "-o", str(program), str(_SOURCE)])
        frames = {}
        for kind in KINDS:
            made = flood_of(
                kind.protocol, SOURCES[kind.version], TARGETS[kind.version], PORT, FLOWS
            )
            path = Path(directory, f"{kind.protocol}-{kind.version}")
            path.write_bytes(b"".join(made))
            frames[kind] = (path, len(made[0]))
        yield Generator(program, sender, frames, last_cpu())


def _rounds(generator: Generator, compared: list[Contender], rounds: int) -> Times:
    times: Times = {kind: {it.name: [] for it in compared} for kind in KINDS}
    for number in range(rounds):
        # Every round starts with another one: none always follows the same neighbour.
        turn = number % len(compared)
        for kind in KINDS:
            for contender in compared[turn:] + compared[:turn]:
                before = _arrived(kind, contender.namespace)
                spent = _flood(generator, kind, contender, PACKETS)
                arrived = _arrived(kind, contender.namespace) - before
                assert arrived >= _MOST, f"{contender.name}, {kind.name}: {arrived} arrived"
                times[kind][contender.name].append(spent / PACKETS)
    return times


def _flood(generator: Generator, kind: Kind, contender: Contender, count: int) -> int:
    """Nanoseconds for so many packets."""
    path, size = generator.frames[kind]
    command = [str(generator.program), contender.device, str(generator.cpu), str(count), str(size)]
    with generator.sender.entered(), path.open("rb") as frames:
        done = subprocess.run(command, stdin=frames, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def _arrived(kind: Kind, receiver: Namespace) -> int:
    """The receiver's counter of packets that came as far as the socket."""
    with receiver.entered():
        lines = Path(_STATISTICS, kind.file).read_text().splitlines()
    if kind.file == "snmp6":
        return int(dict(line.split() for line in lines)[kind.counter])
    # Lines come in pairs, names and values, that begin with the same word.
    group, name = kind.counter.split()
    names, values = (line.split()[1:] for line in lines if line.startswith(f"{group}:"))
    return int(dict(zip(names, values, strict=True))[name])


def _own_times(generator: Generator, compared: list[Contender]) -> dict[Kind, dict[str, float]]:
    """What the kernel counts for each program: ns of its own for a packet (bpf_stats).

    In floods of its own, because counting costs time.
    """
    found: dict[Kind, dict[str, float]] = {kind: {} for kind in KINDS}
    with _counting():
        for kind in KINDS:
            for contender in compared:
                if contender.program is not None:
                    before = _run_time(contender.program)
                    _flood(generator, kind, contender, PACKETS)
                    after = _run_time(contender.program)
                    runs = after[1] - before[1]
                    found[kind][contender.name] = (after[0] - before[0]) / runs
    return found


@contextmanager
def _counting() -> Iterator[None]:
    """Have the kernel take run times, until the descriptor is closed or this process ends."""
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    run_time = 0  # BPF_STATS_RUN_TIME, linux/bpf.h
    fd = library.bpf_enable_stats(run_time)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        os.close(fd)


def _run_time(program: int) -> tuple[int, int]:
    """(ns, runs) so far; bpftool leaves zeros out."""
    shown = json.loads(run(["bpftool", "--json", "prog", "show", "id", str(program)]).stdout)
    return int(shown.get("run_time_ns", 0)), int(shown.get("run_cnt", 0))


def _table(kind: Kind, times: dict[str, list[float]], own: dict[str, float]) -> Table:
    rows = []
    for name, values in times.items():
        it = spread(values)
        change = _change(values, times[ORDINARY])
        rows.append(
            [
                name,
                f"{it.median:.0f}",
                f"{1e6 / it.median:.0f}",
                _percent(change) if name != ORDINARY else "-",
                f"{own[name]:.0f}" if name in own else "-",
            ]
        )
    return Table(
        f"Full path, {kind.name}: a flood from {FLOWS:,} ports, sent and received on one core",
        ("", "ns/packet", "kpps", "packets/s against none (quartiles)", "bpf_stats ns"),
        rows,
    )


def _change(values: list[float], ordinary: list[float]) -> Spread:
    """How many more (or, below 0, fewer) packets a second than the ordinary socket takes."""
    found = ratios(ordinary, values)
    return Spread(*(ratio - 1 for ratio in found))


def _percent(change: Spread) -> str:
    low, high = f"{100 * change.low:+.1f}", f"{100 * change.high:+.1f}"
    return f"{100 * change.median:+.1f} % ({low} to {high})"


def _figures(times: Times, own: dict[Kind, dict[str, float]]) -> list[dict[str, object]]:
    return [
        {
            "flood": kind.name,
            "contender": name,
            "ns_per_packet": spread(values)._asdict(),
            "change": _change(values, times[kind][ORDINARY])._asdict(),
            "bpf_stats_ns": own[kind].get(name),
        }
        for kind in KINDS
        for name, values in times[kind].items()
    ]


def _aims(times: Times) -> list[Aim]:
    """Said of the medians of each kind of flood."""
    aims = []
    for kind in KINDS:
        of = times[kind]
        limit = TALK[kind.protocol]
        steered = _change(of[STEERED], of[ORDINARY]).median
        empty = _change(of[EMPTY], of[ORDINARY]).median
        aims.append(
            Aim(
                f"{kind.name}, {STEERED}: loses less than the {limit:.0%} of the talk",
                f"{steered:+.1%}; an empty program {empty:+.1%}",
                steered > -limit,
            )
        )
        faster = {
            name.removeprefix("steered by "): ratios(of[name], of[STEERED]).median
            for name in (PEER, TPROXY, REDIRECT)
        }
        aims.append(
            Aim(
                f"{kind.name}, {STEERED}: faster than {', '.join(faster)}",
                ", ".join(f"{ratio:.2f}x" for ratio in faster.values()),
                min(faster.values()) > 1,
            )
        )
    return aims

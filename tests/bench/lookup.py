"""What a lookup costs: sockreg beside an empty program, a hard-coded rule and the peers' design.

``python -m tests.bench.lookup [--quick] [--json FILE]`` (root). Test runs of the programs of
lookup.bpf.c (BPF_PROG_TEST_RUN). Hot: one packet again and again. Streaming: the next of
many packets each time, so that what a rule set takes has to come from memory.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import fmean, median
from typing import NamedTuple

from sockreg.compile import Tables, compile_rules
from sockreg.kernel import libbpf
from sockreg.model import (
    FAMILY_BITS,
    INET,
    INET6,
    PROTOCOL_NAMES,
    Action,
    Binding,
    Destination,
    Packet,
    Place,
)
from sockreg.registry.directory import COPY
from sockreg.registry.loading import TABLE_MAP
from sockreg.rules.syntax import parse_rule
from tests import large_rulesets
from tests.bench import peer
from tests.bench.own_cpu import own_cpu
from tests.bench.report import Aim, Part, Table, at_most, machine, show
from tests.kernel.lookups import context, stand_in
from tests.netns import Namespace

SIZES = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
_QUICK = (1, 10, 1_000, 10_000)
EMPTY, FLOOR, OURS, PEER = "empty", "one_rule", "sockreg", "peer"
PROGRAMS = (EMPTY, FLOOR, OURS, PEER)
KEYS = 1 << 15
# How many times what we add to an empty program the peers' design is to add, by rules.
ADDED = {1_000: 10, 100_000: 18, 1_000_000: 18}
STREAMED = {100_000: 10, 1_000_000: 14}
_DRAWN = 20  # packets drawn from the rules that are measured hot, for each family
_RUN = 0.003  # s; a measurement repeats a program for about as long
# Where the kernel puts a program is worth up to 3 ns: so each is loaded so many times, and the
# median of these counts.
_INSTANCES = 3
_ROUNDS = 4

_TRIE = "peer_bindings"  # of design (c)
_KEY = struct.Struct("=16sIHHQ")  # struct key of lookup.bpf.c
_KEYS_MASK = struct.Struct("=Q")


class Case(NamedTuple):
    """A packet that every rule set is asked about; ``rule`` is what it takes to be a hit."""

    name: str
    packet: Packet
    rule: str
    hit: bool = True

    @property
    def kind(self) -> str:
        version = "IPv4" if self.packet.family == INET else "IPv6"
        return f"{version} {PROTOCOL_NAMES[self.packet.protocol]}"


class Hot(NamedTuple):
    """Nanoseconds of each program for one packet, ``name`` being "drawn" or that of a case."""

    name: str
    kind: str
    hit: bool
    nanoseconds: dict[str, float]


class Measured(NamedTuple):
    """One size. ``streams`` are nanoseconds by kind of packet and program; memory is bytes."""

    rules: int
    hot: list[Hot]
    streams: dict[str, dict[str, float]]
    memory: dict[str, int]


def _cases() -> list[Case]:
    """The rules are outside of what large_rulesets.mixed() uses: RFC 5737 and RFC 9637."""
    host, net, block = "host, one port", "prefix, any port", "prefix, range"
    cases = []
    for protocol, name in PROTOCOL_NAMES.items():
        four, six = f"{name} 192.0.2.1 80", f"{name} 3fff:1::1 80"
        for case, family, address, port, rule in (
            (host, INET, 0xC0000201, 80, four),
            (host, INET6, 0x3FFF0001 << 96 | 1, 80, six),
            (net, INET, 0xC6336407, 99, f"{name} 198.51.100.0/24 *"),
            (net, INET6, 0x3FFF0002 << 96 | 5, 99, f"{name} 3fff:2::/48 *"),
            (block, INET, 0xCB007109, 8500, f"{name} 203.0.113.0/24 8000-8999"),
            (block, INET6, 0x3FFF0003 << 96 | 9, 8500, f"{name} 3fff:3::/64 8000-8999"),
        ):
            cases.append(Case(case, Packet(protocol, family, address, port), rule))
        cases += [
            Case("near miss", Packet(protocol, INET, 0xC0000201, 81), four, hit=False),
            Case("near miss", Packet(protocol, INET6, 0x3FFF0001 << 96 | 1, 81), six, hit=False),
            Case("far miss", Packet(protocol, INET, 0x08080808, 80), "", hit=False),
            Case("far miss", Packet(protocol, INET6, 0x2A00 << 112 | 1, 80), "", hit=False),
        ]
    return cases


CASES = _cases()


def measure(quick: bool) -> Part:
    found = []
    with tempfile.TemporaryDirectory(prefix="sockreg-bench-") as directory:
        built = peer.build(Path(directory))
        with Namespace() as namespace, namespace.entered():
            for size in _QUICK if quick else SIZES:
                found.append(_measure(built, size, 2 if quick else _ROUNDS))
    figures = [it._asdict() | {"hot": [hot._asdict() for hot in it.hot]} for it in found]
    return Part("lookup", [_hot_table(found), _stream_table(found)], figures, _aims(found))


def _measure(built: Path, size: int, rounds: int) -> Measured:
    random = Random(size)
    rules = [case.rule for case in CASES if case.hit][:size]
    bindings = [_parse("case", rule) for rule in rules]
    bindings += _mixed(size - len(bindings))
    with _loaded(built, bindings) as loaded:
        hot = []
        for case in CASES:
            if case.rule in rules or not case.rule:
                hot.append(Hot(case.name, case.kind, case.hit, _hot(loaded, case.packet, rounds)))
        streams = {}
        for version, family in (("IPv4", INET), ("IPv6", INET6)):
            own = [binding for binding in bindings if binding.family == family]
            for packet in (
                _inside(random, random.choice(own)) for _ in range(_DRAWN if own else 0)
            ):
                hot.append(Hot("drawn", version, True, _hot(loaded, packet, rounds)))
            if own:
                streams[version] = _stream(loaded, own, random, rounds)
        streams["both"] = _stream(loaded, bindings, random, rounds)
        memory = {OURS: _memory(loaded[0], TABLE_MAP), PEER: _memory(loaded[0], _TRIE)}
    return Measured(size, hot, streams, memory)


def _mixed(count: int) -> list[Binding]:
    bindings: list[Binding] = []
    label = ""
    for line in large_rulesets.mixed(count) if count > 0 else []:
        if line.startswith("["):
            label = line.strip("[]")
        else:
            bindings.append(_parse(label, line.removeprefix("Bind=")))
    return bindings


def _parse(label: str, text: str) -> Binding:
    (binding,) = parse_rule(Action.BIND, text, label, Place("bench", 1), [])
    return binding


def _inside(random: Random, binding: Binding) -> Packet:
    host_bits = FAMILY_BITS[binding.family] - binding.length
    address = binding.address | random.randrange(1 << host_bits)
    port = random.randint(max(1, binding.first), binding.last)
    return Packet(binding.protocol, binding.family, address, port)


@contextmanager
def _loaded(built: Path, bindings: Sequence[Binding]) -> Iterator[list[libbpf.Object]]:
    """All programs with a rule set, several times, and a socket for each destination."""
    slots: dict[Destination, int] = {}
    for binding in bindings:
        slots.setdefault(binding.destination, 2 + len(slots))
    tables = compile_rules(bindings, slots)
    content = tables.table_bytes()
    with ExitStack() as stack:
        maps = {
            TABLE_MAP: libbpf.create_constant("table", content),
            ".data.keys": libbpf.create_array("data_keys", KEYS * _KEY.size),
        }
        for fd in maps.values():
            stack.callback(os.close, fd)
        first = _load(built, tables, len(bindings), maps)
        maps |= {name: first.map_fd(name) for name in ("sockets", "counters", "pools", _TRIE)}
        copies = [_load(built, tables, len(bindings), maps) for _ in range(_INSTANCES - 1)]
        # Design (c) has no ranges; a rule for any port takes as long.
        portable = [b if b.first == b.last else b._replace(first=0, last=65535) for b in bindings]
        peer.bind(first, portable, slots)
        for destination, slot in slots.items():
            member = stack.enter_context(stand_in(destination))
            peer.register(first, slot, member.fileno())
        yield [first, *copies]


def _load(built: Path, tables: Tables, rules: int, maps: Mapping[str, int]) -> libbpf.Object:
    loaded = libbpf.Object(str(built))
    loaded.leave_out(COPY)
    for name, fd in maps.items():
        loaded.reuse_map(name, fd)
    loaded.set_initial_value(".rodata.config", tables.config)
    loaded.set_initial_value(".rodata.keys_mask", _KEYS_MASK.pack(KEYS - 1))
    if _TRIE not in maps:
        loaded.set_max_entries(_TRIE, rules)
    loaded.load()
    return loaded


def _hot(loaded: Sequence[libbpf.Object], packet: Packet, rounds: int) -> dict[str, float]:
    return _medians(loaded, {name: name for name in PROGRAMS}, context(packet), rounds)


def _stream(
    loaded: Sequence[libbpf.Object], bindings: Sequence[Binding], random: Random, rounds: int
) -> dict[str, float]:
    """The same for packets of these rules, one after the other, each program's caches warm."""
    packets = [_inside(random, random.choice(bindings)) for _ in range(KEYS)]
    keys = b"".join(_key(packet) for packet in packets)
    libbpf.write_array(loaded[0].map_fd(".data.keys"), keys, len(keys))
    streams = {name: f"stream_{name}" for name in (EMPTY, OURS, PEER)}
    return _medians(loaded, streams, context(packets[0]), rounds, warm_up=2 * KEYS)


def _key(packet: Packet) -> bytes:
    address = packet.address.to_bytes(FAMILY_BITS[packet.family] // 8, "big").ljust(16, b"\0")
    return _KEY.pack(address, packet.port, packet.family, packet.protocol, 0)


def _medians(
    loaded: Sequence[libbpf.Object],
    programs: dict[str, str],
    given: bytes,
    rounds: int,
    warm_up: int = 0,
) -> dict[str, float]:
    found = [_best(instance, programs, given, rounds, warm_up) for instance in loaded]
    return {name: median(times[name] for times in found) for name in programs}


def _best(
    loaded: libbpf.Object, programs: dict[str, str], given: bytes, rounds: int, warm_up: int
) -> dict[str, float]:
    """The best of some interleaved rounds: what is above is the noise of others."""
    runs = {}
    with own_cpu():
        for name, program in programs.items():
            fd = loaded.program_fd(program)
            trial = _time(fd, given, 1000)
            runs[name] = (fd, max(2 * warm_up, int(_RUN * 1e9 / trial)))
        rows = [
            [_time(fd, given, repeat, warm_up) for fd, repeat in runs.values()]
            for _ in range(rounds)
        ]
    return dict(zip(runs, map(min, zip(*rows, strict=True)), strict=True))


def _time(program: int, given: bytes, repeat: int, warm_up: int = 0) -> float:
    """Nanoseconds of a run, by the clock: what the kernel returns are whole ones."""
    if warm_up:
        libbpf.test_run(program, given, warm_up)
    begin = time.perf_counter_ns()
    libbpf.test_run(program, given, repeat)
    return (time.perf_counter_ns() - begin) / repeat


def _memory(loaded: libbpf.Object, name: str) -> int:
    """What the kernel says that a map takes (proc_pid_fdinfo(5))."""
    lines = Path(f"/proc/self/fdinfo/{loaded.map_fd(name)}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("memlock:"))


def _hot_table(found: Sequence[Measured]) -> Table:
    rows: list[tuple[object, ...]] = []
    for it in found:
        groups: dict[tuple[str, str], list[Hot]] = {}
        for hot in it.hot:
            groups.setdefault((hot.name, hot.kind), []).append(hot)
        for (name, kind), group in groups.items():
            times = [f"{median(h.nanoseconds[p] for h in group):.1f}" for p in PROGRAMS]
            rows.append((it.rules, name, kind, *times))
    header = ("RULES", "PACKET", "KIND", "EMPTY", "FLOOR", "SOCKREG", "PEERS")
    notes = (
        f"Of {_INSTANCES} instances of a program the median of their best rounds; of packets drawn",
        "from the rules the median of these.",
    )
    return Table("Hot lookups, ns", header, rows, notes)


def _stream_table(found: Sequence[Measured]) -> Table:
    rows: list[tuple[object, ...]] = []
    for it in found:
        memory = f"{it.memory[OURS]:,}", f"{it.memory[PEER]:,}"
        for kind, times in it.streams.items():
            shown = (f"{times[p]:.1f}" for p in (EMPTY, OURS, PEER))
            rows.append((it.rules, kind, *shown, f"{_part_of(times):.1f}", *memory))
    header = ("RULES", "PACKETS", "EMPTY", "SOCKREG", "PEERS", "RATIO", "TABLES", "PEERS' TRIE")
    notes = (
        f"{KEYS} packets drawn from the rules, one after the other. RATIO: of what is added to the",
        "empty program. Tables in bytes, as the kernel counts them.",
    )
    return Table("Streaming lookups, ns", header, rows, notes)


def _part_of(times: dict[str, float]) -> float:
    """How many times what we add to an empty program the peers' design adds."""
    return (times[PEER] - times[EMPTY]) / (times[OURS] - times[EMPTY])


def _aims(found: Sequence[Measured]) -> list[Aim]:
    aims = []
    for version in ("IPv4", "IPv6"):
        for it in found:
            aims += _hot_aims(it, version)
        flat = {
            it.rules: fmean(h.nanoseconds[OURS] for h in _hits(it, version))
            for it in found
            if _hits(it, version)
        }
        few, many = flat[10], flat[max(flat)]
        text = f"{version}: hot hits with {max(flat)} rules against 10"
        aims.append(at_most(text, many / few, 1.15, "{:.2f}"))
    for it in found:
        if it.rules in STREAMED:
            for kind, times in it.streams.items():
                text = f"{kind}: what the peers' design adds, streaming, {it.rules} rules"
                aims.append(_at_least(text, _part_of(times), STREAMED[it.rules]))
    handful, most = found[1].memory, found[-1].memory
    aims.append(at_most("10 rules, all tables", handful[OURS] / 1024, 32, "{:.0f} KiB"))
    if found[-1].rules == SIZES[-1]:
        text = f"{found[-1].rules} rules, memory against the peers' trie"
        aims.append(at_most(text, most[OURS] / most[PEER], 1.5, "{:.2f}"))
    return aims


def _hits(it: Measured, version: str) -> list[Hot]:
    return [hot for hot in it.hot if hot.hit and hot.kind.startswith(version)]


def _hot_aims(it: Measured, version: str) -> list[Aim]:
    hits = _hits(it, version)
    if not hits:
        return []
    # The one hard-coded rule is for TCP.
    hosts = (h for h in hits if h.name == CASES[0].name and h.kind == f"{version} tcp")
    floor = min(h.nanoseconds[FLOOR] for h in hosts)
    groups: dict[str, list[float]] = {}
    for hot in hits:
        groups.setdefault(hot.name, []).append(hot.nanoseconds[OURS])
    slowest = max(groups, key=lambda name: median(groups[name]))
    where = f"{version}, {it.rules} rules"
    ratio = median(groups[slowest]) / floor
    aims = [at_most(f"{where}: hot hit ({slowest}) against the floor", ratio, 1.25, "{:.2f}")]
    misses = [h.nanoseconds for h in it.hot if h.name == "far miss" and h.kind.startswith(version)]
    ratio = median(t[OURS] for t in misses) / median(t[EMPTY] for t in misses)
    aims.append(at_most(f"{where}: far miss against the empty program", ratio, 1.4, "{:.2f}"))
    if it.rules in ADDED:
        times = [h.nanoseconds for h in hits]
        means = {name: fmean(t[name] for t in times) for name in PROGRAMS}
        text = f"{where}: what the peers' design adds, hot"
        best = (means[PEER] - means[EMPTY]) / (floor - means[EMPTY])
        aims.append(_at_least(text, _part_of(means), ADDED[it.rules], f"; the floor {best:.1f}"))
    return aims


def _at_least(text: str, found: float, limit: float, besides: str = "") -> Aim:
    shown = f"{found:.1f}{besides}"
    return Aim(f"{text}: at least {limit:.0f} times ours", shown, found >= limit)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, up to 10,000 rules")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    print(machine())
    part = measure(arguments.quick)
    show(part)
    if arguments.json:
        arguments.json.write_text(json.dumps(part.figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

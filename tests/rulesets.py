"""Rule sets of many shapes, and packets that go where rules begin and end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from random import Random

from sockreg.model import (
    ANY_PORT,
    FAMILY_BITS,
    INET,
    INET6,
    TCP,
    UDP,
    Action,
    Binding,
    Destination,
    Packet,
    Place,
)
from sockreg.rules.precedence import settle

LABELS = [f"label{number}" for number in range(20)]
INTERFACES = {"lo": 1, "eth0": 2, "eth1": 70000}
UNKNOWN_INTERFACE = 99
MISSING_PASS = 0x4000

Ports = tuple[int, int]


def rule(
    label: str,
    protocol: int,
    family: int,
    address: int,
    length: int,
    ports: Ports,
    *,
    action: Action = Action.BIND,
    source: tuple[int, int] | None = None,
    interface: str | None = None,
    missing_pass: bool = False,
) -> Binding:
    """A binding; host bits of its address are cleared."""
    return Binding(
        label, action, protocol, family, cleared(family, address, length), length, *ports,
        source, interface, missing_pass, Place("test", 1),
    )  # fmt: skip


def cleared(family: int, address: int, length: int) -> int:
    host_bits = FAMILY_BITS[family] - length
    return address >> host_bits << host_bits


def slots(bindings: Iterable[Binding]) -> dict[Destination, int]:
    """A slot for each destination of a rule set."""
    found: dict[Destination, int] = {}
    for binding in bindings:
        found.setdefault(binding.destination, 2 + len(found))
    return found


def destination_of(winner: Binding | None, slot_of: Mapping[Destination, int]) -> int:
    """What a table holds for packets that a binding has won."""
    if winner is None or winner.action is Action.PASS:
        return 0
    if winner.action is Action.REJECT:
        return 1
    return slot_of[winner.destination] | MISSING_PASS * winner.missing_pass


def without_ties(bindings: Iterable[Binding]) -> list[Binding]:
    """What a rule set may be: repeated bindings and those that tie are dropped."""
    kept, ties = settle(bindings)
    tied = {id(binding) for tie in ties for binding in tie}
    return [binding for binding in kept if id(binding) not in tied]


def random_rules(rng: Random, count: int, conditional: bool) -> list[Binding]:
    """Rules around a few addresses, so that they nest and overlap in every way."""
    centres = {
        family: [rng.getrandbits(bits) for _ in range(3)] for family, bits in FAMILY_BITS.items()
    }
    rules = []
    for _ in range(count):
        family = rng.choice((INET, INET6))
        bits = FAMILY_BITS[family]
        condition = rng.random() if conditional else 1.0
        source = None
        if condition < 0.4:
            source_length = rng.randrange(1, bits + 1)
            source = (
                cleared(family, _near(rng, rng.choice(centres[family]), bits), source_length),
                source_length,
            )
        rules.append(
            rule(
                rng.choice(LABELS),
                rng.choice((TCP, UDP)),
                family,
                _near(rng, rng.choice(centres[family]), bits),
                rng.choice((0, bits // 2, bits, rng.randrange(bits + 1), rng.randrange(bits + 1))),
                _ports(rng),
                action=rng.choice((*[Action.BIND] * 5, Action.REJECT, Action.PASS)),
                source=source,
                interface=rng.choice(list(INTERFACES)) if 0.3 < condition < 0.6 else None,
                missing_pass=rng.random() < 0.2,
            )
        )
    return without_ties(rules)


def nested_rules(rng: Random) -> list[Binding]:
    """Prefixes in each other, nearly all with a rule for one port or range: pairs of pairs."""
    rules = []
    for _ in range(12):
        family, protocol = rng.choice((INET, INET6)), rng.choice((TCP, UDP))
        address = rng.getrandbits(FAMILY_BITS[family])
        lengths = rng.sample(range(1, FAMILY_BITS[family] + 1), 10)
        rules += [
            rule(rng.choice(LABELS), protocol, family, address, length, _ports(rng),
                 missing_pass=rng.random() < 0.2)
            for length in lengths
        ]  # fmt: skip
    return without_ties(rules)


def _near(rng: Random, address: int, bits: int) -> int:
    """An address that shares a random number of leading bits with another."""
    return address ^ rng.getrandbits(bits) >> rng.randrange(bits + 1)


def _ports(rng: Random) -> Ports:
    kind = rng.random()
    if kind < 0.4:
        port = rng.choice((80, 443, rng.randrange(1, 65536)))
        return (port, port)
    if kind < 0.7:
        return ANY_PORT
    first = rng.randrange(1, 65536)
    return (first, min(65535, first + rng.randrange(3000)))


def packets(rng: Random, bindings: list[Binding], count: int) -> Iterator[Packet]:
    """Packets inside, at the edges of and beside the rules of a set."""
    for _ in range(count):
        binding, other = rng.choice(bindings), rng.choice(bindings)
        bits = FAMILY_BITS[binding.family]
        source = 0
        for candidate in (binding, other):
            if candidate.source and candidate.family == binding.family and rng.random() < 0.8:
                source = _around(rng, *candidate.source, bits)
        yield Packet(
            rng.choice((binding.protocol, binding.protocol, binding.protocol, TCP, UDP)),
            binding.family,
            _around(rng, binding.address, binding.length, bits),
            rng.choice(
                (
                    binding.first,
                    binding.last,
                    max(0, binding.first - 1),
                    min(65535, binding.last + 1),
                    other.first,
                    rng.randrange(65536),
                )
            ),
            source,
            rng.choice((None, binding.interface, *INTERFACES, "wlan0")),
        )


def _around(rng: Random, address: int, length: int, bits: int) -> int:
    size = 1 << (bits - length)
    return rng.choice(
        (
            address,
            address + size - 1,
            address + rng.randrange(size),
            (address + size) % (1 << bits),
            (address - 1) % (1 << bits),
            rng.getrandbits(bits),
        )
    )


def adversarial() -> dict[str, list[Binding]]:
    """Shapes that are hard on tables, by name."""
    v4, v6 = 0x0A01FE03, 0x20010DB8A5A5F00F123456789ABCDEF1
    ladder = [
        rule(LABELS[length % 20], TCP, family, address, length, (length, length))
        for family, address in ((INET, v4), (INET6, v6), (INET6, 0), (INET6, (1 << 128) - 1))
        for length in range(FAMILY_BITS[family] + 1)
    ]
    return {
        "every port of one address": [
            rule(LABELS[port % 20], TCP, INET, v4, 32, (port, port)) for port in range(1, 65536)
        ],
        "prefix ladders": without_ties(ladder),
        "ladders of any port": [
            rule(LABELS[length % 20], UDP, family, address, length, ANY_PORT)
            for family, address in ((INET, v4), (INET6, v6))
            for length in range(FAMILY_BITS[family] + 1)
        ],
        "all hosts of a /16": [
            rule(LABELS[host % 20], TCP, INET, 0x0A010000 + host, 32, (80, 80))
            for host in range(65536)
        ],
        "all hosts of a /112": [
            rule(LABELS[host % 20], UDP, INET6, v6 >> 16 << 16 | host, 128, ANY_PORT)
            for host in range(65536)
        ],
        "nested and overlapping ranges": without_ties(
            rule(
                LABELS[(length + step) % 20],
                TCP,
                INET,
                v4,
                length,
                (step * 100, min(65535, step * 101 + 64 * length)),
            )
            for length in (8, 16, 17, 24, 31, 32)
            for step in range(300)
        ),
        "many ports below many ports": [
            rule(LABELS[(port + length) % 20], TCP, INET6, v6, length, (port, port))
            for length in (32, 48, 64, 65, 80, 96, 112, 127, 128)
            for port in range(length, 5000, 1 + (length * 7) % 60)
        ],
        "hosts below many ports": [
            *(
                rule(LABELS[port % 20], TCP, INET, 0x0A000000, 8, (port, port))
                for port in range(1, 3000)
            ),
            *(
                rule(LABELS[host % 20], TCP, INET, 0x0A000000 | host * 5003, 32, (host, host))
                for host in range(1, 2000)
            ),
        ],
        "many sources": [
            rule(
                LABELS[number % 20],
                TCP,
                INET,
                v4,
                24,
                (443, 443),
                source=(number << 16, 16),
                missing_pass=number % 3 == 0,
            )
            for number in range(3000)
        ],
        "everything to one": [
            rule("label0", protocol, family, 0, 0, ANY_PORT)
            for protocol in (TCP, UDP)
            for family in (INET, INET6)
        ],
    }

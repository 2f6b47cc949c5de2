"""Rule sets of any size, as lines of a conf file: the same for the same count, on any machine."""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

LABELS = 100
PREFIXES = ("10.0.0.0/8", "2001:db8::/32")  # of all rules

# Half of the rules are for any port, a tenth for a range, the others for one port.
_SERVICES = (22, 25, 53, 80, 123, 443, 853, 8080, 8443)


def mixed(count: int, seed: int = 1, *, ranges: bool = True) -> list[str]:
    """``count`` lines of a conf file, a rule each, below the section of one label or another.

    IPv4 and IPv6, TCP and UDP; prefixes of all lengths from 16 and from 33 up, nested and
    apart; 10.0.0.0/8 and 2001:db8::/32 only, so that everything else is a far miss. No rule
    is there twice, and none tie. Without ``ranges`` all are for one port or any.
    """
    labels = min(LABELS, max(1, count // 10))
    sections: list[list[str]] = [[] for _ in range(labels)]
    for number, rule in enumerate(_rules(count, random.Random(seed), ranges)):
        sections[number % labels].append(f"Bind={rule}")
    lines = []
    for number, rules in enumerate(sections):
        lines += [f"[label{number}]", *rules]
    return lines


def _rules(count: int, source: random.Random, ranges: bool) -> Iterator[str]:
    seen: set[tuple[str, str, str]] = set()
    while len(seen) < count:
        protocol = "udp" if source.random() < 0.25 else "tcp"
        rule = (protocol, _prefix(source), _ports(source, ranges))
        if rule not in seen:
            seen.add(rule)
            yield " ".join(rule)


def _prefix(source: random.Random) -> str:
    if source.random() < 0.5:
        length = source.randint(16, 32)
        address = 10 << 24 | source.getrandbits(24)
        return f"{IPv4Address(address >> (32 - length) << (32 - length))}/{length}"
    length = source.randint(33, 128)
    address = 0x20010DB8 << 96 | source.getrandbits(96)
    return f"{IPv6Address(address >> (128 - length) << (128 - length))}/{length}"


def _ports(source: random.Random, ranges: bool) -> str:
    kind = source.random()
    if kind < 0.5:
        return "*"
    if kind < 0.9 or not ranges:
        return str(source.choice(_SERVICES))
    # Blocks of a thousand: ranges of one width that overlap would tie.
    first = source.randrange(1, 65) * 1000
    return f"{first}-{first + 999 if first < 64000 else 64999}"

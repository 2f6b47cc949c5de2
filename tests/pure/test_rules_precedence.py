"""Which binding wins, which bindings tie, and the oracle that says what a rule set means."""

from __future__ import annotations

import random
from ipaddress import ip_address, ip_network
from itertools import combinations

import pytest

from sockreg.model import INET, INET6, TCP, UDP, Action, Binding, Packet, Place
from sockreg.rules.oracle import decide, matches, ranking
from sockreg.rules.precedence import rank, settle

ANY = (0, 65535)


def binding(
    label: str,
    prefix: str,
    ports: tuple[int, int] = ANY,
    *,
    protocol: int = TCP,
    action: Action = Action.BIND,
    source: str = "",
    interface: str | None = None,
    missing_pass: bool = False,
    line: int = 1,
) -> Binding:
    network = ip_network(prefix)
    origin = ip_network(source) if source else None
    return Binding(
        label,
        action,
        protocol,
        INET if network.version == 4 else INET6,
        int(network.network_address),
        network.prefixlen,
        *ports,
        (int(origin.network_address), origin.prefixlen) if origin else None,
        interface,
        missing_pass,
        Place("rules.conf", line),
    )


def packet(
    address: str,
    port: int,
    *,
    protocol: int = TCP,
    source: str = "0.0.0.0",
    interface: str | None = None,
) -> Packet:
    to = ip_address(address)
    family = INET if to.version == 4 else INET6
    return Packet(protocol, family, int(to), port, int(ip_address(source)), interface)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (binding("a", "192.0.2.7"), binding("b", "192.0.2.0/24", (80, 80))),
        (binding("a", "192.0.2.0/24"), binding("b", "0.0.0.0/0", (80, 80))),
        (binding("a", "192.0.2.0/24", (80, 80)), binding("b", "192.0.2.0/24", (80, 81))),
        (binding("a", "192.0.2.0/24", (80, 81)), binding("b", "192.0.2.0/24", (79, 81))),
        (binding("a", "192.0.2.0/24", (1, 65535)), binding("b", "192.0.2.0/24")),
        (
            binding("a", "192.0.2.0/24", (80, 80)),
            binding("b", "192.0.2.0/24", source="198.51.100.1", interface="eth0"),
        ),
        (
            binding("a", "192.0.2.0/24", interface="eth0"),
            binding("b", "192.0.2.0/24", source="198.51.100.1"),
        ),
        (
            binding("a", "192.0.2.0/24", source="198.51.100.1"),
            binding("b", "192.0.2.0/24", source="198.51.100.0/24"),
        ),
        (
            binding("a", "192.0.2.0/24", source="198.0.0.0/7"),
            binding("b", "192.0.2.0/24"),
        ),
        (
            binding("a", "2001:db8::/64", action=Action.REJECT),
            binding("b", "2001:db8::/63", (80, 80)),
        ),
    ],
)
def test_precedence(better: Binding, worse: Binding) -> None:
    to = ip_address(better.address) if better.family == INET6 else "192.0.2.7"
    met = packet(str(to), 80, source="198.51.100.1", interface="eth0")
    assert rank(better) < rank(worse)
    for given in ([better, worse], [worse, better]):
        assert decide(given, met) == better
        assert ranking(given, met) == [better, worse]
        assert settle(given)[1] == []


@pytest.mark.parametrize(
    ("rule", "hit", "miss"),
    [
        (binding("a", "192.0.2.0/24"), packet("192.0.2.255", 1), packet("192.0.3.0", 1)),
        (binding("a", "192.0.2.1"), packet("192.0.2.1", 1), packet("192.0.2.0", 1)),
        (binding("a", "0.0.0.0/0"), packet("203.0.113.1", 1), packet("2001:db8::1", 1)),
        (binding("a", "::/0"), packet("2001:db8::1", 1), packet("203.0.113.1", 1)),
        (binding("a", "::1"), packet("::1", 9), packet("::2", 9)),
        (binding("a", "::/0", (80, 90)), packet("::1", 90), packet("::1", 91)),
        (binding("a", "::/0", (80, 90)), packet("::1", 80), packet("::1", 79)),
        (binding("a", "::/0"), packet("::1", 9), packet("::1", 9, protocol=UDP)),
        (
            binding("a", "::/0", source="2001:db8::/32"),
            packet("::1", 9, source="2001:db8:ffff::"),
            packet("::1", 9, source="2001:db9::"),
        ),
        (
            binding("a", "::/0", interface="eth0"),
            packet("::1", 9, interface="eth0"),
            packet("::1", 9, interface="eth1"),
        ),
    ],
)
def test_matching(rule: Binding, hit: Packet, miss: Packet) -> None:
    assert matches(rule, hit)
    assert not matches(rule, miss)
    assert decide([rule], hit) == rule
    assert decide([rule], miss) is None
    assert ranking([rule], miss) == []


def test_a_tie_names_the_binding_read_first_first() -> None:
    one = binding("a", "192.0.2.0/24", (80, 80), line=1)
    two = binding("b", "192.0.2.0/24", (80, 80), line=2)
    assert settle([one, two])[1] == [(one, two)]
    assert settle([two, one])[1] == [(two, one)]


@pytest.mark.parametrize(
    "other",
    [
        binding("b", "192.0.2.0/24", (85, 95)),
        binding("b", "192.0.2.0/24", (75, 85)),
        binding("a", "192.0.2.0/24", (80, 90), action=Action.REJECT),
        binding("a", "192.0.2.0/24", (80, 90), missing_pass=True),
    ],
)
def test_overlapping_ranges_of_one_width_tie(other: Binding) -> None:
    one = binding("a", "192.0.2.0/24", (80, 90))
    assert settle([one, other])[1] == [(one, other)]


@pytest.mark.parametrize(
    "other",
    [
        binding("b", "192.0.2.0/24", (91, 101)),
        binding("b", "192.0.2.0/24", (80, 91)),
        binding("b", "192.0.2.0/25", (80, 90)),
        binding("b", "192.0.2.0/24", (80, 90), protocol=UDP),
        binding("b", "192.0.2.0/24", (80, 90), interface="eth0"),
        binding("b", "192.0.2.0/24", (80, 90), source="198.51.100.0/24"),
        binding("a", "192.0.2.0/24", (85, 95)),
    ],
)
def test_no_tie(other: Binding) -> None:
    assert settle([binding("a", "192.0.2.0/24", (80, 90)), other])[1] == []


def test_ranges_that_chain_tie_with_their_neighbours() -> None:
    chain = [binding(label, "::/0", ports) for label, ports in (("a", (1, 10)), ("a", (5, 14)))]
    third = binding("b", "::/0", (9, 18))
    assert settle([third, *chain])[1] == [(third, chain[1])]


def test_repeated_bindings_are_kept_once() -> None:
    first = binding("a", "192.0.2.0/24", (80, 80), line=1)
    again = binding("a", "192.0.2.0/24", (80, 80), line=9)
    reject = binding("a", "192.0.2.0/24", action=Action.REJECT)
    other_section = binding("b", "192.0.2.0/24", action=Action.REJECT)
    kept, ties = settle([first, again, reject, other_section])
    assert kept == [first, reject]
    assert ties == []


def test_settled_rule_sets_have_one_winner_for_every_packet() -> None:
    """Random small rule sets: a tie is found exactly when some packet meets one."""
    chance = random.Random(20)
    found = 0
    for _ in range(400):
        rules = [
            binding(
                chance.choice("ab"),
                chance.choice(["192.0.2.0/31", "192.0.2.0/32", "192.0.2.1/32"]),
                chance.choice([(1, 1), (1, 2), (2, 3), (2, 4), (3, 5), ANY]),
                interface=chance.choice([None, "eth0"]),
                source=chance.choice(["", "198.51.100.0/32"]),
                line=line,
            )
            for line in range(chance.randint(2, 12))
        ]
        packets = [
            packet(f"192.0.2.{host}", port, source="198.51.100.0", interface="eth0")
            for host in (0, 1)
            for port in range(7)
        ]
        meets_tie = any(
            rank(one) == rank(two) and one.outcome != two.outcome
            for met in packets
            for one, two in combinations(ranking(rules, met), 2)
        )
        assert bool(settle(rules)[1]) == meets_tie
        found += meets_tie
    assert 50 < found < 350

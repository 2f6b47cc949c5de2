"""Rules as text: what is read, what is refused and with which words, and the way back."""

from __future__ import annotations

import random
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
    summarize_address_range,
)

import pytest

from sockreg.model import FAMILY_BITS, INET, INET6, TCP, UDP, Action, Binding, Place
from sockreg.rules.prefixes import parse_prefix, parse_prefixes
from sockreg.rules.syntax import format_rule, parse_rule, parse_words
from sockreg.rules.unasked import why_unasked

HERE = Place("/etc/sockreg/web.conf", 7)
V6 = int(ip_address("2001:db8::"))


def parse(text: str, action: Action = Action.BIND) -> list[Binding]:
    notices: list[str] = []
    bindings = parse_rule(action, text, "web", HERE, notices)
    assert notices == []
    return bindings


def expected(
    protocol: int, family: int, address: int, length: int, first: int, last: int
) -> Binding:
    return Binding(
        *("web", Action.BIND, protocol, family, address, length, first, last),
        *(None, None, False, HERE),
    )


@pytest.mark.parametrize(
    ("text", "binding"),
    [
        ("tcp 192.0.2.0/24 80", expected(TCP, INET, 0xC0000200, 24, 80, 80)),
        ("udp 2001:db8::/64 8000-8999", expected(UDP, INET6, V6, 64, 8000, 8999)),
        ("tcp 198.51.100.7 *", expected(TCP, INET, 0xC6336407, 32, 0, 65535)),
        ("tcp 0.0.0.0/0 1-65535", expected(TCP, INET, 0, 0, 1, 65535)),
        ("tcp ::/0 *", expected(TCP, INET6, 0, 0, 0, 65535)),
        ("tcp ::fffe:0:0/95 *", expected(TCP, INET6, 0xFFFE << 32, 95, 0, 65535)),
        ("  udp \t 2001:db8::1   53 ", expected(UDP, INET6, V6 + 1, 128, 53, 53)),
    ],
)
def test_one_rule(text: str, binding: Binding) -> None:
    assert parse(text) == [binding]


def test_a_list_of_ports_gives_one_binding_each() -> None:
    bindings = parse("tcp 192.0.2.0/24 80,443,8000-8099")
    assert [(b.first, b.last) for b in bindings] == [(80, 80), (443, 443), (8000, 8099)]
    assert {b[:6] for b in bindings} == {bindings[0][:6]}


def test_names_of_services_are_ports() -> None:
    bindings = parse("tcp 192.0.2.0/24 https,8000-8099,domain")
    assert [(b.first, b.last) for b in bindings] == [(443, 443), (8000, 8099), (53, 53)]
    assert parse("udp 192.0.2.7 tftp") == parse("udp 192.0.2.7 69")
    assert format_rule(bindings[0]) == "tcp 192.0.2.0/24 443"


def test_a_list_of_prefixes_gives_one_binding_each() -> None:
    bindings = parse("tcp 192.0.2.0/24,2001:db8::/32,198.51.100.7 80,443")
    assert [format_rule(b) for b in bindings] == [
        f"tcp {prefix} {port}"
        for prefix in ("192.0.2.0/24", "2001:db8::/32", "198.51.100.7")
        for port in (80, 443)
    ]
    assert len(parse("tcp 192.0.2.7,192.0.2.7,192.0.2.7/32 80")) == 1


def test_a_range_becomes_the_fewest_prefixes() -> None:
    bindings = parse("tcp 192.0.2.10-192.0.2.50 80")
    assert [format_rule(b).split()[1] for b in bindings] == [
        "192.0.2.10/31", "192.0.2.12/30", "192.0.2.16/28", "192.0.2.32/28", "192.0.2.48/31",
        "192.0.2.50",
    ]  # fmt: skip
    assert parse("tcp 192.0.2.0-192.0.2.255 80") == parse("tcp 192.0.2.0/24 80")
    assert parse("tcp 192.0.2.9-192.0.2.9 80") == parse("tcp 192.0.2.9 80")


def test_ranges_agree_with_the_standard_library() -> None:
    chance = random.Random(5)
    for _ in range(2000):
        family, base = chance.choice([(INET, 0x0A000000), (INET6, 0x20010DB8 << 96)])
        spread = chance.randint(1, 24)
        low, high = sorted(base + chance.getrandbits(spread) for _ in range(2))
        wanted: Iterable[IPv4Network | IPv6Network]
        if family == INET:
            wanted = summarize_address_range(IPv4Address(low), IPv4Address(high))
        else:
            wanted = summarize_address_range(IPv6Address(low), IPv6Address(high))
        made = parse_prefixes(f"{ip_address(low)}-{ip_address(high)}", [])
        assert [(address, length) for _, address, length in made] == [
            (int(it.network_address), it.prefixlen) for it in wanted
        ]
        assert {it for it, _, _ in made} == {family}


def test_a_line_makes_no_more_rules_than_its_limit() -> None:
    ports = ",".join(map(str, range(1, 1000)))
    with pytest.raises(ValueError, match="rules in one line; 1,048,576 is the limit"):
        parse(f"tcp 10.0.0.1-10.255.255.254,2001::1-2001:ff:: {','.join([ports] * 20)}")


def test_conditions_in_any_order() -> None:
    (one,) = parse("tcp 192.0.2.0/24 80 from 198.51.100.0/24 dev eth0 missing=pass")
    (two,) = parse("tcp 192.0.2.0/24 80 missing=pass dev eth0 from 198.51.100.0/24")
    assert one == two
    assert one.source == (0xC6336400, 24)
    assert one.interface == "eth0"
    assert one.missing_pass
    assert parse("tcp ::1 80 dev vlan.1234567890")[0].interface == "vlan.1234567890"


def test_a_source_of_length_0_says_nothing() -> None:
    assert parse("tcp 192.0.2.0/24 80 from 0.0.0.0/0") == parse("tcp 192.0.2.0/24 80")


def test_reject_and_pass_keep_their_section() -> None:
    (reject,) = parse("tcp 192.0.2.9 *", Action.REJECT)
    assert (reject.action, reject.label, reject.place) == (Action.REJECT, "web", HERE)
    assert parse("tcp 192.0.2.9 *", Action.PASS)[0].action is Action.PASS


def test_host_bits_are_cleared_with_a_notice() -> None:
    notices: list[str] = []
    (binding,) = parse_rule(
        Action.BIND, "tcp 192.0.2.77/24 80 from 198.51.100.7/31", "web", HERE, notices
    )
    assert (binding.address, binding.source) == (0xC0000200, (0xC6336406, 31))
    assert notices == [
        "192.0.2.77/24 has host bits set and is read as 192.0.2.0/24",
        "198.51.100.7/31 has host bits set and is read as 198.51.100.6/31",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "PROTOCOL PREFIX PORTS expected, as in 'tcp 192.0.2.0/24 80'"),
        ("tcp 192.0.2.0/24", "PROTOCOL PREFIX PORTS expected"),
        ("TCP 192.0.2.0/24 80", "protocol 'TCP': 'tcp' or 'udp' expected"),
        ("sctp 192.0.2.0/24 80", "protocol 'sctp': 'tcp' or 'udp' expected"),
        ("tcp 192.0.2/24 80", "prefix '192.0.2/24': expected an IPv4 or IPv6 address"),
        ("tcp 192.0.2.01 80", "prefix '192.0.2.01': expected an IPv4 or IPv6 address"),
        ("tcp web.example 80", "prefix 'web.example': expected an IPv4 or IPv6 address"),
        ("tcp [::1] 80", "prefix '[::1]': expected an IPv4 or IPv6 address"),
        ("tcp 192.0.2.1\0 80", "an IPv4 or IPv6 address"),
        ("tcp fe80::1%eth0 80", "name the interface with 'dev' instead of '%'"),
        ("tcp 192.0.2.0/33 80", "prefix '192.0.2.0/33': the length must be from 0 to 32"),
        ("tcp 192.0.2.0/ 80", "the length must be from 0 to 32"),
        ("tcp 192.0.2.0/-1 80", "the length must be from 0 to 32"),
        ("tcp 192.0.2.0/024 80", "the length must be from 0 to 32"),
        ("tcp 192.0.2.0/255.255.255.0 80", "the length must be from 0 to 32"),
        ("tcp ::/129 80", "prefix '::/129': the length must be from 0 to 128"),
        ("tcp ::ffff:192.0.2.0/120 80", "IPv4-mapped IPv6 never matches; write 192.0.2.0/24"),
        ("tcp ::ffff:0:0/96 80", "IPv4-mapped IPv6 never matches; write 0.0.0.0/0"),
        ("tcp ::ffff:192.0.2.1 80", "IPv4-mapped IPv6 never matches; write 192.0.2.1"),
        ("udp 224.0.0.251 5353", "'224.0.0.251' never matches: the kernel delivers multicast"),
        ("tcp 224.0.0.0/4 80", "never matches: the kernel delivers multicast without looking"),
        ("tcp 239.255.0.0/16 80", "never matches: the kernel delivers multicast"),
        ("udp ff02::fb 5353", "never matches: the kernel delivers multicast"),
        ("udp ff00::/8 *", "never matches: the kernel delivers multicast"),
        ("udp 255.255.255.255 67", "never matches: the kernel delivers broadcasts"),
        ("tcp 0.0.0.0 80", "no packet has the address 0.0.0.0; write 0.0.0.0/0 for all"),
        ("tcp :: 80", "no packet has the address ::; write ::/0 for all addresses"),
        ("udp 192.0.2.1 53 from 224.0.0.0/8", "source '224.0.0.0/8': no packet comes from there"),
        ("tcp ::1 0", "ports '0': there is no port 0; use '*' for any port"),
        ("tcp ::1 0-80", "there is no port 0; use '*' for any port"),
        ("tcp ::1 0-65535", "there is no port 0; use '*' for any port"),
        ("tcp ::1 90-80", "ports '90-80': the range 90-80 is descending"),
        ("tcp ::1 80-0", "the range 80-0 is descending"),
        ("tcp ::1 65536", "ports '65536': expected numbers from 1 to 65535"),
        ("tcp ::1 80,,443", "ports '80,,443': expected numbers from 1 to 65535"),
        ("tcp ::1 80,*", "ports '80,*': expected numbers from 1 to 65535"),
        ("tcp ::1 080", "ports '080': expected numbers from 1 to 65535"),
        ("tcp ::1 80-", "ports '80-': expected numbers from 1 to 65535"),
        ("tcp ::1 htttp", "ports 'htttp': /etc/services has no tcp service 'htttp'; expected"),
        ("tcp ::1 tftp", "ports 'tftp': /etc/services has no tcp service 'tftp'"),
        ("tcp ::1 80,http-https", "/etc/services has no tcp service 'http-https'"),
        ("tcp 192.0.2.9-192.0.2.1 80", "range '192.0.2.9-192.0.2.1' is descending"),
        ("tcp 192.0.2.9-2001:db8::1 80", "the addresses are of different families"),
        (
            "tcp 192.0.2.1-9 80",
            "expected two addresses without a length, as in 192.0.2.1-192.0.2.9",
        ),
        ("tcp 192.0.2.1 80 from @office", "'from' takes one prefix, and no set, list or range"),
        ("tcp 192.0.2.1 80 from ::1,::2", "'from' takes one prefix, and no set, list or range"),
        ("tcp 192.0.2.1-192.0.2.9/30 80", "expected two addresses without a length"),
        ("tcp 192.0.2.1-192.0.2.9-192.0.2.10 80", "expected two addresses without a length"),
        ("tcp 192.0.2.1- 80", "expected two addresses without a length"),
        ("tcp -192.0.2.1 80", "expected an IPv4 or IPv6 address"),
        ("tcp 192.0.2.1,,192.0.2.2 80", "expected an IPv4 or IPv6 address"),
        ("tcp ::fffe:ffff:ffff-::ffff:0:5 80", "IPv4-mapped IPv6 never matches"),
        ("tcp 223.255.255.254-224.0.0.3 80", "prefix '224.0.0.0/30 of 223.255.255.254-224.0.0.3'"),
        ("tcp 192.0.2.1,2001:db8::1 80 from 192.0.2.0/24", "'from' takes a rule whose prefixes"),
        ("tcp ::1-ffff:ffff:ffff:ffff:: 1,2,3,4,5,6,7,8,9,10", "never matches"),
        ("tcp ::1 \u0661", "expected numbers from 1 to 65535"),
        ("tcp ::1 80 443", "unknown word '443': 'to PORT', 'from PREFIX', 'dev INTERFACE', "),
        ("tcp ::1 80 missing=reject", "unknown word 'missing=reject'"),
        ("tcp ::1 80 from", "a prefix is expected after 'from'"),
        ("tcp ::1 80 from 192.0.2.0/24", "source '192.0.2.0/24' is of another address family"),
        ("tcp ::1 80 from ::2 from ::3", "'from' is given twice"),
        ("tcp ::1 80 dev", "an interface is expected after 'dev'"),
        ("tcp ::1 80 dev eth/0", "interface 'eth/0': no interface can have this name"),
        ("tcp ::1 80 dev eth0:1", "interface 'eth0:1': no interface can have this name"),
        ("tcp ::1 80 dev abcdefghijklmnop", "the name is longer than 15 bytes"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the message is looked at below
        parse(text)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["tcp 0.0.0.0/0 80", "udp 224.0.0.0/3 80", "udp 240.0.0.0/4 80", "udp fe00::/7 80",
     "udp 0.0.0.0/8 80", "tcp ::/127 80", "udp 255.255.255.254/31 80", "udp 223.255.255.255 80"],
)  # fmt: skip
def test_addresses_that_the_kernel_asks_about_are_among_them(text: str) -> None:
    assert format_rule(parse(text)[0]) == text


def test_a_pass_rule_for_multicast_says_what_happens_anyway() -> None:
    notices: list[str] = []
    parse_rule(Action.PASS, "udp 224.0.0.251 5353", "web", HERE, notices)
    (notice,) = notices
    assert notice.startswith("224.0.0.251 never meets a rule, so nothing has to pass: the kernel")
    with pytest.raises(ValueError, match="never matches"):
        parse("udp 224.0.0.251 5353", Action.REJECT)


@pytest.mark.parametrize("action", [Action.REJECT, Action.PASS])
def test_missing_pass_is_for_bind(action: Action) -> None:
    with pytest.raises(ValueError, match="'missing=pass' is for Bind= only"):
        parse("tcp ::1 80 missing=pass", action)


def test_words_of_a_command_line_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^protocol 'ftp'"):
        parse_words(Action.BIND, ["ftp", "::1", "80"], "web", HERE, [])


def test_prefix() -> None:
    notices: list[str] = []
    assert parse_prefix("192.0.2.0/24", notices) == (INET, 0xC0000200, 24)
    assert parse_prefix("2001:db8::", notices) == (INET6, V6, 128)
    assert notices == []


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("tcp 192.0.2.7/32 80-80", "tcp 192.0.2.7 80"),
        ("udp 2001:DB8:0::/64 *", "udp 2001:db8::/64 *"),
        (
            "tcp ::1 1-2 missing=pass dev lo from ::2/128",
            "tcp ::1 1-2 from ::2 dev lo missing=pass",
        ),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    (binding,) = parse(text)
    assert format_rule(binding) == canonical
    assert parse(canonical) == [binding]


def test_round_trip_and_agreement_with_the_standard_library() -> None:
    chance = random.Random(3)
    for _ in range(2000):
        family = chance.choice([INET, INET6])
        bits = FAMILY_BITS[family]
        length = chance.randint(0, bits)
        address = chance.getrandbits(bits) >> (bits - length) << (bits - length)
        if (family == INET6 and address >> 32 == 0xFFFF) or why_unasked(family, address, length):
            continue
        first = chance.randint(1, 65535)
        ports = chance.choice([(first, first), (first, chance.randint(first, 65535)), (0, 65535)])
        source_length = chance.randint(1, bits)
        host_bits = bits - source_length
        source = (chance.getrandbits(bits) >> host_bits << host_bits, source_length)
        usual = source[0] >> 32 != 0xFFFF and not why_unasked(family, *source)
        binding = Binding(
            "web",
            Action.BIND,
            chance.choice([TCP, UDP]),
            family,
            address,
            length,
            *ports,
            chance.choice([None, source]) if usual else None,
            chance.choice([None, "eth0"]),
            chance.choice([False, True]),
            HERE,
        )
        text = format_rule(binding)
        assert parse(text) == [binding]
        network = IPv4Network if family == INET else IPv6Network
        assert ip_network(text.split()[1]) == network((address, length))

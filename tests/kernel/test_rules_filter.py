"""``rules`` with conditions: which rules are shown, in force and pending."""

from __future__ import annotations

import json

import pytest

from sockreg.errors import EXIT_OK, EXIT_USAGE
from tests.kernel.host import Host

LINES = (
    "[web]",
    "Bind=tcp 192.0.2.0/24 80",
    "Bind=tcp 192.0.2.0/25 8000-8999",
    "Bind=tcp 2001:db8::/64 80",
    "Reject=tcp 192.0.2.9 *",
    "[dns]",
    "Bind=udp 192.0.2.0/24 53",
    "Bind=udp 198.51.100.0/24 53 dev absent",
)
ALL = (
    "tcp 192.0.2.0/24 80",
    "tcp 192.0.2.0/25 8000-8999",
    "tcp 2001:db8::/64 80",
    "tcp 192.0.2.9 *",
    "udp 192.0.2.0/24 53",
    "udp 198.51.100.0/24 53 dev absent",
)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((), (0, 1, 2, 3, 4, 5)),
        (("--label", "web"), (0, 1, 2, 3)),
        (("--label", "dns"), (4, 5)),
        (("--proto", "udp"), (4, 5)),
        (("--proto", "tcp", "--label", "dns"), ()),
        (("--port", "80"), (0, 2, 3)),
        (("--port", "8500"), (1, 3)),
        (("--port", "50-60"), (3, 4, 5)),
        (("--port", "8999-9100,53"), (1, 3, 4, 5)),
        (("--port", "9000"), (3,)),
        (("--port", "*"), (0, 1, 2, 3, 4, 5)),
        # A prefix: the rules for any address of it, so those that contain it and those in it.
        (("--prefix", "192.0.2.0/24"), (0, 1, 3, 4)),
        (("--prefix", "192.0.2.9"), (0, 1, 3, 4)),
        (("--prefix", "192.0.2.200"), (0, 4)),
        (("--prefix", "0.0.0.0/0"), (0, 1, 3, 4, 5)),
        (("--prefix", "::/0"), (2,)),
        (("--prefix", "2001:db8::7"), (2,)),
        (("--prefix", "2001:db8:1::/64"), ()),
        (("--prefix", "198.51.100.7", "--proto", "udp", "--port", "53", "--label", "dns"), (5,)),
    ],
)
def test_rules_that_meet_all_conditions(
    host: Host, arguments: tuple[str, ...], shown: tuple[int, ...]
) -> None:
    host.load(*LINES)
    expected = [ALL[number] for number in shown]
    outcome = host.run("rules", *arguments)
    assert outcome.status == EXIT_OK
    heading, *lines = outcome.out.splitlines()
    assert heading.split() == ["ACTION", "LABEL", "RULE", "PLACE"]
    rows = [line for line in lines if not line.startswith("pending: ")]
    assert len(rows) == len(expected)
    assert all(f"  {rule}  " in row for rule, row in zip(expected, rows, strict=True))
    pending = [line for line in lines if line.startswith("pending: ")]
    assert len(pending) == (5 in shown)
    found = host.json("rules", *arguments)
    assert [rule["rule"] for rule in found] == expected
    assert [rule["pending"] for rule in found] == [number == 5 for number in shown]


def test_none_that_matches_is_said_and_is_no_failure(host: Host) -> None:
    host.load(*LINES)
    outcome = host.run("rules", "--label", "wbe", "--port", "80")
    assert outcome.status == EXIT_OK
    assert outcome.err == "none of 6 rules matches --label wbe --port 80\n"
    assert len(outcome.out.splitlines()) == 1
    outcome = host.run("--json", "rules", "--label", "wbe")
    assert outcome.status == EXIT_OK
    assert json.loads(outcome.out)["rules"] == []
    assert outcome.err == "none of 6 rules matches --label wbe\n"


def test_host_bits_are_cleared_with_a_notice(host: Host) -> None:
    host.load(*LINES)
    outcome = host.run("rules", "--prefix", "192.0.2.7/24")
    assert "192.0.2.7/24 has host bits set and is read as 192.0.2.0/24" in outcome.err
    assert len(outcome.out.splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prefix", "192.0.2.0/33"), "the length must be from 0 to 32"),
        (("--prefix", "web"), "expected an IPv4 or IPv6 address"),
        (("--prefix", "::ffff:192.0.2.1"), "write 192.0.2.1"),
        (("--prefix", ""), "expected an IPv4 or IPv6 address"),
        (("--port", "0"), "there is no port 0"),
        (("--port", "htttp"), "expected numbers from 1 to 65535"),
        (("--port", ""), "expected numbers from 1 to 65535"),
        (("--proto", "sctp"), "--proto"),
        (("--label", "a:b"), "contains ':'"),
        (("--label", ""), "is empty"),
    ],
)
def test_wrong_conditions_are_named(host: Host, arguments: tuple[str, ...], said: str) -> None:
    host.load(*LINES)
    outcome = host.run("rules", *arguments)
    assert (outcome.status, outcome.out) == (EXIT_USAGE, "")
    assert said in outcome.err

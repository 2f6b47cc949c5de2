"""``sockreg check --probe``: where the answers of UDP servers come from, as a client sees it."""

from __future__ import annotations

import json
import select

import pytest

from sockreg.errors import EXIT_CONFIG, EXIT_OK, EXIT_USAGE
from tests.kernel.host import Host
from tests.kernel.test_udp import (
    CASES,
    IP_PKTINFO,
    Client,
    example,
)
from tests.netns import UDP


def load_rule(host: Host, asked: str, port: str = "53") -> None:
    prefix = "2001:db8::/64" if ":" in asked else "192.0.2.0/24"
    host.load("[dns]", f"Bind=udp {prefix} {port}")


def probed(host: Host, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """The exit status and the findings."""
    outcome = host.run("--json", "check", "--probe", *arguments)
    return outcome.status, json.loads(outcome.out)["findings"]


@pytest.mark.parametrize("case", CASES)
def test_a_server_that_answers_from_the_address_that_was_asked(host: Host, case: str) -> None:
    bound, pktinfo, asked = CASES[case]
    load_rule(host, asked)
    with example(host, bound, pktinfo), Client(host, asked) as client:
        assert client.ask() == f"hello: sent to {asked}\n"
        status, (finding,) = probed(host)
    assert (status, finding["severity"], finding["check"]) == (EXIT_OK, "note", "udp-answer")
    assert finding["what"].endswith("was answered from there")


@pytest.mark.parametrize("case", CASES)
def test_a_server_that_ignores_the_address_that_was_asked(host: Host, case: str) -> None:
    """It is told the address, which silences check without a probe, but sends as it always did."""
    bound, pktinfo, asked = CASES[case]
    load_rule(host, asked)
    with host.serve("dns", bound, 53, UDP) as server, Client(host, asked) as client:
        server.sock.setsockopt(*pktinfo, 1)
        source, _ = client.ask_in_vain().split()
        assert json.loads(host.run("--json", "check").out)["findings"] == []
        status, (finding,) = probed(host)
    assert (status, finding["severity"], finding["check"]) == (EXIT_CONFIG, "error", "udp-address")
    assert source in finding["what"].partition("was answered from ")[2]
    assert finding["fix"].startswith("the server gets the address, but does not use it")


def test_a_server_that_is_not_told_the_address(host: Host) -> None:
    load_rule(host, "192.0.2.1")
    with host.serve("dns", "127.0.0.1", 53, UDP, unit="dns.socket"):
        status, (finding,) = probed(host)
        assert (status, finding["check"]) == (EXIT_CONFIG, "udp-address")
        assert finding["fix"].startswith("PassPacketInfo=yes in [Socket] of dns.socket")
    for unit, server in (("dns.service", "its server of dns.service"), ("-", "its server must")):
        with host.serve("dns", "127.0.0.1", 53, UDP, unit=unit):
            for found in probed(host)[1], json.loads(host.run("--json", "check").out)["findings"]:
                (finding,) = found
                assert finding["check"] == "udp-address"
                assert server in finding["fix"]
                assert "IP_PKTINFO itself" in finding["fix"]
                assert "[Socket]" not in finding["fix"]


def test_another_port(host: Host) -> None:
    load_rule(host, "192.0.2.1", "5353")
    with host.serve("dns", "0.0.0.0", 53, UDP, unit="dns.socket"):
        status, (finding,) = probed(host)
    assert (status, finding["check"]) == (EXIT_CONFIG, "udp-port")
    assert finding["what"].endswith("to 192.0.2.1:5353 was answered from 127.0.0.1:53")
    assert finding["fix"] == "ListenDatagram= with the port of the rule in dns.socket"


def test_a_server_that_says_nothing(host: Host) -> None:
    """What is sent to the port of DNS is a query, and nothing is concluded from silence."""
    load_rule(host, "192.0.2.1")
    with host.namespace.listen("127.0.0.1", 53, UDP) as sock:
        sock.setsockopt(*IP_PKTINFO, 1)
        assert host.register([("dns", sock)], unit="dns.socket").status == EXIT_OK
        status, (finding,) = probed(host)
        assert (status, finding["severity"], finding["check"]) == (EXIT_OK, "note", "udp-answer")
        assert "a DNS query to 192.0.2.1:53 shows nothing: no answer came" in finding["what"]
        query = sock.recv(999)
    # One question: the name servers of the root.
    assert query[2:] == bytes.fromhex("0100 0001 0000 0000 0000 00 0002 0001")


def test_nothing_is_sent_where_rules_take_the_answers(host: Host) -> None:
    host.load("[dns]", "Bind=udp 127.0.0.0/8 *")
    with host.namespace.listen("127.0.0.1", 53, UDP) as sock:
        assert host.register([("dns", sock)], unit="dns.socket").status == EXIT_OK
        _, found = probed(host)
        assert [
            "nothing was sent" in it["what"] for it in found if it["check"] == "udp-answer"
        ] == [True]
        assert select.select([sock], [], [], 0.2)[0] == []


def test_a_rule_for_the_own_address_of_a_socket_needs_nothing(host: Host) -> None:
    host.namespace.add_local("198.51.100.7/32")
    host.load("[dns]", "Bind=udp 198.51.100.7 53 from 127.0.0.0/8")
    with host.serve("dns", "198.51.100.7", 53, UDP), Client(host, "198.51.100.7") as client:
        assert client.ask() == "dns"
        assert json.loads(host.run("--json", "check").out)["findings"] == []


def test_files_alone_cannot_be_probed(host: Host) -> None:
    assert host.run("check", "--files", "--probe").status == EXIT_USAGE

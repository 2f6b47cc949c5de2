"""Packets that do not arrive, and what the commands say to do about it: done, with a client on the
wire before and after, and neighbours that stay reachable.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.kernel.host import Host
from tests.netns import UDP, Namespace, connect

NEIGHBOURS = {"198.51.100.2": 22, "2001:db8:1::2": 22}


@pytest.fixture
def client(host: Host) -> Iterator[Namespace]:
    """A neighbour on the wire with a server of its own; the host is its router."""
    with Namespace() as outside:
        connect(
            host.namespace,
            "eth0",
            outside,
            "eth0",
            ("198.51.100.1/24", "198.51.100.2/24", "2001:db8:1::1/64", "2001:db8:1::2/64"),
        )
        outside.run("ip", "route", "add", "default", "via", "198.51.100.1")
        outside.run("ip", "route", "add", "default", "via", "2001:db8:1::1")
        with outside.serve("neighbour", "::", 22):
            yield outside


def finding(host: Host, kind: str) -> dict[str, str]:
    found = json.loads(host.run("--json", "check").out)["findings"]
    (only,) = (it for it in found if it["check"] == kind)
    return dict(only)


def run(host: Host, command: str, address: str) -> None:
    """A command as printed, with the operator's choices in place of the words in capitals."""
    words = command.replace("ADDRESS", address).replace("INTERFACE", "eth0").split()
    # Without detection of duplicates, an IPv6 address is there at once.
    nodad = ["nodad"] if words[1] == "address" and ":" in address else []
    host.namespace.run(*words, *nodad)


def command_in(fix: str) -> str:
    return fix[fix.index("ip ") :].partition(";")[0].partition(",")[0]


def neighbours(host: Host) -> dict[str, str]:
    return {address: host.namespace.ask(address, 22) for address in NEIGHBOURS}


@pytest.mark.parametrize(
    ("prefix", "address", "command"),
    [
        ("203.0.113.0/24", "203.0.113.7", "ip route add local 203.0.113.0/24 dev lo"),
        ("203.0.113.7", "203.0.113.7", "ip route add local 203.0.113.7 dev lo"),
        ("2001:db8:5::/48", "2001:db8:5::7", "ip route add local 2001:db8:5::/48 dev lo"),
        ("198.51.100.7", "198.51.100.7", "ip address add 198.51.100.7/32 dev eth0"),
        ("198.51.100.0/28", "198.51.100.7", "ip address add ADDRESS/32 dev eth0"),
        ("198.51.100.0/24", "198.51.100.7", "ip address add ADDRESS/32 dev eth0"),
        ("198.51.0.0/16", "198.51.100.7", "ip address add ADDRESS/32 dev eth0"),
        ("2001:db8:1::7", "2001:db8:1::7", "ip address add 2001:db8:1::7/128 dev eth0"),
        ("2001:db8:1::/64", "2001:db8:1::7", "ip address add ADDRESS/128 dev eth0"),
        ("2001:db8:0::/46", "2001:db8:1::7", "ip address add ADDRESS/128 dev eth0"),
        ("169.254.0.0/16", "169.254.7.7", "ip address add ADDRESS/32 dev INTERFACE"),
        ("169.254.7.7", "169.254.7.7", "ip address add 169.254.7.7/32 dev INTERFACE"),
        ("172.16.7.7", "172.16.7.7", "ip address add 172.16.7.7/32 dev lo"),
        ("172.16.0.0/12", "172.16.7.7", "ip address add ADDRESS/32 dev lo"),
    ],
)
def test_what_check_says_brings_clients_here_and_loses_no_neighbour(
    host: Host, client: Namespace, prefix: str, address: str, command: str
) -> None:
    host.namespace.add_route("172.16.0.0/16", "198.51.100.2")  # another site
    host.load("[web]", f"Bind=tcp {prefix} 80")
    with host.serve("web", "::", 8080):
        assert client.ask(address, 80, timeout=1) in ("timeout", "unreachable")
        before = neighbours(host)
        assert set(before.values()) == {"neighbour"}
        found = json.loads(host.run("--json", "check").out)["findings"]
        (fix,) = (it["fix"] for it in found if it["check"] in ("no-route", "partly-local"))
        assert command_in(fix) == command
        listed = " ".join(host.run("listeners").out.split())
        if host.run("check").status:  # no address of it is local
            assert f"so nothing arrives: {command}" in listed
        run(host, command, address)
        assert client.ask(address, 80) == "web"
        assert neighbours(host) == before
        assert host.run("check").status == 0
        told = host.ok("explain", "tcp", address, "80")
        assert "not local" not in told


@pytest.mark.parametrize(
    ("prefix", "address"),
    [
        ("198.51.100.0/24", "198.51.100.7"),
        ("0.0.0.0/0", "198.51.100.7"),
        ("0.0.0.0/0", "203.0.113.7"),
        ("2001:db8:1::/64", "2001:db8:1::7"),
        ("::/0", "2001:db8:1::7"),
        ("203.0.113.0/24", "203.0.113.7"),
    ],
)
def test_what_explain_says_does_the_same(
    host: Host, client: Namespace, prefix: str, address: str
) -> None:
    host.load("[web]", f"Bind=tcp {prefix} 80")
    with host.serve("web", "::", 8080):
        assert client.ask(address, 80, timeout=1) in ("timeout", "unreachable")
        told = host.ok("explain", "tcp", address, "80")
        assert f"{address} is not local here" in told
        (command,) = (part for part in told.split("'") if part.startswith("ip "))
        run(host, command, address)
        assert client.ask(address, 80) == "web"
        assert set(neighbours(host).values()) == {"neighbour"}
        assert "not local" not in host.ok("explain", "tcp", address, "80")


def test_a_broadcast_address_never_gets_to_a_rule(host: Host, client: Namespace) -> None:
    host.namespace.run("ip", "address", "add", "10.9.9.1/24", "brd", "+", "dev", "eth0")
    host.load("[web]", "Bind=udp 10.9.9.255 99")
    with host.serve("web", "0.0.0.0", 8080, UDP) as web, client.new_socket(2, 2) as sock:
        client.add_address("10.9.9.2/24", "eth0")
        sock.setsockopt(1, 6, 1)  # SO_BROADCAST
        found = finding(host, "broadcast")
        assert found["severity"] == "error"
        assert "10.9.9.255 99 is for the broadcast address of a subnet" in found["what"]
        told = host.run("listeners").out
        assert "a broadcast address, so it never matches" in " ".join(told.split())
        assert "'ip " not in host.ok("explain", "udp", "10.9.9.255", "99")
        told = host.ok("explain", "udp", "10.9.9.255", "99")
        assert "10.9.9.255 is the broadcast address of a subnet" in told
        asked = host.counters("web", "udp")
        with host.namespace.serve("plain", "0.0.0.0", 99, UDP) as plain:
            # What the finding says instead: a socket at 0.0.0.0 gets them.
            sock.settimeout(5)
            sock.sendto(b"?", ("10.9.9.255", 99))
            assert sock.recv(99) == b"plain"
            assert (plain.answered, web.answered) == (1, 0)
        assert host.counters("web", "udp") == asked

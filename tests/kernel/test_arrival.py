"""Packets that do not arrive, and what the commands say to do about it: done, with a client on the
wire before and after, and neighbours that stay reachable.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kernel.host import Host
from tests.netns import TCP, UDP, Namespace, Server, connect

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


def look_again(client: Namespace, address: str, port: int) -> str:
    """Ask, without what the client remembers of a neighbour that was not there."""
    client.run("ip", "neighbour", "flush", "dev", "eth0")
    return client.ask(address, port)


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
        assert look_again(client, address, 80) == "web"
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
        assert look_again(client, address, 80) == "web"
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


MAKE = ("ip", "link", "add", "gone0", "type", "veth", "peer", "name", "gone1")
NEVER = ("224.0.0.1", "239.1.2.3", "255.255.255.255", "ff02::1", "ff05::2")


@pytest.mark.parametrize("address", NEVER)
def test_the_kernel_does_not_ask_about_multicast(
    host: Host, client: Namespace, address: str
) -> None:
    """That rules for such addresses alone are refused costs nobody a packet."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    name = "ipv6" if ":" in address else "ipv4"
    wide = "::/0" if ":" in address else "0.0.0.0/0"
    host.load("[web]", f"Bind=udp {wide} 99")
    with (
        host.serve("web", "::", 8080, UDP) as web,
        host.namespace.serve("plain", "::", 99, UDP) as plain,
        client.new_socket(family, socket.SOCK_DGRAM) as sock,
    ):
        there = "2001:db8:1::1" if ":" in address else "198.51.100.1"
        _join(plain.sock, address, host.namespace)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, 25, b"eth0")  # SO_BINDTODEVICE
        sock.settimeout(5)
        sock.sendto(b"?", (there, 99))
        assert sock.recv(99) == b"web"  # the client can be heard
        before = host.counters("web", "udp", name)
        sock.sendto(b"?", (address, 99))
        assert sock.recv(99) == b"plain"
        assert (web.answered, plain.answered) == (1, 1)
        assert host.counters("web", "udp", name) == before
        found = host.json("explain", "udp", address, "99")
        assert found["outcome"] == "unreached"
        assert "without looking at any rule" in found["before"][0]
        refused = host.run("bind", "web", "udp", address, "99")
        assert refused.status != 0
        assert "never matches" in refused.err


def _join(sock: socket.socket, group: str, namespace: Namespace) -> None:
    if group == "255.255.255.255":
        return
    with namespace.entered():
        index = socket.if_nametoindex("eth0")
    if ":" in group:
        request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("=I", index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
    else:
        request = struct.pack("=4s4si", socket.inet_aton(group), bytes(4), index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)


@contextmanager
def bound_to(host: Host, device: str, protocol: int) -> Iterator[Server]:
    kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
    sock = host.namespace.new_socket(socket.AF_INET6, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, 25, device.encode())
    sock.bind(("::", 8080))
    if protocol == TCP:
        sock.listen()
    with Server("web", sock) as server:
        yield server


@pytest.mark.parametrize(
    ("address", "protocol"),
    [
        ("192.0.2.7", TCP),
        *(
            pytest.param(*others, marks=pytest.mark.long)
            for others in (("192.0.2.7", UDP), ("2001:db8::7", TCP), ("2001:db8::7", UDP))
        ),
    ],
)
def test_a_socket_that_is_bound_to_an_interface(
    host: Host, client: Namespace, address: str, protocol: int
) -> None:
    name = "tcp" if protocol == TCP else "udp"
    prefix = "2001:db8::/64" if ":" in address else "192.0.2.0/24"
    rule = f"Bind={name} {prefix} 80"
    host.load("[web]", rule)
    with Namespace() as other, bound_to(host, "eth0", protocol) as server:
        ends = ("203.0.113.1/24", "203.0.113.2/24", "2001:db8:2::1/64", "2001:db8:2::2/64")
        connect(host.namespace, "eth1", other, "eth0", ends)
        # The answers to the other one leave by the wrong interface.
        host.namespace.run("ip", "route", "add", "default", "via", "198.51.100.2")
        host.namespace.run("ip", "route", "add", "default", "via", "2001:db8:1::2")
        other.run("ip", "route", "add", "default", "via", "203.0.113.1")
        other.run("ip", "route", "add", "default", "via", "2001:db8:2::1")
        told = host.register([("web", server.sock)]).text
        assert "is bound to interface eth0: clients that come by another one get no answer" in told
        assert client.ask(address, 80, protocol) == "web"
        assert other.ask(address, 80, protocol) == "timeout"
        assert _outcome(host, name, address, "eth0") == "socket"
        assert _outcome(host, name, address, "eth1") == "unanswered"
        assert "is bound to interface eth0" in host.ok("explain", name, address, "80")
        assert "clients time out" in host.ok("explain", name, address, "80", "dev", "eth1")
        assert "is bound to interface eth0" in " ".join(host.ok("listeners").split())
        found = finding(host, "bound-socket")
        assert found["severity"] == "warning"
        # The first fix: other interfaces are left to what else there is.
        fix = found["fix"].partition(" in the rule")[0].removeprefix("write ")
        assert fix == "dev eth0"
        with host.namespace.serve("plain", "::", 80, protocol):
            host.apply("[web]", f"{rule} {fix}")
            assert client.ask(address, 80, protocol) == "web"
            assert other.ask(address, 80, protocol) == "plain"
        assert "bound-socket" not in host.run("check").out
        assert _outcome(host, name, address, "eth0") == "socket"
        assert _outcome(host, name, address, "eth1") == "nobody"
        host.apply("[web]", f"{rule} dev eth1")
        assert other.ask(address, 80, protocol) == "timeout"
        assert finding(host, "bound-socket")["severity"] == "error"
        # The second one: a server that binds to no interface.
        with host.serve("web", "::", 8081, protocol):
            host.apply("[web]", rule)
            assert other.ask(address, 80, protocol) == "web"
            assert client.ask(address, 80, protocol) == "web"
            assert "bound-socket" not in host.run("check").out


def test_a_socket_whose_interface_is_gone(host: Host, client: Namespace) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    host.namespace.run(*MAKE)
    with bound_to(host, "gone0", TCP) as server:
        host.register([("web", server.sock)])
        for _ in range(2):  # made again, it has another index
            host.namespace.run("ip", "link", "del", "gone0")
            assert client.ask("192.0.2.7", 80, timeout=1) in ("timeout", "refused", "reset")
            found = finding(host, "bound-socket")
            assert found["severity"] == "error"
            assert "bound to an interface that is gone" in found["what"]
            assert _outcome(host, "tcp", "192.0.2.7", "eth0") == "unanswered"
            assert "that is gone" in host.register([("web", server.sock)]).text
            host.namespace.run(*MAKE)
            assert finding(host, "bound-socket")["severity"] == "error"
    with host.serve("web", "::", 8080):
        assert client.ask("192.0.2.7", 80) == "web"


def test_a_socket_at_a_link_local_address(host: Host, client: Namespace) -> None:
    host.load("[web]", "Bind=tcp 2001:db8::/64 80")
    host.namespace.add_address("fe80::99/64", "eth0")
    with host.namespace.entered():
        scope = socket.if_nametoindex("eth0")
    sock = host.namespace.new_socket(socket.AF_INET6, socket.SOCK_STREAM)
    sock.bind(("fe80::99", 8080, 0, scope))
    sock.listen()
    with Server("web", sock):
        assert "is bound to interface eth0" in host.register([("web", sock)]).text
        assert client.ask("2001:db8::7", 80) == "web"
        assert host.ask("2001:db8::7", 80) in ("timeout", "reset")
        assert _outcome(host, "tcp", "2001:db8::7", "lo") == "unanswered"
        assert finding(host, "bound-socket")["severity"] == "warning"


def _outcome(host: Host, protocol: str, address: str, device: str) -> str:
    found = host.json("explain", protocol, address, "80", "dev", device)
    return str(found["outcome"])

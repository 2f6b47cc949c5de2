"""UDP in earnest: where answers come from, and who keeps which datagrams."""

from __future__ import annotations

import os
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sockreg.errors import EXIT_OK
from sockreg.systemd import journal
from tests.kernel.host import Host
from tests.netns import TCP, UDP
from tests.tree import ROOT

EXAMPLE = ROOT / "docs/examples/udp_answer.py"
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]
RULES = ["[dns]", "Bind=udp 192.0.2.0/24 53", "Bind=udp 2001:db8::/64 53"]

# linux/in.h, linux/in6.h; absent from Python's socket module
IP_PKTINFO = (socket.IPPROTO_IP, 8)
IP_RECVORIGDSTADDR = (socket.IPPROTO_IP, 20)
IPV6_RECVPKTINFO = (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)
IPV6_RECVORIGDSTADDR = (socket.IPPROTO_IPV6, 74)
IPV6_FREEBIND = (socket.IPPROTO_IPV6, 78)

# Bound address, what PassPacketInfo=yes sets for it, and who is asked.
CASES = {
    "IPv4": ("127.0.0.1", IP_PKTINFO, "192.0.2.7"),
    "any IPv4": ("0.0.0.0", IP_PKTINFO, "192.0.2.7"),
    "IPv6": ("::1", IPV6_RECVPKTINFO, "2001:db8::7"),
    "any IPv6": ("::", IPV6_RECVPKTINFO, "2001:db8::7"),
    "IPv4 by a dual-stack socket": ("::", IPV6_RECVPKTINFO, "192.0.2.7"),
}
Option = tuple[int, int]


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextmanager
def example(host: Host, address: str, *options: Option) -> Iterator[subprocess.Popen[str]]:
    """The example, run by a user without any privilege, on a registered socket on port 53."""
    with host.namespace.listen(address, 53, UDP) as sock:
        for option in options:
            sock.setsockopt(*option, 1)
        sockets = [("dns", sock)]
        assert host.register(sockets, unit="dns.socket").status == EXIT_OK
        command = [*NOBODY, "/usr/bin/python3", "-c", EXAMPLE.read_text()]
        with host.passing(sockets) as (wrapper, fds):
            server = subprocess.Popen(
                [*wrapper, *command], pass_fds=fds, stderr=subprocess.PIPE, text=True
            )
    with server:
        try:
            yield server
        finally:
            server.kill()


class Client:
    """A client that connect()s, and whoever is told what it does not take."""

    def __init__(self, host: Host, address: str) -> None:
        family = family_of(address)
        own = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        self.connected, self.bystander = (
            host.namespace.new_socket(family, socket.SOCK_DGRAM) for _ in range(2)
        )
        for sock in (self.connected, self.bystander):
            sock.settimeout(20)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.connected.bind((own, 0))
        # Both have the same port. What is for the connected one alone, it gets.
        self.bystander.bind((own, self.connected.getsockname()[1]))
        self.connected.connect((address, 53))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connected.close()
        self.bystander.close()

    def ask(self) -> str:
        """The answer that the connected client accepts."""
        self.connected.send(b"hello")
        return self.connected.recv(999).decode()

    def ask_in_vain(self) -> str:
        """Where the answer comes from that the connected client does not accept."""
        self.connected.send(b"hello")
        _, source = self.bystander.recvfrom(999)
        self.connected.setblocking(False)
        with pytest.raises(BlockingIOError):
            self.connected.recv(999)
        return f"{source[0]} {source[1]}"


@pytest.fixture
def host(host: Host) -> Host:
    host.load(*RULES)
    return host


@pytest.mark.parametrize("case", CASES)
def test_the_example_answers_clients_that_connect(host: Host, case: str) -> None:
    bound, pktinfo, asked = CASES[case]
    with example(host, bound, pktinfo), Client(host, asked) as client:
        assert client.ask() == f"hello: sent to {asked}\n"


@pytest.mark.parametrize("case", CASES)
def test_without_packet_information_no_client_that_connects_is_answered(
    host: Host, case: str
) -> None:
    bound, _, asked = CASES[case]
    with example(host, bound), Client(host, asked) as client:
        source, port = client.ask_in_vain().split()
        assert source != asked
        assert port == "53"


def test_ipv6_addresses_of_a_local_route_need_freebind(host: Host) -> None:
    """Those that are on no interface; the kernel asks nothing of the kind for IPv4."""
    host.namespace.sysctl("net.ipv6.ip_nonlocal_bind", "0")
    with (
        example(host, "::1", IPV6_RECVPKTINFO, IPV6_FREEBIND),
        Client(host, "2001:db8::7") as client,
    ):
        assert client.ask() == "hello: sent to 2001:db8::7\n"
    with example(host, "::1", IPV6_RECVPKTINFO) as server, Client(host, "2001:db8::7") as client:
        client.connected.send(b"hello")
        assert server.stderr is not None
        assert select.select([server.stderr], [], [], 20)[0], "the server says nothing"
        refusal = "cannot reply from 2001:db8::7 to ::1: [Errno 22] Invalid argument\n"
        assert server.stderr.readline() == refusal


def test_another_port_than_the_socket_has_is_never_answered(host: Host) -> None:
    """The source of an answer can be chosen, its port cannot."""
    host.apply("[dns]", "Bind=udp 192.0.2.0/24 *")
    with example(host, "127.0.0.1", IP_PKTINFO), Client(host, "192.0.2.7") as client:
        client.connected.connect(("192.0.2.7", 5353))
        assert client.ask_in_vain() == "192.0.2.7 53"


@pytest.mark.parametrize(
    ("protocol", "address", "option"),
    [
        (UDP, "127.0.0.1", None),
        (UDP, "127.0.0.1", IP_PKTINFO),
        (UDP, "127.0.0.1", IP_RECVORIGDSTADDR),
        (UDP, "::", None),
        (UDP, "::", IPV6_RECVPKTINFO),
        (UDP, "::", IPV6_RECVORIGDSTADDR),
        (TCP, "127.0.0.1", None),
    ],
)
def test_register_tells_of_answers_from_the_wrong_address(
    host: Host, protocol: int, address: str, option: Option | None
) -> None:
    with host.namespace.listen(address, 53, protocol) as sock:
        if option is not None:
            sock.setsockopt(*option, 1)
        outcome = host.register([("dns", sock)], unit="dns.socket")
        assert outcome.status == EXIT_OK
        notices = [e for e in host.entries() if e["MESSAGE_ID"] == [journal.NOTICE]]
        warned = protocol == UDP and option is None
        assert len(notices) == warned
        assert ("the socket's own address, not the one" in outcome.err) == warned
        for notice in notices:
            assert "PassPacketInfo=yes" in notice["MESSAGE"][0]
            assert notice["SOCKREG_LABEL"] == ["dns"]
            assert notice["OBJECT_SYSTEMD_UNIT"] == ["dns.socket", "sockreg@dns.service"]


def test_a_connected_socket_keeps_its_packets_whatever_the_rules_say(host: Host) -> None:
    """As servers have one for each client they know: it comes before any rule."""
    host.ok("unload")
    with (
        host.namespace.new_socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        host.namespace.new_socket(socket.AF_INET, socket.SOCK_DGRAM) as own,
    ):
        client.bind(("127.0.0.1", 0))
        client.connect(("192.0.2.7", 53))
        own.bind(("192.0.2.7", 53))
        own.connect(client.getsockname())
        client.settimeout(20)
        own.settimeout(20)

        def kept() -> bool:
            question = os.urandom(8)
            client.send(question)
            arrived = own.recv(99) == question
            own.send(question[::-1])
            return arrived and client.recv(99) == question[::-1]

        assert kept()
        host.load(*RULES)
        assert kept()
        with (
            host.serve("dns", "127.0.0.1", 5301, UDP, unit="dns@1.socket"),
            host.serve("dns", "127.0.0.1", 5302, UDP, unit="dns@2.socket"),
        ):
            assert host.ask("192.0.2.7", 53, UDP) == "dns"
            assert kept()
            host.ok("drain", "dns")
            assert kept()
            host.apply("[dns]", "Reject=udp 192.0.2.0/24 *")
            assert host.ask("192.0.2.7", 53, UDP) == "refused"
            assert kept()
            host.apply()
            assert kept()
        host.ok("unload")
        assert kept()

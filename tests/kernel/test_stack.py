"""T6: the rest of the network stack finds the socket that a rule leads to.

docs/examples/balancer.bpf.c asks from XDP, TC and cgroup programs; nft and iptables have matches on
the socket of a packet.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.kernel.cgroups import Cgroups, own_cgroups
from tests.kernel.host import Host, bpftool
from tests.netns import TCP, UDP, Namespace, Server, connect
from tests.process import run
from tests.tree import ROOT

EXAMPLE = ROOT / "docs/examples/balancer.bpf.c"
NAMES = {TCP: "tcp", UDP: "udp"}
SERVED = ("192.0.2.7", "2001:db8::7")
REFUSED = ("192.0.2.9", "2001:db8::9")
NO_RULE = ("192.0.2.8", "2001:db8::8")
ON_ETH0, ON_LO = ("192.0.2.10", "2001:db8::10"), ("192.0.2.11", "2001:db8::11")
RULES = (
    "[web]",
    *(
        f"{kind}={name} {address} 80 {condition}".rstrip()
        for kind, addresses, condition in (
            ("Bind", SERVED, ""),
            ("Reject", REFUSED, ""),
            ("Bind", ON_ETH0, "dev eth0"),
            ("Bind", ON_LO, "dev lo"),
        )
        for name in NAMES.values()
        for address in addresses
    ),
)
MARK = 42
SO_MARK = 36  # asm-generic/socket.h

Attach = Callable[[Host, "Balancer"], None]
Packets = dict[int, int]  # port that the socket is bound to, 0 for none -> packets


@pytest.fixture
def client(host: Host) -> Iterator[Namespace]:
    """A client on the other end of eth0."""
    with Namespace() as there:
        ends = ("198.51.100.1/24", "198.51.100.2/24", "2001:db8:1::1/64", "2001:db8:1::2/64")
        connect(host.namespace, "eth0", there, "eth0", ends)
        there.add_route("192.0.2.0/24", "198.51.100.1")
        there.add_route("2001:db8::/64", "2001:db8:1::1")
        yield there


@pytest.fixture
def cgroups() -> Iterator[Cgroups]:
    with own_cgroups() as tree:
        yield tree


@contextmanager
def served(host: Host) -> Iterator[dict[int, Server]]:
    """A server of label web for each protocol, whose socket has a mark."""
    with (
        host.serve("web", "::", 8080) as stream,
        host.serve("web", "::", 8080, UDP) as datagrams,
    ):
        for server in (stream, datagrams):
            server.sock.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
        yield {TCP: stream, UDP: datagrams}


class Balancer:
    """The programs of the example, pinned."""

    def __init__(self, host: Host) -> None:
        self._pins = host.bpffs / "balancer"
        built = host.root / "balancer.bpf.o"
        run([str(ROOT / "bpf/compile.sh"), str(EXAMPLE), str(built)])
        run(["bpftool", "prog", "loadall", str(built), str(self._pins), "pinmaps", str(self._pins)])

    def pin(self, name: str) -> str:
        return str(self._pins / name)

    def packets(self) -> Packets:
        entries = bpftool("map", "dump", "pinned", self.pin("packets"))
        return {
            entry["formatted"]["key"]: entry["formatted"]["value"] for entry in entries if entry
        }


def attach_xdp(host: Host, balancer: Balancer) -> None:
    host.namespace.run(
        "ip", "link", "set", "dev", "eth0", "xdpgeneric", "pinned", balancer.pin("balance_xdp")
    )


def attach_tc(host: Host, balancer: Balancer) -> None:
    host.namespace.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    pinned = ("direct-action", "object-pinned", balancer.pin("balance_tc"))
    host.namespace.run("tc", "filter", "add", "dev", "eth0", "ingress", "bpf", *pinned)


@pytest.mark.parametrize("attach", [attach_xdp, attach_tc])
@pytest.mark.parametrize("protocol", [TCP, UDP], ids=["tcp", "udp"])
def test_programs_on_the_way_in(
    host: Host, client: Namespace, attach: Attach, protocol: int
) -> None:
    balancer = Balancer(host)
    attach(host, balancer)
    host.load(*RULES)

    def met(address: str) -> tuple[str, Packets]:
        """What the client got, and what the program saw meanwhile."""
        before = balancer.packets()
        answer = client.ask(address, 80, protocol)
        after = balancer.packets()
        return answer, {port: after[port] - before.get(port, 0) for port in after}

    with served(host) as servers, host.namespace.serve("plain", "::", 80, protocol):
        for address in (*SERVED, *ON_ETH0):
            answer, seen = met(address)
            assert answer == "web"
            # The SYN and the first ACK. Then the connection is found, on port 80.
            assert seen[8080] == (2 if protocol == TCP else 1)
        assert servers[protocol].answered == 4
        for address in (*NO_RULE, *ON_LO):
            answer, seen = met(address)
            assert answer == "plain"
            assert seen[80] > 0
            assert seen.get(8080, 0) == 0
        for address in REFUSED:
            answer, seen = met(address)
            assert answer == "refused"
            assert {port: count for port, count in seen.items() if count} == {0: 1}
        host.ok("drain", "web")
        for address in SERVED:
            answer, seen = met(address)
            assert answer == "refused"
            assert {port: count for port, count in seen.items() if count} == {0: 1}


def test_a_drained_label_takes_no_new_flows_and_keeps_its_connections(
    host: Host, client: Namespace
) -> None:
    """What a balancer sends elsewhere while a host is drained."""
    balancer = Balancer(host)
    attach_xdp(host, balancer)
    host.load(*RULES)
    with (
        host.namespace.listen("127.0.0.1", 8080) as listener,
        client.new_socket(socket.AF_INET, socket.SOCK_STREAM) as connected,
    ):
        host.register([("web", listener)])
        connected.connect((SERVED[0], 80))
        accepted, _ = listener.accept()
        with accepted:
            host.ok("drain", "web")
            before = balancer.packets()
            connected.sendall(b"still")
            assert accepted.recv(10) == b"still"
            assert client.ask(SERVED[0], 80) == "refused"
            after = balancer.packets()
            assert after[0] - before.get(0, 0) == 1
            assert after[80] > before.get(80, 0)


@pytest.mark.parametrize("protocol", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.usefixtures("client")
def test_a_program_before_a_client_connects(cgroups: Cgroups, host: Host, protocol: int) -> None:
    """A program of the client's cgroup: whether the service is on this host."""
    balancer = Balancer(host)
    host.load(*RULES)
    inside = cgroups.unit("client")
    for family in ("4", "6"):
        pinned = ("pinned", balancer.pin(f"balance_connect{family}"))
        run(
            [
                "bpftool",
                "cgroup",
                "attach",
                str(cgroups.path / "client"),
                f"connect{family}",
                *pinned,
            ]
        )
    kind = {TCP: "SOCK_STREAM", UDP: "SOCK_DGRAM"}[protocol]
    script = (
        "import socket, sys\n"
        "family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n"
        f"client = socket.socket(family, socket.{kind})\n"
        "client.connect_ex((sys.argv[1], 80))\n"
    )
    with served(host):
        # It looks up sockets on no interface.
        for addresses, port in ((SERVED, 8080), (REFUSED, 0), (NO_RULE, 0), (ON_ETH0, 0)):
            for address in addresses:
                before = balancer.packets()
                host.namespace.run(*inside, sys.executable, "-c", script, address)
                after = balancer.packets()
                assert after[port] - before.get(port, 0) == 1, address
                assert sum(after.values()) - sum(before.values()) == 1


@pytest.mark.parametrize("protocol", [TCP, UDP], ids=["tcp", "udp"])
def test_socket_matches_of_nft(host: Host, client: Namespace, protocol: int) -> None:
    nft = ("nft", "add")
    host.namespace.run(*nft, "table", "inet", "t")
    chain = "{ type filter hook prerouting priority mangle ; }"
    host.namespace.run(*nft, "chain", "inet", "t", "pre", chain)
    syn = "tcp flags syn" if protocol == TCP else ""
    for family in ("ipv4", "ipv6"):
        rule = f"meta nfproto {family} {NAMES[protocol]} dport 80 {syn} socket mark {MARK} counter"
        host.namespace.run(*nft, "rule", "inet", "t", "pre", *rule.split())

    def matched() -> list[int]:
        listing = host.namespace.run("nft", "list", "table", "inet", "t").stdout
        return [int(number) for number in re.findall(r"packets (\d+)", listing)]

    host.load()
    with served(host):
        for address in (*SERVED, *REFUSED):
            assert client.ask(address, 80, protocol) == "refused"
        assert matched() == [0, 0]
        host.apply(*RULES)
        for address in (*REFUSED, *NO_RULE):
            assert client.ask(address, 80, protocol) == "refused"
        assert matched() == [0, 0]
        for number, address in enumerate(SERVED):
            assert client.ask(address, 80, protocol) == "web"
            assert matched() == [1, number]


@pytest.mark.parametrize("protocol", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize(("command", "number"), [("iptables", 0), ("ip6tables", 1)])
def test_the_socket_match_of_iptables(
    host: Host, client: Namespace, command: str, number: int, protocol: int
) -> None:
    chain = ("-t", "mangle", "-A", "PREROUTING", "-p", NAMES[protocol], "--dport", "80")
    syn = ("--syn",) if protocol == TCP else ()
    # Its server is bound to the unspecified address. The mark tells whose socket it is.
    match = ("-m", "socket", "--nowildcard", "--restore-skmark", "-m", "mark", "--mark", str(MARK))
    host.namespace.run(command, *chain, *syn, *match)

    def matched() -> int:
        listing = host.namespace.run(command, "-t", "mangle", "-nvxL", "PREROUTING").stdout
        return int(listing.splitlines()[2].split()[0])

    host.load()
    with served(host):
        assert client.ask(SERVED[number], 80, protocol) == "refused"
        host.apply(*RULES)
        for address in (REFUSED[number], NO_RULE[number]):
            assert client.ask(address, 80, protocol) == "refused"
        assert matched() == 0
        assert client.ask(SERVED[number], 80, protocol) == "web"
        assert matched() == 1

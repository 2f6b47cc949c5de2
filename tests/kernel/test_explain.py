"""``sockreg explain`` says where a packet goes, and connections go there."""

from __future__ import annotations

import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from sockreg.errors import EXIT_NOT_LOADED, EXIT_USAGE
from tests.kernel.host import Host, cookie
from tests.netns import TCP, UDP, Server
from tests.netns.client import ask, family_of

NAMES = {TCP: "tcp", UDP: "udp"}
PORTS = range(1, 9)
PREFIXES = {
    "4": ["192.0.2.0/24", "192.0.2.0/28", "192.0.2.8/29", "192.0.2.8", "192.0.2.9", "192.0.2.14"],
    "6": ["2001:db8::/64", "2001:db8::/124", "2001:db8::8", "2001:db8::9", "2001:db8::e"],
}
ADDRESSES = {
    "4": [f"192.0.2.{host}" for host in (1, 8, 9, 14, 200)],
    "6": [f"2001:db8::{host}" for host in ("1", "8", "9", "e", "200")],
}
# Not in the prefixes: a rule would take the answers to datagrams.
SOURCES = {"4": ["127.0.0.1", "127.0.1.1", "127.0.1.9"], "6": ["2001:db8:1::1", "2001:db8:1::9"]}
SOURCE_PREFIXES = {"4": ["127.0.1.0/24", "127.0.1.9"], "6": ["2001:db8:1::9", "2001:db8:1::/120"]}


def random_rules(rng: random.Random) -> list[str]:
    """Sections of a configuration: bind, reject and pass rules that overlap in all ways."""
    lines = []
    taken = set()
    for _ in range(60):
        family = rng.choice("46")
        ports = rng.choice(["*", "2-5", "4-7", *map(str, PORTS)])
        source = rng.choice(["", "", f" from {rng.choice(SOURCE_PREFIXES[family])}"])
        matched = f"{rng.choice(['tcp', 'udp'])} {rng.choice(PREFIXES[family])} {ports}{source}"
        # Two ranges of one width that overlap would tie.
        group = matched.replace("4-7", "2-5")
        if group in taken:
            continue
        taken.add(group)
        label = rng.choice(["one", "one", "two", "shared", "empty"])
        kind = rng.choice(["Bind", "Bind", "Bind", "Reject", "Pass"])
        missing = rng.choice(["", " missing=pass"]) if kind == "Bind" else ""
        lines += [f"[{label}]", f"{kind}={matched}{missing}"]
    return lines


@contextmanager
def everybody(host: Host) -> Iterator[dict[str, str]]:
    """Registered and ordinary servers; yields the name that each socket's server answers."""
    names: dict[str, str] = {}
    with ExitStack() as stack:

        def known(server: Server) -> None:
            stack.enter_context(server)
            names[cookie(server.sock)] = server.name

        for protocol in (TCP, UDP):
            # "one" has a socket for each family, "two" one for both; "shared" is a pool.
            known(host.serve("one", "127.0.0.1", 7001, protocol, unit="one.socket"))
            known(host.serve("one", "::1", 7001, protocol, unit="one.socket", v6only=True))
            known(host.serve("two", "::", 7002, protocol, unit="two.socket"))
            for number in (1, 2, 3):
                server = host.namespace.serve(f"shared{number}", "::", 7010 + number, protocol)
                known(server)
                outcome = host.register([("shared", server.sock)], unit=f"shared@{number}.socket")
                assert outcome.status == 0, outcome.text
            for number, (address, port) in enumerate(
                [
                    ("0.0.0.0", 1), ("::", 2), ("192.0.2.8", 3), ("2001:db8::8", 3), ("::", 4),
                    ("192.0.2.9", 5), ("2001:db8::9", 5), ("0.0.0.0", 6), ("::", 6),
                ]
            ):  # fmt: skip
                v6only = (address, port) == ("::", 6)
                name = f"ordinary{number}"
                known(host.namespace.serve(name, address, port, protocol, v6only=v6only))
        yield names


@pytest.mark.parametrize("seed", range(3))
def test_connections_land_where_explain_says(host: Host, seed: int) -> None:
    host.namespace.add_local("2001:db8:1::/64")
    rng = random.Random(seed)
    host.load(*random_rules(rng))
    outcomes: Counter[str] = Counter()
    with everybody(host) as names:
        for _ in range(150):
            family = rng.choice("46")
            protocol = rng.choice([TCP, UDP])
            address, port = rng.choice(ADDRESSES[family]), rng.choice(PORTS)
            kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
            client = host.namespace.new_socket(family_of(address), kind)
            client.bind((rng.choice(SOURCES[family]), 0))
            source, source_port = client.getsockname()[:2]
            written = f"[{source}]:{source_port}" if family == "6" else f"{source}:{source_port}"
            words = [NAMES[protocol], address, str(port), "from", written]
            told = host.json("explain", *words)
            assert told["agrees"], words
            assert told["asked"] == "the kernel's verdict"
            found = ask(lambda *_, it=client: it, address, port, protocol, None, b"", 2.0)
            expected = names[told["target"]["cookie"]] if told["target"] else "refused"
            assert found == expected, (words, told)
            outcomes[told["outcome"]] += 1
    assert all(outcomes[kind] > 5 for kind in ("socket", "refused", "ordinary", "nobody"))


def test_what_a_user_reads(host: Host) -> None:
    path = host.conf(
        "[web]",
        "Bind=tcp 192.0.2.0/24 80",
        "Bind=tcp 192.0.2.0/24 *",
        "Bind=tcp 192.0.2.0/24 1-1000",
        "Reject=tcp 192.0.2.9 *",
        "Pass=tcp 192.0.2.0/24 22",
        "Bind=tcp 192.0.2.0/24 80 from 198.51.100.0/24",
    )
    host.ok("load")
    with host.serve("web", "127.0.0.1", 8080, unit="web.socket") as web:
        words = ["tcp", "192.0.2.7", "80", "from", "198.51.100.1"]
        told = host.ok("explain", *words).splitlines()
        socket_text = f"{cookie(web.sock)} 127.0.0.1:8080"
    assert told[0] == "verdict   goes to a socket of label web"
    assert told[1] == "          (the kernel's verdict)"
    assert told[3] == (f"rule      bind web: tcp 192.0.2.0/24 80 from 198.51.100.0/24  ({path}:7)")
    assert told[4:10] == [
        f"over      bind web: tcp 192.0.2.0/24 80  ({path}:2)",
        "          the rule above has the longer source prefix",
        f"over      bind web: tcp 192.0.2.0/24 1-1000  ({path}:4)",
        "          the rule above has an exact port",
        f"over      bind web: tcp 192.0.2.0/24 *  ({path}:3)",
        "          the rule above has the narrower port range",
    ]
    assert told[10] == f"socket    {socket_text}, from web.socket"
    assert told[11].startswith("open in   ")
    assert "(pid " in told[11]
    assert len(told) == 12


def test_refusals_and_why(host: Host) -> None:
    host.load(
        "[web]",
        "Bind=tcp 192.0.2.1 80",
        "Bind=tcp 192.0.2.2 80 missing=pass",
        "Reject=udp 192.0.2.3 *",
        "Pass=tcp 192.0.2.4 80",
    )
    empty = host.ok("explain", "tcp", "192.0.2.1", "80")
    assert "verdict   refused with RST" in empty
    assert "because   label web: it has no socket; this is a miss" in empty
    rejected = host.ok("explain", "udp", "192.0.2.3", "53")
    assert "verdict   refused with ICMP port unreachable" in rejected
    assert "because   a reject rule refuses it" in rejected
    nobody = host.ok("explain", "tcp", "192.0.2.2", "80")
    assert "left to ordinary lookup, which finds no socket: refused with RST" in nobody
    assert "because   label web: it has no socket; the rule says missing=pass" in nobody
    with host.namespace.serve("plain", "0.0.0.0", 80) as plain:
        for address, why in (("192.0.2.4", "a pass rule leaves it"), ("192.0.2.5", "no rule")):
            told = host.ok("explain", "tcp", address, "80")
            assert "left to ordinary lookup, which finds the socket below" in told
            assert f"because   {why}" in told
            assert f"socket    {cookie(plain.sock)} 0.0.0.0:80" in told
    with host.serve("web", "127.0.0.1", 8080, unit="web.socket"):
        host.ok("drain", "web")
        drained = host.ok("explain", "tcp", "192.0.2.1", "80")
    assert "verdict   refused with RST" in drained
    assert "because   label web: its sockets are all drained" in drained


def test_an_address_that_is_not_local(host: Host) -> None:
    host.load("[web]", "Bind=tcp 198.51.100.0/24 80", "Bind=tcp 2001:db8:5::/48 80")
    with host.serve("web", "::", 8080):
        told = host.ok("explain", "tcp", "198.51.100.7", "80")
        assert "198.51.100.7 is not local here" in told
        (command,) = (line.split("'")[1] for line in told.splitlines() if "'ip route" in line)
        assert command == "ip route add local 198.51.100.0/24 dev lo"
        host.namespace.run(*command.split())
        assert "is not local" not in host.ok("explain", "tcp", "198.51.100.7", "80")
        assert host.ask("198.51.100.7", 80) == "web"
        told = host.ok("explain", "tcp", "2001:db8:5::1", "80")
        assert "'ip route add local 2001:db8:5::/48 dev lo'" in told
        told = host.ok("explain", "udp", "203.0.113.5", "80")
        assert "'ip route add local 203.0.113.5 dev lo'" in told


def test_rules_with_an_interface(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80 dev lo", "Reject=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080):
        told = host.ok("explain", "tcp", "192.0.2.1", "80", "dev", "lo")
        assert "goes to a socket of label web" in told
        assert "(a test run cannot set an interface; this verdict comes from the rules)" in told
        assert "the rule above has an interface" in told
        assert "refused with RST" in host.ok("explain", "tcp", "192.0.2.1", "80")


def test_a_server_that_does_not_serve(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.namespace.listen("127.0.0.1", 8080) as sock:
        sock.listen(1)
        host.register([("web", sock)])
        with ExitStack() as clients:
            for _ in range(2):
                client = clients.enter_context(host.namespace.new_socket(2, 1))
                client.connect(("192.0.2.1", 80))
            told = host.ok("explain", "tcp", "192.0.2.1", "80")
            assert "its queue is full, 2 connections wait: no server accepts" in told
        sock.shutdown(socket.SHUT_RDWR)
        told = host.ok("explain", "tcp", "192.0.2.1", "80")
        assert "refused with RST" in told
        assert "its socket was shut down, but not closed: the kernel refuses it" in told
        assert "bug" not in told
        assert host.ask("192.0.2.1", 80) == "refused"


def test_what_shares_the_flows(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with (
        host.serve("web", "127.0.0.1", 8080, unit="web@a.socket", reuseport=True),
        host.namespace.serve("twin", "127.0.0.1", 8080, reuseport=True),
    ):
        told = host.ok("explain", "tcp", "192.0.2.1", "80")
        assert "2 sockets are bound to this address with SO_REUSEPORT" in told
        with host.serve("web", "127.0.0.1", 8081, unit="web@b.socket"):
            told = host.ok("explain", "tcp", "192.0.2.1", "80")
            assert "2 sockets share the flows of the label" in told


def test_a_socket_that_is_connected_to_the_client(host: Host) -> None:
    host.load("[web]", "Bind=udp 0.0.0.0/0 80", "Bind=udp ::/0 80")
    host.namespace.add_address("192.0.2.99/32", "lo")
    host.namespace.add_address("2001:db8::99/128", "lo")
    for family, address, source in (
        (socket.AF_INET, "192.0.2.99", "127.0.0.1"),
        (socket.AF_INET6, "2001:db8::99", "::1"),
        (socket.AF_INET6, "::ffff:192.0.2.99", "::ffff:127.0.0.1"),
    ):
        server = host.namespace.new_socket(family, socket.SOCK_DGRAM)
        client = host.namespace.new_socket(family, socket.SOCK_DGRAM)
        with server, client:
            client.bind((source, 0))
            server.bind((address, 80))
            port = client.getsockname()[1]
            plain, plain_source = (it.removeprefix("::ffff:") for it in (address, source))
            written = (
                f"[{plain_source}]:{port}" if ":" in plain_source else f"{plain_source}:{port}"
            )
            words = ("udp", plain, "80", "from", written)
            assert host.json("explain", *words)["outcome"] == "refused"
            server.connect((source, port))
            told = host.json("explain", *words)
            assert told["outcome"] == "unreached"
            assert told["before"][0].startswith(f"{cookie(server)} ")
            assert told["before"][0].endswith(
                f"to {written}: it gets the packet, and no rule is looked at"
            )
            server.settimeout(5)
            client.sendto(b"?", (address, 80))
            assert server.recv(9) == b"?"
            other = written.replace(str(port), str(port ^ 1))
            assert host.json("explain", *words[:-1], other)["outcome"] == "refused"


def test_a_registered_socket_that_its_server_has_connected(host: Host) -> None:
    host.load("[web]", "Bind=udp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080, UDP) as server:
        server.sock.connect(("127.0.0.1", 9))
        told = host.ok("explain", "udp", "192.0.2.1", "80")
        assert "label web: its socket is connected to one peer: the kernel refuses it" in told
        assert "the label's socket is connected to one peer: refused" in host.ok("listeners")
        assert "receives nothing any more: it is connected to one peer" in " ".join(
            host.run("check").out.split()
        )
        assert host.ask("192.0.2.1", 80, UDP) == "refused"


@pytest.mark.parametrize("address", ["198.51.100.1", "2001:db8:7::1"])
def test_what_this_host_sends_to_an_address_of_an_interface(host: Host, address: str) -> None:
    host.namespace.run("ip", "link", "add", "eth0", "type", "veth")
    host.namespace.run("ip", "link", "set", "eth0", "up")
    host.namespace.add_address(f"{address}/{64 if ':' in address else 24}", "eth0")
    host.load("[lo]", f"Bind=tcp {address} 80 dev lo", "[eth]", f"Bind=tcp {address} 80 dev eth0")
    with host.serve("lo", "::", 8080), host.serve("eth", "::", 8081):
        assert host.ask(address, 80, source=address) == "eth"
        told = host.ok("explain", "tcp", address, "80", "dev", "lo")
        assert told.startswith("verdict   goes to a socket of label eth\n")
        assert "what this host sends to it arrives from eth0 for rules and sockets" in told


@pytest.mark.parametrize("family", "46")
def test_which_member_a_rule_for_an_interface_leads_to(host: Host, family: str) -> None:
    """A test run has no interface, so the kernel cannot be asked."""
    address, source = {"4": ("192.0.2.9", "127.0.0.1"), "6": ("2001:db8::9", "::1")}[family]
    host.load("[web]", f"Bind=udp {address} 80 dev lo missing=pass")
    with ExitStack() as stack:
        servers = [
            stack.enter_context(host.namespace.serve(f"web{number}", "::", 8080 + number, UDP))
            for number in range(3)
        ]
        names = {cookie(server.sock): server.name for server in servers}
        for number, server in enumerate(servers):
            host.register([("web", server.sock)], unit=f"web@{number}.socket")
        stack.enter_context(host.namespace.serve("plain", "::", 80, UDP))
        for last in (False, True):
            met: Counter[str] = Counter()
            for _flow in range(12):
                client = host.namespace.new_socket(family_of(address), socket.SOCK_DGRAM)
                client.bind((source, 0))
                port = client.getsockname()[1]
                written = f"[{source}]:{port}" if family == "6" else f"{source}:{port}"
                told = host.json("explain", "udp", address, "80", "from", written, "dev", "lo")
                found = ask(lambda *_, it=client: it, address, 80, UDP, None, b"", 5)
                assert names.get(told["target"]["cookie"], "plain") == found
                met[found] += 1
            assert len(met) > 1
            # Flows of a member that is connected are an error, and left to ordinary lookup.
            if not last:
                servers[0].sock.connect(("::1", 9))


def test_it_counts_as_one_lookup(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    host.ok("explain", "tcp", "192.0.2.1", "80")
    assert host.counters("web") == (1, 1, 0)


@pytest.mark.parametrize(
    "words",
    [
        "tcp 192.0.2.300 80",
        "tcp 192.0.2.1 0",
        "tcp 192.0.2.1 htttp",
        "tcp 192.0.2.1 80 from ::1",
        "tcp 192.0.2.1 80 via eth0",
        "tcp 192.0.2.1 80 from",
        "tcp 192.0.2.1 80 from 127.0.0.1:99999",
    ],
)
def test_wrong_words(host: Host, words: str) -> None:
    host.load("[web]")
    assert "see 'sockreg explain --help'" in host.fails(EXIT_USAGE, "explain", *words.split())


def test_nothing_is_loaded(host: Host) -> None:
    host.fails(EXIT_NOT_LOADED, "explain", "tcp", "192.0.2.1", "80")


def test_the_port_may_stand_behind_the_address(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80", "Bind=tcp 2001:db8::/32 443 from 2001:db8::1")
    with host.serve("web", "::", 8080):
        for words in (["192.0.2.7", "80"], ["192.0.2.7:80"], ["192.0.2.7:http"]):
            assert "tcp 192.0.2.0/24 80" in host.ok("explain", "tcp", *words)
        condition = ["from", "2001:db8::1"]
        for words in (["2001:db8::7", "443"], ["[2001:db8::7]:443"], ["[2001:db8::7]", "https"]):
            assert "2001:db8::/32 443" in host.ok("explain", "tcp", *words, *condition)

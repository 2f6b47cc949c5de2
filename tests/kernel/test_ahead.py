"""NAT and filters ahead of the rules: what explain and check say is what a client meets, and the
commands that they print let its packets through.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.host import Host
from tests.netns import Namespace, connect

NAT = (
    "nft add table ip nat",
    "nft add chain ip nat pre { type nat hook prerouting priority dstnat ; }",
)
REDIRECT = "iptables -t nat -A PREROUTING -p tcp"
LEGACY_REDIRECT = "iptables-legacy -t nat -A PREROUTING -p tcp"
TO_9090 = "-j REDIRECT --to-ports 9090"
INPUT = (
    "nft add table inet fw",
    "nft add chain inet fw in { type filter hook input priority filter ; policy drop ; }",
    "nft add rule inet fw in ct state vmap { established : accept, invalid : drop }",
    "nft add rule inet fw in iifname lo accept",
    "nft add rule inet fw in meta l4proto { icmp, ipv6-icmp } accept",
    "nft add rule inet fw in tcp dport { 22, 8000-8999 } accept",
)


@pytest.fixture
def client(host: Host) -> Iterator[Namespace]:
    """A host that is not this one, on the wire."""
    with Namespace() as outside:
        ends = ("198.51.100.1/24", "198.51.100.2/24", "2001:db8:1::1/64", "2001:db8:1::2/64")
        connect(host.namespace, "eth0", outside, "eth0", ends)
        outside.run("ip", "route", "add", "default", "via", "198.51.100.1")
        outside.run("ip", "route", "add", "default", "via", "2001:db8:1::1")
        yield outside


def findings(host: Host) -> list[dict[str, str]]:
    return list(json.loads(host.run("--json", "check").out)["findings"])


def run(host: Host, *commands: str) -> None:
    for command in commands:
        host.namespace.run(*shlex.split(command))


SURE = [
    ((*NAT, "nft add rule ip nat pre tcp dport 80 redirect to :9090"), "redirects it to port 9090"),
    (
        (*NAT, "nft add rule ip nat pre ip daddr 192.0.2.0/24 tcp dport 80 dnat to :9090"),
        "sends it to port 9090",
    ),
    (
        (*NAT, "nft add chain ip nat web", "nft add rule ip nat web tcp dport 80 redirect to :9090",
         "nft add rule ip nat pre ip daddr 192.0.2.0/24 jump web"),
        "redirects it to port 9090",
    ),
    (
        (*NAT, "nft add map ip nat ports { type inet_service : verdict ; }",
         "nft add chain ip nat web", "nft add rule ip nat web tcp dport 80 redirect to :9090",
         "nft add element ip nat ports { 80 : jump web }",
         "nft add rule ip nat pre tcp dport vmap @ports"),
        "redirects it to port 9090",
    ),
    ((f"{REDIRECT} --dport 80 {TO_9090}",), "redirects it"),
    (
        ("iptables -t nat -N DOCKER",
         "iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
         "iptables -t nat -A DOCKER -p tcp --dport 80 -j DNAT --to-destination 198.51.100.1:9090"),
        "sends it to 198.51.100.1:9090",
    ),
    (
        (f"{LEGACY_REDIRECT} -m multiport --dports 80,443 {TO_9090}",),
        "redirects it to port 9090",
    ),
    (INPUT, "the policy drops it"),
    (("iptables -A INPUT -p tcp --dport 80 -j REJECT",), "refuses it"),
    (("iptables-legacy -A INPUT -p tcp -m state --state NEW --dport 79:81 -j DROP",), "drops it"),
    (("iptables -P INPUT DROP", "iptables -A INPUT -p udp -j ACCEPT"), "the policy drops it"),
    (
        ("nft add table netdev x", *NAT[:1],
         "nft add chain ip nat raw { type filter hook prerouting priority raw ; }",
         "nft add rule ip nat raw tcp dport 80 counter drop"),
        "drops it",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("commands", "text"), SURE)
def test_what_surely_comes_before(
    host: Host, client: Namespace, commands: tuple[str, ...], text: str
) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "0.0.0.0", 8080), host.namespace.serve("moved", "0.0.0.0", 9090):
        assert client.ask("192.0.2.7", 80) == "web"
        assert host.json("explain", "tcp", "192.0.2.7", "80")["outcome"] == "socket"
        assert host.ok("check") == "nothing found\n"
        run(host, *commands)
        met = client.ask("192.0.2.7", 80, timeout=1)
        assert met in ("moved", "timeout", "refused")
        found = host.json("explain", "tcp", "192.0.2.7", "80")
        assert found["outcome"] == "unreached"
        assert found["at_rules"] == "socket"
        (before,) = found["before"]
        assert before.startswith("before this, ")
        assert text in before
        assert (met == "moved") == ("redirects" in before or "sends it to" in before)
        told = host.ok("explain", "tcp", "192.0.2.7", "80")
        assert (
            "does not get to the rules; there, it would be: goes to a socket of label web" in told
        )
        (finding,) = findings(host)
        assert finding["check"] == "ahead-of-rules"
        assert text in finding["what"]
        # What explain prints is for this one address.
        run(host, before.split("'")[1])
        assert client.ask("192.0.2.7", 80) == "web"
        assert client.ask("192.0.2.8", 80, timeout=1) == met
        assert host.json("explain", "tcp", "192.0.2.7", "80")["outcome"] == "socket"
        # What check prints is for the whole rule.
        (finding,) = findings(host)
        run(host, finding["fix"].partition(": ")[2].partition(";")[0])
        assert client.ask("192.0.2.8", 80) == "web"
        assert host.ok("check") == "nothing found\n"


def test_nat_comes_before_the_question_whether_an_address_is_local(
    host: Host, client: Namespace
) -> None:
    host.load("[web]", "Bind=tcp 203.0.113.0/24 80")
    with host.serve("web", "0.0.0.0", 8080), host.namespace.serve("moved", "0.0.0.0", 9090):
        run(host, *NAT, "nft add rule ip nat pre tcp dport 80 redirect to :9090")
        assert client.ask("203.0.113.7", 80) == "moved"
        first, second = host.json("explain", "tcp", "203.0.113.7", "80")["before"]
        assert "a rule redirects it to port 9090" in first
        assert "203.0.113.7 is not local here" in second
        # What the lines say, in their order.
        run(host, first.split("'")[1])
        assert client.ask("203.0.113.7", 80, timeout=1) in ("timeout", "unreachable")
        run(host, second.split("'")[1])
        assert client.ask("203.0.113.7", 80) == "web"


@pytest.mark.parametrize(("first", "second"), [("a", "b"), ("b", "a")])
def test_the_latest_of_two_chains_of_one_priority_decides(
    host: Host, client: Namespace, first: str, second: str
) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "0.0.0.0", 8080):
        for table, verdict in ((first, "drop"), (second, "reject with tcp reset")):
            run(
                host,
                f"nft add table inet {table}",
                f"nft add chain inet {table} in {{ type filter hook input priority 0 ; }}",
                f"nft add rule inet {table} in tcp dport 80 {verdict}",
            )
        assert client.ask("192.0.2.7", 80) == "refused"
        (before,) = host.json("explain", "tcp", "192.0.2.7", "80")["before"]
        assert f"nft table inet {second}, chain in: a rule refuses it" in before


NOTHING = [
    (*NAT, "nft add rule ip nat pre tcp dport 81 redirect to :9090"),
    (*NAT, "nft add rule ip nat pre udp dport 80 redirect to :9090"),
    (*NAT, "nft add rule ip nat pre ip daddr != 192.0.2.0/24 tcp dport 80 redirect to :9090"),
    (*NAT, "nft add rule ip nat pre tcp dport 80 accept",
     "nft add rule ip nat pre tcp dport 80 redirect to :9090"),
    (*INPUT, "nft add rule inet fw in tcp dport 80 accept"),
    ("iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
     "iptables -A INPUT -p tcp --dport 80 -j ACCEPT", "iptables -A INPUT -j DROP"),
    ("iptables -A INPUT -d 203.0.113.0/24 -j DROP",),
    ("ip6tables -A INPUT -p tcp --dport 80 -j DROP",),
    ("iptables-legacy -A INPUT ! -d 192.0.2.0/24 -p tcp --dport 80 -j DROP",),
    ("iptables-legacy -t nat -A PREROUTING -p tcp ! --dport 80 -j REDIRECT --to-ports 9090",),
    ("nft add table inet x", "nft add chain inet x in { type filter hook input priority 0 ; }",
     "nft add rule inet x in udp dport != 9 drop", "nft add rule inet x in ip6 daddr != ::1 drop"),
    (NAT[0], "nft add chain ip nat f { type filter hook forward priority 0 ; policy drop ; }"),
]  # fmt: skip


@pytest.mark.parametrize("commands", NOTHING)
def test_what_does_not_concern_the_packet(
    host: Host, client: Namespace, commands: tuple[str, ...]
) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "0.0.0.0", 8080):
        run(host, *commands)
        assert client.ask("192.0.2.7", 80) == "web"
        found = host.json("explain", "tcp", "192.0.2.7", "80")
        assert (found["outcome"], found["before"], found["notes"]) == ("socket", [], [])
        assert host.ok("check") == "nothing found\n"


PERHAPS = [
    (*NAT, "nft add rule ip nat pre iifname docker0 tcp dport 80 redirect to :9090"),
    (*NAT, "nft add rule ip nat pre ip saddr 203.0.113.0/24 tcp dport 80 redirect to :9090"),
    (*NAT, "nft add rule ip nat pre tcp dport 80 numgen random mod 2 0 redirect to :9090"),
    (f"{REDIRECT} --dport 80 -m statistic --mode random --probability 0.0 {TO_9090}",),
    ("iptables -t nat -A PREROUTING -i docker0 -p tcp --dport 80 -j REDIRECT --to-ports 9090",),
]  # fmt: skip


@pytest.mark.parametrize("commands", PERHAPS)
def test_what_may_come_before_is_said_as_such(
    host: Host, client: Namespace, commands: tuple[str, ...]
) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "0.0.0.0", 8080):
        run(host, *commands)
        found = host.json("explain", "tcp", "192.0.2.7", "80")
        assert (found["outcome"], found["before"]) == ("socket", [])
        (note,) = found["notes"]
        assert note.startswith("perhaps before this, ")
        (finding,) = findings(host)
        assert (finding["check"], finding["severity"]) == ("ahead-of-rules", "note")
        run(host, note.split("'")[1])
        assert host.json("explain", "tcp", "192.0.2.7", "80")["notes"] == []
        assert client.ask("192.0.2.7", 80) == "web"


def test_sources_and_interfaces_that_are_said(host: Host, client: Namespace) -> None:
    run(
        host,
        *INPUT[:1],
        "nft add chain inet fw in { type filter hook input priority filter ; }",
        "nft add rule inet fw in iifname eth0 ip saddr 198.51.100.2 tcp dport 80 drop",
    )
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "0.0.0.0", 8080):
        assert client.ask("192.0.2.7", 80, timeout=1) == "timeout"
        assert host.ask("192.0.2.7", 80) == "web"
        for words, outcome in (
            (("from", "198.51.100.2", "dev", "eth0"), "unreached"),
            (("from", "198.51.100.3", "dev", "eth0"), "socket"),
            (("from", "127.0.0.1", "dev", "lo"), "socket"),
            (("from", "198.51.100.2"), "socket"),
        ):
            found = host.json("explain", "tcp", "192.0.2.7", "80", *words)
            assert found["outcome"] == outcome, words


def test_without_the_commands(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "0.0.0.0", 8080):
        empty = tmp_path / "bin"
        empty.mkdir()
        monkeypatch.setenv("PATH", str(empty))
        told = host.ok("explain", "tcp", "192.0.2.7", "80")
        assert "goes to a socket of label web" in told
        assert "not known, what may come before this: nftables: there is no command nft" in told
        assert host.ok("check") == "nothing found\n"
        (empty / "nft").write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
        (empty / "nft").chmod(0o755)
        told = host.ok("explain", "tcp", "192.0.2.7", "80")
        assert "not known, what may come before this: nftables: Operation not permitted" in told
        (empty / "nft").write_text("#!/bin/sh\necho '{\"nftables\": 7}'\n")
        told = host.ok("explain", "tcp", "192.0.2.7", "80")
        assert "goes to a socket of label web" in told
        assert "nftables: the answer of nft is not understood" in told

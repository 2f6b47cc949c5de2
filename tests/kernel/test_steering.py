"""Where connections and datagrams land, rule by rule."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from sockreg.kernel import bpf
from sockreg.registry import layout
from tests.kernel.host import Host
from tests.netns import TCP, UDP, Server

FAMILIES = {"ipv4": ("192.0.2.0/24", "192.0.2.7", "127.0.0.1"),
            "ipv6": ("2001:db8::/64", "2001:db8::7", "::1")}  # fmt: skip
PROTOCOLS = {"tcp": TCP, "udp": UDP}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_prefix_leads_to_its_label(host: Host, protocol: str, family: str) -> None:
    prefix, address, loopback = FAMILIES[family]
    number = PROTOCOLS[protocol]
    host.load("[web]", f"Bind={protocol} {prefix} 80")
    with host.serve("web", loopback, 8080, number):
        assert host.ask(address, 80, number) == "web"
        assert host.ask(address, 81, number) == "refused"
        assert host.ask(loopback, 80, number) == "refused"
        assert host.ask(loopback, 8080, number) == "web"
    assert host.counters("web", protocol, family) == (1, 0, 0)


def test_one_protocol_does_not_bring_the_other(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080), host.serve("web", "127.0.0.1", 8080, UDP):
        assert host.both("192.0.2.7", 80) == ("web", "refused")


def test_two_labels_share_a_port_on_disjoint_prefixes(host: Host) -> None:
    host.load(
        "[blue]", "Bind=tcp 192.0.2.0/25 80", "Bind=tcp 2001:db8::/65 80",
        "[green]", "Bind=tcp 192.0.2.128/25 80", "Bind=tcp 2001:db8:0:0:8000::/65 80",
    )  # fmt: skip
    with host.serve("blue", "::", 8080), host.serve("green", "::", 8081):
        assert host.ask("192.0.2.127", 80) == "blue"
        assert host.ask("192.0.2.128", 80) == "green"
        assert host.ask("2001:db8::7fff:ffff:ffff:ffff", 80) == "blue"
        assert host.ask("2001:db8::8000:0:0:0", 80) == "green"


def test_the_longer_of_nested_prefixes_wins(host: Host) -> None:
    host.load(
        "[all]", "Bind=tcp 0.0.0.0/0 80", "Bind=tcp ::/0 80",
        "[net]", "Bind=tcp 192.0.2.0/24 80", "Bind=tcp 2001:db8::/64 80",
        "[half]", "Bind=tcp 192.0.2.64/26 80",
        "[host]", "Bind=tcp 192.0.2.65 80", "Bind=tcp 2001:db8::65 80",
    )  # fmt: skip
    with contextlib.ExitStack() as stack:
        for port, label in enumerate(("all", "net", "half", "host"), 8080):
            stack.enter_context(host.serve(label, "::", port))
        assert host.ask("127.0.0.1", 80) == "all"
        assert host.ask("192.0.2.63", 80) == "net"
        assert host.ask("192.0.2.64", 80) == "half"
        assert host.ask("192.0.2.65", 80) == "host"
        assert host.ask("192.0.2.127", 80) == "half"
        assert host.ask("192.0.2.128", 80) == "net"
        assert host.ask("::1", 80) == "all"
        assert host.ask("2001:db8::64", 80) == "net"
        assert host.ask("2001:db8::65", 80) == "host"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_exact_port_over_narrower_range_over_wider_over_any(host: Host, protocol: str) -> None:
    host.load(
        "[any]", f"Bind={protocol} 192.0.2.0/24 *",
        "[wide]", f"Bind={protocol} 192.0.2.0/24 8000-8999",
        "[narrow]", f"Bind={protocol} 192.0.2.0/24 8400-8600",
        "[exact]", f"Bind={protocol} 192.0.2.0/24 8500",
        "[longer]", f"Bind={protocol} 192.0.2.9 *",
    )  # fmt: skip
    number = PROTOCOLS[protocol]
    with contextlib.ExitStack() as stack:
        for port, label in enumerate(("any", "wide", "narrow", "exact", "longer"), 20000):
            stack.enter_context(host.serve(label, "127.0.0.1", port, number))
        expected = {
            1: "any", 7999: "any", 8000: "wide", 8399: "wide", 8400: "narrow", 8499: "narrow",
            8500: "exact", 8501: "narrow", 8600: "narrow", 8601: "wide", 8999: "wide",
            9000: "any", 65535: "any",
        }  # fmt: skip
        found = {port: host.ask("192.0.2.1", port, number) for port in expected}
        assert found == expected
        assert host.ask("192.0.2.9", 8500, number) == "longer"


def test_any_port_opens_every_port_of_one_address(host: Host) -> None:
    host.load("[proxy]", "Bind=tcp 192.0.2.1 *")
    # Without the ports that the scan itself may be given for its own end.
    ports = [*range(1, 32768), *range(61000, 65536)]
    with host.serve("proxy", "127.0.0.1", 8080):
        assert host.namespace.scan("192.0.2.1", ports) == ports
        assert host.namespace.scan("192.0.2.2", range(1, 200)) == []


def test_ranges_lists_and_names_of_services(host: Host) -> None:
    addresses = "192.0.2.10-192.0.2.50,2001:db8::7-2001:db8::9"
    host.load("[web]", f"Bind=tcp {addresses} http,8000-8009,https")
    with host.serve("web", "::", 8080):
        for port in (80, 443, 8000, 8009):
            answers = {n: host.ask(f"192.0.2.{n}", port) for n in (9, 10, 11, 31, 32, 49, 50, 51)}
            assert answers == {n: "web" if 10 <= n <= 50 else "refused" for n in answers}
            answers = {n: host.ask(f"2001:db8::{n}", port) for n in (6, 7, 8, 9)}
            assert answers == {n: "web" if n >= 7 else "refused" for n in answers}
        assert host.ask("192.0.2.10", 81) == "refused"


def test_a_bound_range_is_explained_and_unbound(host: Host) -> None:
    host.load("[web]", "Bind=tcp 198.51.100.1 80")
    typed = ["web", "tcp", "192.0.2.10-192.0.2.13,192.0.2.20", "http,443"]
    with host.serve("web", "127.0.0.1", 8080):
        assert "6 added" in host.ok("bind", *typed)
        assert "192.0.2.12/31 80" in host.ok("explain", "tcp", "192.0.2.13", "http")
        assert host.ask("192.0.2.13", 80) == "web"
        host.ok("unbind", "web", "tcp", "192.0.2.12/31", "443")
        assert (host.ask("192.0.2.13", 443), host.ask("192.0.2.13", 80)) == ("refused", "web")
        host.ok("bind", "web", "tcp", "192.0.2.12/31", "443")
        host.ok("unbind", *typed)
        assert {host.ask(f"192.0.2.{n}", port) for n in (10, 13, 20) for port in (80, 443)} == {
            "refused"
        }


def test_every_address_and_port(host: Host) -> None:
    host.load("[proxy]", "Bind=tcp 0.0.0.0/0 *", "Bind=tcp ::/0 *")
    with host.serve("proxy", "::", 8080):
        for address in ("127.0.0.1", "127.9.9.9", "192.0.2.200", "::1", "2001:db8::beef"):
            for port in (1, 80, 8079, 8081, 65535):
                assert host.ask(address, port) == "proxy"


def test_one_socket_serves_a_thousand_rules(host: Host) -> None:
    rules = [f"Bind=tcp 192.0.2.{n % 250} {1000 + n}" for n in range(1000)]
    host.load("[web]", *rules)
    with host.serve("web", "127.0.0.1", 8080):
        assert all(host.ask(f"192.0.2.{n % 250}", 1000 + n) == "web" for n in range(0, 1000, 37))
        assert host.ask("192.0.2.1", 1000) == "refused"
    (destination,) = host.json("status")["destinations"]
    assert destination["rules"] == 1000


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dual_stack_serves_both_families_and_v6only_one(host: Host, protocol: str) -> None:
    number = PROTOCOLS[protocol]
    lines = ["Bind={} 192.0.2.0/24 80", "Bind={} 2001:db8::/64 80"]
    host.load("[web]", *(line.format(protocol) for line in lines))
    with host.serve("web", "::", 8080, number, v6only=True):
        assert host.ask("2001:db8::7", 80, number) == "web"
        assert host.ask("192.0.2.7", 80, number) == "refused"
    assert host.counters("web", protocol, "ipv4") == (1, 1, 0)
    with host.serve("web", "::", 8080, number):
        assert host.ask("2001:db8::7", 80, number) == "web"
        assert host.ask("192.0.2.7", 80, number) == "web"


def test_a_socket_bound_to_one_address_receives_for_others(host: Host) -> None:
    """T4, T5: nothing but the rule decides; the socket has no option set for it."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 *", "Bind=udp 192.0.2.0/24 *")
    with host.serve("web", "127.0.0.1", 8080) as stream, host.serve("web", "127.0.0.1", 53, UDP):
        assert host.both("192.0.2.99", 4711) == ("web", "web")
        assert not stream.sock.getsockopt(socket.SOL_IP, 19)  # IP_TRANSPARENT


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_slot_refuses_at_once_and_counts_a_miss(host: Host, family: str) -> None:
    prefix, address, _ = FAMILIES[family]
    host.load("[web]", f"Bind=tcp {prefix} 80", f"Bind=udp {prefix} 80")
    with Server("ordinary", host.namespace.listen(address, 80),
                host.namespace.listen(address, 80, UDP)):  # fmt: skip
        assert host.both(address, 80) == ("refused", "refused")
        assert host.counters("web", "tcp", family) == (1, 1, 0)
        assert host.counters("web", "udp", family) == (1, 1, 0)


def test_missing_pass_falls_through_to_the_ordinary_listener(host: Host) -> None:
    rules = ["Bind=tcp 192.0.2.0/24 80 missing=pass", "Bind=udp 192.0.2.0/24 80 missing=pass"]
    host.load("[web]", *rules)
    assert host.both("192.0.2.7", 80) == ("refused", "refused")
    with Server("ordinary", host.namespace.listen("0.0.0.0", 80),
                host.namespace.listen("0.0.0.0", 80, UDP)):  # fmt: skip
        assert host.both("192.0.2.7", 80) == ("ordinary", "ordinary")
        assert host.counters("web") == (2, 2, 0)
        with host.serve("web", "127.0.0.1", 8080), host.serve("web", "127.0.0.1", 8080, UDP):
            assert host.both("192.0.2.7", 80) == ("web", "web")
        assert host.both("192.0.2.7", 80) == ("ordinary", "ordinary")


def test_reject_refuses_whoever_listens_and_is_counted(host: Host) -> None:
    rules = [f"Reject={p} {prefix} *" for p in PROTOCOLS for prefix in ("192.0.2.9", "2001:db8::9")]
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80", *rules)
    ordinary = [host.namespace.listen("::", 80, number) for number in PROTOCOLS.values()]
    with Server("ordinary", *ordinary), host.serve("web", "127.0.0.1", 8080):
        assert host.both("192.0.2.9", 80) == ("refused", "refused")
        assert host.both("2001:db8::9", 80) == ("refused", "refused")
        assert host.both("192.0.2.8", 80) == ("web", "ordinary")
    assert host.json("status")["rejected"] == 4
    assert "4 packets refused by reject rules" in host.ok("status")


def test_pass_leaves_a_part_of_a_prefix_to_the_ordinary_listener(host: Host) -> None:
    host.load(
        "[web]",
        "Bind=tcp 192.0.2.0/24 *",
        "Pass=tcp 192.0.2.0/24 22",
        "Pass=tcp 192.0.2.9 *",
    )
    with host.namespace.serve("sshd", "0.0.0.0", 22), host.serve("web", "127.0.0.1", 8080):
        assert host.ask("192.0.2.1", 22) == "sshd"
        assert host.ask("192.0.2.1", 23) == "web"
        assert host.ask("192.0.2.9", 22) == "sshd"
        assert host.ask("192.0.2.9", 23) == "refused"


def test_rules_by_client_network(host: Host) -> None:
    host.load(
        "[stable]", "Bind=tcp 192.0.2.0/24 80", "Bind=tcp 2001:db8::/64 80",
        "[canary]", "Bind=tcp 192.0.2.0/24 80 from 127.7.0.0/16",
        "Bind=tcp 2001:db8::/64 80 from 2001:db8::c0/124",
    )  # fmt: skip
    with host.serve("stable", "::", 8080), host.serve("canary", "::", 8081):
        assert host.ask("192.0.2.1", 80, source="127.7.1.1") == "canary"
        assert host.ask("192.0.2.1", 80, source="127.8.1.1") == "stable"
        assert host.ask("2001:db8::1", 80, source="2001:db8::c7") == "canary"
        assert host.ask("2001:db8::1", 80, source="2001:db8::d0") == "stable"


def test_reuseport_group_shares_the_connections_of_a_rule(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80", "Bind=udp 192.0.2.0/24 80")
    for protocol in (TCP, UDP):
        with (
            host.serve("web", "127.0.0.1", 8080, protocol, reuseport=True) as one,
            host.namespace.serve("two", "127.0.0.1", 8080, protocol, reuseport=True) as two,
        ):
            answers = {host.ask("192.0.2.7", 80, protocol) for _ in range(100)}
            assert answers == {"web", "two"}
            assert one.answered + two.answered == 100


def test_counters_off_still_steers(host: Host) -> None:
    host.load("[:registry]", "Counters=no", "[web]", "Bind=tcp 192.0.2.0/24 80")
    assert host.ask("192.0.2.7", 80) == "refused"
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask("192.0.2.7", 80) == "web"
        assert host.counters("web") == (0, 0, 0)


@pytest.mark.parametrize(("kept", "wrong"), [(TCP, UDP), (UDP, TCP)])
def test_a_socket_that_does_not_fit_refuses_and_is_counted_apart(
    host: Host, kept: int, wrong: int
) -> None:
    """T8: somebody else has put a socket of the wrong protocol, or family, into the slot."""
    name = {TCP: "tcp", UDP: "udp"}[kept]
    host.load("[web]", f"Bind={name} 192.0.2.0/24 80")
    (destination,) = host.json("status")["destinations"]
    sockets = bpf.obj_get(str(host.registry / "sockets"))
    slot = layout.SLOT.pack(destination["slot"])
    with (
        host.namespace.listen("127.0.0.1", 8080, wrong) as other_protocol,
        host.namespace.listen("::1", 8080, kept, v6only=True) as other_family,
        host.namespace.serve("ordinary", "0.0.0.0", 80, kept),
    ):
        try:
            for number, sock in enumerate((other_protocol, other_family), 1):
                bpf.map_update(sockets, slot, layout.COOKIE.pack(sock.fileno()))
                assert host.ask("192.0.2.7", 80, kept) == "refused"
                assert host.counters("web", name) == (number, 0, number)
            (destination,) = host.json("status")["destinations"]
            assert destination["counters"]["causes"] == {
                "closed": 0, "family": 1, "protocol": 1, "other": 0
            }  # fmt: skip
            said = host.ok("status", "-n", "0")
            assert "refused the socket for 1 packet: it is of another address family" in said
            assert "refused the socket for 1 packet: it is of another protocol" in said
        finally:
            os.close(sockets)

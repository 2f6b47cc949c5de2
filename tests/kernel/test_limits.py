"""What README.md says under "Limits and risks" is so: neither better nor worse."""

from __future__ import annotations

import socket

import pytest

from tests.kernel.host import Host
from tests.netns import UDP


def test_no_route_no_packet(host: Host) -> None:
    host.load("[web]", "Bind=tcp 198.51.100.0/24 80")
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask("198.51.100.7", 80) == "unreachable"
        host.namespace.add_local("198.51.100.0/24")
        assert host.ask("198.51.100.7", 80) == "web"


def test_ssh_survives_a_rule_for_everything_only_where_a_pass_rule_says_so(host: Host) -> None:
    everything = ["[:registry]", "TakeSsh=yes"]
    everything += ["[web]", "Bind=tcp 0.0.0.0/0 *", "Bind=tcp 192.0.2.0/24 20-30"]
    with host.namespace.serve("sshd", "0.0.0.0", 22):
        host.load(*everything)
        with host.serve("web", "127.0.0.1", 8080):
            assert host.ask("127.0.0.1", 22) == "web"
            host.apply(*everything, "Pass=tcp 0.0.0.0/0 22")
            assert host.ask("127.0.0.1", 22) == "sshd"
            assert host.ask("192.0.2.7", 22) == "web"
            host.apply(*everything, "Pass=tcp 0.0.0.0/0 22", "Pass=tcp 192.0.2.0/24 22")
            assert host.ask("192.0.2.7", 22) == "sshd"


def test_a_listener_that_was_shut_down_keeps_its_slot(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.namespace.listen("127.0.0.1", 8080) as listener:
        host.register([("web", listener)])
        listener.shutdown(socket.SHUT_RDWR)
        assert host.registered("web") is not None
        assert host.ask("192.0.2.7", 80) == "refused"
        (destination,) = host.json("status")["destinations"]
        assert destination["counters"]["causes"]["closed"] == destination["counters"]["errors"] == 1
        assert "refused the socket for 1 packet: it was shut down" in host.ok("status", "-n", "0")
    assert host.registered("web") is None


@pytest.mark.parametrize("reuse", [(False, False), (True, False), (False, True), (True, True)])
def test_a_live_connection_makes_a_later_bind_fail_unless_both_reuse_the_address(
    host: Host, reuse: tuple[bool, bool]
) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.7 *")
    family, kind = socket.AF_INET, socket.SOCK_STREAM
    with (
        host.namespace.new_socket(family, kind) as listener,
        host.namespace.new_socket(family, kind) as client,
        host.namespace.new_socket(family, kind) as later,
    ):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse[0])
        listener.bind(("127.0.0.1", 8080))
        listener.listen()
        host.register([("web", listener)])
        client.connect(("192.0.2.7", 443))
        with listener.accept()[0]:
            later.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse[1])
            if all(reuse):
                later.bind(("192.0.2.7", 443))
            else:
                with pytest.raises(OSError, match="Address already in use"):
                    later.bind(("192.0.2.7", 443))


@pytest.mark.parametrize("connected", [False, True])
def test_a_udp_rule_takes_the_answers_to_unconnected_clients(host: Host, connected: bool) -> None:
    host.load("[names]", "Bind=udp 192.0.2.0/24 *")
    with (
        host.namespace.listen("127.0.0.1", 53, UDP) as names,
        host.namespace.listen("127.0.0.9", 53, UDP) as far_away,
        host.namespace.new_socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        host.register([("names", names)])
        client.bind(("192.0.2.1", 40000))
        if connected:
            client.connect(("127.0.0.9", 53))
        client.sendto(b"question", ("127.0.0.9", 53))
        far_away.sendto(b"answer", far_away.recvfrom(99)[1])
        receiver = client if connected else names
        receiver.settimeout(10)
        assert receiver.recv(99) == b"answer"


def test_a_udp_answer_leaves_from_the_address_the_socket_is_bound_to(host: Host) -> None:
    host.load("[names]", "Bind=udp 192.0.2.0/24 53")
    with (
        host.serve("names", "127.0.0.1", 5300, UDP),
        host.namespace.new_socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.bind(("127.0.0.1", 0))
        client.settimeout(5)
        client.sendto(b"?", ("192.0.2.7", 53))
        assert client.recvfrom(99) == (b"names", ("127.0.0.1", 5300))


@pytest.mark.parametrize("free_bind", [False, True])
def test_ipv6_answers_from_a_route_s_addresses_need_free_bind(host: Host, free_bind: bool) -> None:
    """docs/recipes.md: for UDP, what PassPacketInfo= and FreeBind= of a socket unit do."""
    host.namespace.sysctl("net.ipv6.ip_nonlocal_bind", "0")
    host.load("[echo]", "Bind=udp 2001:db8::/64 7")
    with (
        host.namespace.listen("::1", 7, UDP) as echo,
        host.namespace.new_socket(socket.AF_INET6, socket.SOCK_DGRAM) as client,
    ):
        echo.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        ipv6_freebind = 78  # linux/in6.h
        echo.setsockopt(socket.IPPROTO_IPV6, ipv6_freebind, free_bind)
        host.register([("echo", echo)])
        client.connect(("2001:db8::7", 7))
        client.send(b"hello")
        echo.settimeout(10)
        question, messages, _, peer = echo.recvmsg(99, 99)
        if free_bind:
            echo.sendmsg([question], messages, 0, peer)
            client.settimeout(10)
            assert client.recv(99) == b"hello"
        else:
            with pytest.raises(OSError, match="Invalid argument"):
                echo.sendmsg([question], messages, 0, peer)

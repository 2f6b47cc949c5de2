"""``sockreg inspect``: what a registered socket is, read out of the process that has it."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from sockreg.errors import EXIT_FAILURE, EXIT_NOT_LOADED
from sockreg.host import sockopt
from tests.kernel.host import Host, cookie
from tests.kernel.opener import NOBODY, let_everybody_in, opener, unprivileged
from tests.netns import TCP, UDP

# (level, number, value to set) of options that a server may have set, linux/*.h
SET: dict[str, tuple[int, int, int | bytes]] = {
    "SO_KEEPALIVE": (socket.SOL_SOCKET, 9, 1),
    "SO_REUSEPORT": (socket.SOL_SOCKET, 15, 1),
    "SO_MARK": (socket.SOL_SOCKET, 36, 77),
    "SO_BINDTODEVICE": (socket.SOL_SOCKET, 25, b"lo"),
    "IP_FREEBIND": (socket.IPPROTO_IP, 15, 1),
    "IP_TRANSPARENT": (socket.IPPROTO_IP, 19, 1),
    "IP_TOS": (socket.IPPROTO_IP, 1, 16),
    "SO_PRIORITY": (socket.SOL_SOCKET, 12, 5),  # after IP_TOS, which sets it too
    "TCP_NODELAY": (socket.IPPROTO_TCP, 1, 1),
    "TCP_FASTOPEN": (socket.IPPROTO_TCP, 23, 7),
    "TCP_USER_TIMEOUT": (socket.IPPROTO_TCP, 18, 3000),
    "TCP_KEEPIDLE": (socket.IPPROTO_TCP, 4, 60),
}


@pytest.fixture(autouse=True)
def _loaded(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")


def inspected(host: Host, label: str = "web") -> list[dict[str, Any]]:
    body = host.json("inspect", label)
    assert body["label"] == label
    found: list[dict[str, Any]] = body["members"]
    return found


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_address_owner_and_queue(host: Host, protocol: int) -> None:
    kind = "tcp" if protocol == TCP else "udp"
    with opener(host.namespace, "mine", f"{kind} 127.0.0.1 8080") as server:
        host.ok("register", "web", "--pid", str(server.pid), "--unit", "web.service")
        (it,) = inspected(host)
        assert (it["protocol"], it["address"]) == (kind, "127.0.0.1:8080")
        assert (it["serves"], it["unit"], it["weight"]) == (["ipv4"], "web.service", 100)
        assert it["uid"] == os.getuid()
        assert [owner["pid"] for owner in it["owners"]] == [server.pid]
        assert it["owners"][0]["name"].startswith("python")
        assert it["queue"] == {
            "waiting": 0,
            "limit": 100 if protocol == TCP else None,
            "dropped": 0,
        }
        assert it["group"] == 1
        assert it["nonblocking"] is True
        assert it["options"]["SO_REUSEADDR"] is (protocol == TCP)
        assert ("TCP_CONGESTION" in it["options"]) is (protocol == TCP)
        assert it["notes"] == []


def test_connections_that_wait_and_those_that_did_not_fit(host: Host) -> None:
    sock = host.namespace.new_socket(socket.AF_INET, socket.SOCK_STREAM)
    with sock:
        sock.bind(("127.0.0.1", 8080))
        sock.listen(2)
        host.register([("web", sock)])
        for _ in range(4):
            host.ask("192.0.2.7", 80, timeout=0.1)
        (it,) = inspected(host)
        assert it["queue"]["limit"] == 2
        assert it["queue"]["waiting"] == 3  # one more than the limit: sk_acceptq_is_full()
        assert it["queue"]["dropped"] > 0


def test_every_option_that_was_set_is_seen(host: Host) -> None:
    with host.namespace.listen("127.0.0.1", 8080) as sock:
        before = sockopt.read(sock.fileno())
        for level, number, value in SET.values():
            sock.setsockopt(level, number, value)
        host.register([("web", sock)])
        (it,) = inspected(host)
        for name, (_, _, value) in SET.items():
            expected: object = value.decode() if isinstance(value, bytes) else value
            assert it["options"][name] == (bool(value) if name in _flags(it) else expected), name
            assert it["options"][name] != before[name], name
        assert {"SO_RCVBUF", "SO_SNDBUF", "TCP_DEFER_ACCEPT", "TCP_CONGESTION"} <= set(
            it["options"]
        )
        printed = host.ok("inspect", "web")
        assert "SO_MARK 77" in printed
        assert "SO_BINDTODEVICE lo" in printed
        on = next(line for line in printed.splitlines() if line.startswith("  on "))
        assert "SO_KEEPALIVE" in on


def _flags(it: dict[str, Any]) -> set[str]:
    return {name for name, value in it["options"].items() if isinstance(value, bool)}


def test_a_dual_stack_socket_and_an_ipv6_one(host: Host) -> None:
    with host.namespace.listen("::", 8080) as both, host.namespace.listen("::1", 81) as six:
        host.register([("web", both), ("six", six)])
        (it,) = inspected(host)
        assert (it["serves"], it["address"]) == (["ipv4", "ipv6"], "[::]:8080")
        assert it["options"]["IPV6_V6ONLY"] is False
        assert "IP_FREEBIND" in it["options"], "what IPv4 packets meet is told as well"
        (it,) = inspected(host, "six")
        assert it["serves"] == ["ipv6"]
        assert it["options"]["IPV6_V6ONLY"] is True
        assert "serves      IPv4 and IPv6" in host.ok("inspect", "web")


def test_pktinfo_of_udp(host: Host) -> None:
    with opener(host.namespace, "dns", "udp 127.0.0.1 53 pktinfo", "udp ::1 54") as server:
        host.ok("register", "web", "--pid", str(server.pid), "--local", ":53")
        host.ok("register", "six", "--pid", str(server.pid), "--local", ":54")
        assert inspected(host)[0]["options"]["IP_PKTINFO"] is True
        assert inspected(host, "six")[0]["options"]["IPV6_RECVPKTINFO"] is False


def test_the_size_of_a_reuseport_group(host: Host) -> None:
    same = "tcp 127.0.0.1 8080 reuseport"
    with (
        opener(host.namespace, "one", same, same) as one,
        opener(host.namespace, "two", same, "tcp 127.0.0.1 8081"),
    ):
        host.ok("register", "web", "--pid", str(one.pid))
        (it,) = inspected(host)
        assert it["group"] == 3
        assert "reuseport   group of 3 sockets" in host.ok("inspect", "web")


def test_all_members_of_a_pool_and_all_processes_of_a_socket(host: Host) -> None:
    with (
        host.namespace.listen("127.0.0.1", 8080) as sock,
        opener(host.namespace, "two", "tcp 127.0.0.1 8081") as two,
    ):
        host.register([("web", sock)], "--weight", "100", unit="a.socket")
        with host.namespace.entered():
            child = os.fork()
        if child == 0:
            while True:
                os.sched_yield()
        try:
            arguments = ["--unit", "b.service", "--weight", "100"]
            host.ok("register", "web", "--pid", str(two.pid), *arguments)
            first, second = inspected(host)
            assert (first["unit"], second["unit"]) == ("a.socket", "b.service")
            assert first["cookie"] == cookie(sock)
            assert {owner["pid"] for owner in first["owners"]} == {os.getpid(), child}
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)


def test_looking_changes_nothing(host: Host) -> None:
    for blocking in (True, False):
        with host.namespace.listen("127.0.0.1", 8080) as sock:
            sock.setblocking(blocking)
            host.register([("web", sock)])
            before = sockopt.read(sock.fileno())
            assert inspected(host)[0]["nonblocking"] is not blocking
            assert os.get_blocking(sock.fileno()) is blocking
            assert sockopt.read(sock.fileno()) == before
            with sock.dup() as server:
                server.settimeout(2)
                with host.namespace.new_socket(socket.AF_INET, socket.SOCK_STREAM) as client:
                    client.connect(("192.0.2.7", 80))
                    server.accept()[0].close()


def test_without_privilege_it_says_what_it_would_take(host: Host) -> None:
    """Address, queue and unit are there; options and processes are not for everybody."""
    with opener(host.namespace, "mine", "tcp 127.0.0.1 8080") as server:
        host.ok("register", "web", "--pid", str(server.pid))
        let_everybody_in(host)
        said = unprivileged(host, NOBODY, "inspect", "web")
        assert said.returncode == 0, said
        assert "web: tcp 127.0.0.1:8080 (sk:" in said.stdout
        assert "queue       0 of 100 connections waiting" in said.stdout
        text = " ".join(said.stdout.split())
        assert "options and processes are unknown: " in text
        assert "could not be read; this takes root, the user of the process, or CAP_SYS" in text
        without = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
        assert "CAP_SYS_PTRACE" in unprivileged(host, without, "inspect", "web").stdout
        # As the server's own user one sees all of it.
    with opener(host.namespace, "his", "tcp 127.0.0.1 8080", before=NOBODY) as server:
        host.ok("register", "web", "--pid", str(server.pid))
        let_everybody_in(host)
        said = unprivileged(host, NOBODY, "inspect", "web")
        assert f"(pid {server.pid}, -)" in said.stdout
        assert "SO_REUSEADDR" in said.stdout


def test_a_listener_that_was_shut_down_but_not_closed(host: Host) -> None:
    with host.namespace.listen("127.0.0.1", 8080) as sock:
        host.register([("web", sock)])
        sock.shutdown(socket.SHUT_RDWR)
        (it,) = inspected(host)
        assert it["cookie"] == cookie(sock)
        assert it["queue"] is None
        assert it["notes"] == ["it receives nothing any more: it was shut down, but not closed"]


def test_a_label_without_a_socket(host: Host) -> None:
    assert "label web has no socket" in host.fails(EXIT_FAILURE, "inspect", "web")
    assert "label nobody has no socket" in host.fails(EXIT_FAILURE, "inspect", "nobody")
    host.ok("unload")
    host.fails(EXIT_NOT_LOADED, "inspect", "web")

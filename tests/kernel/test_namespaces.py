"""The tests' own network namespaces do what they promise."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sockreg.errors import UsageError
from sockreg.host.netns import entered
from tests.netns import TCP, UDP, Namespace, Server, bpffs, connect


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_server_answers_with_its_name_and_nobody_refuses(
    namespace: Namespace, address: str, protocol: int
) -> None:
    with namespace.serve("web", address, 8080, protocol) as server:
        assert namespace.ask(address, 8080, protocol) == "web"
        assert server.answered == 1
    assert namespace.ask(address, 8080, protocol) == "refused"


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_dual_stack_serves_both_families(namespace: Namespace, protocol: int) -> None:
    with namespace.serve("both", "::", 8080, protocol):
        assert namespace.ask("127.0.0.1", 8080, protocol) == "both"
        assert namespace.ask("::1", 8080, protocol) == "both"
    with namespace.serve("six", "::", 8081, protocol, v6only=True):
        assert namespace.ask("127.0.0.1", 8081, protocol) == "refused"
        assert namespace.ask("::1", 8081, protocol) == "six"


def test_namespaces_are_apart_until_connected(namespace: Namespace) -> None:
    with Namespace() as other, namespace.serve("here", "::", 8080):
        assert other.ask("127.0.0.1", 8080) == "refused"
        assert other.ask("192.0.2.1", 8080) == "unreachable"
        connect(
            namespace,
            "eth0",
            other,
            "eth0",
            ("192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64", "2001:db8::2/64"),
        )
        assert other.ask("192.0.2.1", 8080) == "here"
        assert other.ask("2001:db8::1", 8080) == "here"
        namespace.add_local("198.51.100.0/24")
        other.add_route("198.51.100.0/24", via="192.0.2.1")
        assert other.ask("198.51.100.77", 8080, source="192.0.2.2") == "here"


def test_a_listener_that_never_accepts_is_silent(namespace: Namespace) -> None:
    with namespace.listen("127.0.0.1", 8080):
        assert namespace.ask("127.0.0.1", 8080, timeout=0.2) == "silent"


def test_a_dropped_packet_is_a_timeout(namespace: Namespace) -> None:
    namespace.run("ip", "route", "add", "local", "192.0.2.0/24", "dev", "lo")
    namespace.run("nft", "add", "table", "ip", "t")
    namespace.run("nft", "add", "chain", "ip", "t", "in", "{ type filter hook input priority 0; }")
    namespace.run("nft", "add", "rule", "ip", "t", "in", "ip", "daddr", "192.0.2.9", "drop")
    assert namespace.ask("192.0.2.9", 80, TCP, timeout=0.2) == "timeout"
    assert namespace.ask("192.0.2.9", 80, UDP, timeout=0.2) == "timeout"


def test_scan_finds_exactly_the_listeners(namespace: Namespace) -> None:
    sockets = [namespace.listen("127.0.0.1", port) for port in (1, 22, 40000, 65535)]
    with Server("many", *sockets):
        assert namespace.scan("127.0.0.1") == [1, 22, 40000, 65535]
        assert namespace.scan("127.1.1.1", range(1, 100)) == []


def test_many_connections_do_not_exhaust_anything(namespace: Namespace) -> None:
    with namespace.serve("busy", "127.0.0.1", 8080) as server:
        for _ in range(2000):
            assert namespace.ask("127.0.0.1", 8080) == "busy"
        assert server.answered == 2000


def test_path_and_name_lead_other_processes_there(namespace: Namespace) -> None:
    namespace.add_address("192.0.2.1/32")
    seen = subprocess.check_output(
        ["nsenter", f"--net={namespace.path}", "ip", "-o", "addr"], text=True
    )
    assert "192.0.2.1/32" in seen
    with namespace.named("blue"):
        assert "192.0.2.1/32" in subprocess.check_output(
            ["ip", "-n", "blue", "-o", "addr"], text=True
        )
    assert not Path("/run/netns/blue").exists()


def test_entering_ends_where_it_began(namespace: Namespace) -> None:
    before = os.stat("/proc/thread-self/ns/net").st_ino
    with namespace.entered():
        assert os.stat("/proc/thread-self/ns/net").st_ino != before
    with pytest.raises(ZeroDivisionError), namespace.entered():
        raise ZeroDivisionError
    assert os.stat("/proc/thread-self/ns/net").st_ino == before


def test_a_namespace_that_does_not_exist_leaves_nothing_open() -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(UsageError, match="network namespace nowhere"), entered("nowhere"):
        pass
    assert os.listdir("/proc/self/fd") == before


def test_bpffs_is_seen_by_this_process_alone() -> None:
    with bpffs() as path:
        (path / "directory").mkdir()
        assert f" {path} bpf " in Path("/proc/self/mounts").read_text()
        parents = Path(f"/proc/{os.getppid()}/mounts").read_text()
        assert f" {path} bpf " not in parents
    assert not path.exists()

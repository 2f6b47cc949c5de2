"""Fixtures of the tests that need a kernel and root, but no systemd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sockreg.kernel import libbpf
from sockreg.registry import loading
from tests.kernel.host import Host
from tests.netns import Namespace, bpffs


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A fresh network namespace with its loopback up."""
    with Namespace() as fresh:
        yield fresh


@pytest.fixture
def bpffs_path() -> Iterator[Path]:
    """A fresh bpffs of the test's own."""
    with bpffs() as path:
        yield path


@pytest.fixture
def host(
    namespace: Namespace, bpffs_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Host]:
    """``sockreg`` on a network namespace, a bpffs and a configuration root of the test's own."""
    namespace.add_local("192.0.2.0/24")
    namespace.add_local("2001:db8::/64")
    # Unlike IPv4, IPv6 does not let sockets bind to every address of such a route.
    namespace.sysctl("net.ipv6.ip_nonlocal_bind", "1")
    fresh = Host(namespace, bpffs_path, tmp_path, monkeypatch)
    try:
        yield fresh
    finally:
        fresh.close()


@pytest.fixture
def make_map(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Registries made in this process have a map of this name with so few entries."""
    opened = loading.open_object

    def make(name: str, entries: int) -> None:
        def with_fewer(path: Path) -> libbpf.Object:
            loaded = opened(path)
            loaded.set_max_entries(name, entries)
            return loaded

        monkeypatch.setattr(loading, "open_object", with_fewer)

    return make

"""Rules bound to an interface, with packets that really come in there."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.kernel.host import Host
from tests.netns import UDP, Namespace, connect

SERVICE = "192.0.2.7"
SERVICE6 = "2001:db8::7"


@pytest.fixture
def clients(host: Host) -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces, joined to the host by its devices ``left`` and ``right``."""
    with Namespace() as left, Namespace() as right:
        for number, (client, device) in enumerate(((left, "left"), (right, "right")), 1):
            ends = (f"10.0.{number}.1/24", f"10.0.{number}.2/24")
            ends6 = (f"fd00:{number}::1/64", f"fd00:{number}::2/64")
            connect(host.namespace, device, client, "up0", ends)
            for space, device_there, address in (
                (host.namespace, device, ends6[0]),
                (client, "up0", ends6[1]),
            ):
                # Usable at once, without looking for duplicates first.
                space.run("ip", "addr", "add", address, "dev", device_there, "nodad")
            client.run("ip", "route", "add", "192.0.2.0/24", "via", f"10.0.{number}.1")
            client.run("ip", "route", "add", "2001:db8::/64", "via", f"fd00:{number}::1")
        yield left, right


def test_a_rule_holds_for_its_interface_alone(
    host: Host, clients: tuple[Namespace, Namespace]
) -> None:
    left, right = clients
    host.load(
        "[inner]", "Bind=tcp 192.0.2.0/24 80 dev left", "Bind=tcp 2001:db8::/64 80 dev left",
        "Bind=udp 192.0.2.7 53 dev left",
        "[outer]", "Bind=tcp 192.0.2.0/24 80", "Bind=tcp 2001:db8::/64 80",
    )  # fmt: skip
    with (
        host.serve("inner", "::", 8080),
        host.serve("outer", "::", 8081),
        host.serve("inner", "0.0.0.0", 5353, UDP),
    ):
        for address in (SERVICE, SERVICE6):
            assert left.ask(address, 80) == "inner"
            assert right.ask(address, 80) == "outer"
            assert host.ask(address, 80) == "outer", "by way of lo"
        assert left.ask(SERVICE, 53, UDP) == "inner"
        assert right.ask(SERVICE, 53, UDP) == "refused"


def test_interface_source_and_prefix_by_precedence(
    host: Host, clients: tuple[Namespace, Namespace]
) -> None:
    """The longer prefix first, then the interface, then the longer source prefix."""
    left, right = clients
    host.load(
        "[host]", "Bind=tcp 192.0.2.7 80 from 10.0.2.0/24",
        "[device]", "Bind=tcp 192.0.2.0/24 80 dev right",
        "[client]", "Bind=tcp 192.0.2.0/24 80 from 10.0.2.2/32",
        "[near]", "Bind=tcp 192.0.2.0/24 80 from 10.0.0.0/16",
    )  # fmt: skip
    with (
        host.serve("host", "127.0.0.1", 8001),
        host.serve("device", "127.0.0.1", 8002),
        host.serve("client", "127.0.0.1", 8003),
        host.serve("near", "127.0.0.1", 8004),
    ):
        assert right.ask("192.0.2.7", 80) == "host"
        assert right.ask("192.0.2.8", 80) == "device"
        assert left.ask("192.0.2.7", 80) == "near"
        assert host.ask("192.0.2.8", 80, source="127.0.0.1") == "refused"


def test_an_interface_that_is_not_there_is_refused(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80 dev nowhere")
    refused = host.fails(3, "apply")
    assert "there is no interface nowhere" in refused
    assert "rules.conf:2" in refused
    assert host.ok("rules").count("192.0.2.0/24 80") == 1


def test_kernels_that_tell_no_interface_are_named(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.uname()
    fields = (real.sysname, real.nodename, "5.16.0-4-amd64", real.version, real.machine)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(fields))
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80 dev lo")
    assert "need Linux 5.17" in host.fails(3, "load")

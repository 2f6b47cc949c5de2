"""As many labels as a host can have units: the counters grow with them, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sockreg.errors import EXIT_CONFIG, EXIT_OK, EXIT_REFUSED
from sockreg.kernel import libbpf
from tests.kernel.dying import deaths
from tests.kernel.host import Host, bpftool

WEB = ["[web]", "Bind=tcp 192.0.2.0/24 80"]
MORE = [*WEB, *(line for n in range(20) for line in (f"[more{n}]", f"Bind=tcp 198.51.100.{n} 80"))]


@pytest.fixture
def few_counters(make_map: Callable[[str, int], None]) -> None:
    """A registry begins with counters for four slots, as if 1,024 were four."""
    make_map("counters", 4)


def size(host: Host) -> int:
    shown = bpftool("map", "show", "pinned", str(host.registry / "counters"))
    return int(shown["max_entries"])


def visit(host: Host, times: int) -> None:
    for _ in range(times):
        assert host.ask("192.0.2.7", 80) == "web"


@pytest.mark.usefixtures("few_counters")
def test_counters_go_on(host: Host) -> None:
    host.namespace.add_local("198.51.100.0/24")
    host.load(*WEB)
    with host.serve("web", "127.0.0.1", 8080), host.serve("more19", "127.0.0.1", 8081):
        visit(host, 3)
        assert (size(host), host.counters("web")) == (4, (3, 0, 0))
        host.apply(*MORE)
        visit(host, 2)
        assert host.ask("198.51.100.19", 80) == "more19"
        assert (size(host), host.counters("web")) == (32, (5, 0, 0))
        assert host.counters("more19") == (1, 0, 0)
        host.ok("rollback")
        visit(host, 2)
        assert (size(host), host.counters("web")) == (4, (7, 0, 0))
        host.ok("apply")
        visit(host, 1)
        assert (size(host), host.counters("web")) == (32, (8, 0, 0))
        assert host.counters("more19") == (1, 0, 0)


@pytest.mark.usefixtures("few_counters")
def test_packets_at_the_very_moment_are_counted(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_link = libbpf.update_link

    def with_packets(link: int, new: int, old: int) -> None:
        visit(host, 2)
        update_link(link, new, old)
        visit(host, 2)

    host.load(*WEB)
    with host.serve("web", "127.0.0.1", 8080):
        visit(host, 1)
        monkeypatch.setattr(libbpf, "update_link", with_packets)
        host.apply(*MORE)
        assert host.counters("web") == (5, 0, 0)


@pytest.mark.long
@pytest.mark.usefixtures("few_counters")
def test_a_death_while_counters_grow(host: Host) -> None:
    host.load(*WEB)
    with host.namespace.serve("web", "127.0.0.1", 8080) as web:
        host.conf(*MORE)
        for _ in deaths(lambda: host.ok("apply")):
            assert host.register([("web", web.sock)]).status == EXIT_OK
            visit(host, 2)
            host.ok("apply")
            visit(host, 1)
            assert size(host) == 32
            assert host.counters("web") == (3, 0, 0)
            host.ok("unload")
            host.load(*WEB)
            host.conf(*MORE)


@pytest.mark.usefixtures("few_counters")
def test_a_label_without_rules_is_beyond_the_counters(host: Host) -> None:
    host.load(*WEB)
    with host.namespace.listen("127.0.0.1") as sock:
        labels = [f"label{number}" for number in range(10)]
        for label in labels:
            assert host.register([(label, sock)]).status == EXIT_OK
        assert host.counters(labels[-1]) == (0, 0, 0)
        for label in labels:
            host.ok("unregister", label)
        host.apply(*MORE)
        assert host.counters("more19") == (0, 0, 0)


def test_as_many_destinations_as_a_leaf_can_name(host: Host) -> None:
    """Four for each label; pools have slots of their own behind them."""
    lines = [
        line
        for n in range(4095)
        for line in (
            f"[label{n}]",
            f"Bind=tcp 10.{n >> 8}.{n & 255}.1 80,443",
            f"Bind=udp 10.{n >> 8}.{n & 255}.1 53",
            f"Bind=tcp 2001:db8::{n:x} 80",
            f"Bind=udp 2001:db8::{n:x} 53",
        )
    ]
    host.namespace.add_local("10.0.0.0/8")
    host.load(*lines)
    assert host.json("apply", "--check")["swapped"] is False
    with (
        host.serve("label4094", "127.0.0.1", 8080, unit="web@1.socket"),
        host.namespace.serve("second", "127.0.0.1", 8081) as second,
    ):
        assert host.ask("10.15.254.1", 443) == "label4094"
        registered = host.register([("label4094", second.sock)], unit="web@2.socket")
        assert registered.status == EXIT_OK, registered.text
        answers = {host.ask("10.15.254.1", 80) for _ in range(50)}
        assert answers == {"label4094", "second"}
        host.conf(
            *lines, "[straw]", "Bind=tcp 192.0.2.0/24 80-81", "Bind=tcp ::1 1", "Bind=udp ::1 1"
        )
        assert "no slot left for straw" in host.fails(EXIT_REFUSED, "apply")
        said = host.fails(EXIT_CONFIG, "apply", "--check")
        assert "label 'straw': no slot is left: rules can point to 16382 destinations" in said
        assert host.ask("10.15.254.1", 80) in answers

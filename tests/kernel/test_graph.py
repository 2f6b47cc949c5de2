"""``sockreg graph`` on a registry with traffic."""

from __future__ import annotations

from xml.etree import ElementTree

from sockreg.errors import EXIT_NOT_LOADED
from tests.kernel.host import Host


def texts(document: str) -> set[str]:
    """All text of an SVG document."""
    return {text for it in ElementTree.fromstring(document).iter() if (text := it.text)}


def test_what_is_steered_is_drawn(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80,443", "Bind=tcp 2001:db8::/64 80",
              "[dns]", "Bind=udp 192.0.2.53 53", "Reject=tcp 192.0.2.9 *")  # fmt: skip
    with host.serve("web", "::", 8080, unit="web.socket"):
        for address in ("192.0.2.7", "192.0.2.8", "2001:db8::7"):
            assert host.ask(address, 80) == "web"
        drawn = texts(host.ok("graph"))
        cookie = host.registered("web")
        dotted = host.ok("graph", "--dot")
        graph = host.json("graph")
    assert {
        "tcp 192.0.2.0/24 80, 443",
        "tcp 2001:db8::/64 80",
        "web",
        "tcp ipv4 2",
        "tcp ipv6 1",
        "tcp [::]:8080",
        f"{cookie}, weight 100",
        "web.socket",
        "no socket",
        "reject",
    } <= drawn
    assert f'"socket {cookie}" -> "unit web.socket"' in dotted
    assert [band["name"] for band in graph["bands"]] == ["dns", "web", ""]


def test_a_registry_without_rules_and_none_at_all(host: Host) -> None:
    host.load()
    assert any("generation 1, 0 rules" in text for text in texts(host.ok("graph")))
    host.ok("unload")
    host.fails(EXIT_NOT_LOADED, "graph")

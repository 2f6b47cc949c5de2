"""``sockreg metrics`` on a registry with traffic."""

from __future__ import annotations

from sockreg.errors import EXIT_CONFIG, EXIT_NOT_LOADED, EXIT_OK, EXIT_USAGE
from tests.exposition import samples
from tests.kernel.host import Host
from tests.netns import UDP

WEB = ["[web]", "Bind=tcp 192.0.2.0/24 80", "Bind=udp 192.0.2.0/24 80", "Reject=tcp 192.0.2.9 *"]


def value(text: str, name: str, **labels: str) -> float | None:
    """The value of the only sample with this name and these labels."""
    found = [
        sample.value
        for sample in samples(text)
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) <= 1, found
    return found[0] if found else None


def test_metrics_follow_the_traffic(host: Host) -> None:
    host.load(*WEB)
    with host.serve("web", "127.0.0.1", 8080, unit="web.socket"):
        for _ in range(3):
            assert host.ask("192.0.2.7", 80) == "web"
        assert host.ask("192.0.2.7", 80, UDP) == "refused"
        assert host.ask("192.0.2.9", 80) == "refused"
        text = host.ok("metrics")
    tcp = {"label": "web", "protocol": "tcp", "family": "ipv4"}
    udp = tcp | {"protocol": "udp"}
    assert value(text, "sockreg_up") == 1
    assert value(text, "sockreg_lookups_total", **tcp) == 3
    assert value(text, "sockreg_misses_total", **tcp) == 0
    assert (value(text, "sockreg_misses_total", **udp) or 0) >= 1
    assert (value(text, "sockreg_rejected_total") or 0) >= 1
    assert value(text, "sockreg_has_socket", **tcp) == 1
    assert value(text, "sockreg_has_socket", **udp) == 0
    assert value(text, "sockreg_member_weight", unit="web.socket", **tcp) == 100
    assert value(text, "sockreg_generation") == 1
    assert value(text, "sockreg_bindings") == 3
    assert value(text, "sockreg_last_apply_success") == 1


def test_a_failed_apply_shows(host: Host) -> None:
    host.load(*WEB)
    before = host.ok("metrics")
    host.conf("[web]", "Bind=tcp nonsense 80")
    host.fails(EXIT_CONFIG, "apply")
    after = host.ok("metrics")
    assert value(after, "sockreg_last_apply_success") == 0
    succeeded = "sockreg_last_apply_success_timestamp_seconds"
    assert value(after, succeeded) == value(before, succeeded)
    attempted = "sockreg_last_apply_timestamp_seconds"
    assert (value(after, attempted) or 0) > (value(before, attempted) or 0)
    assert value(after, "sockreg_generation") == 1


def test_nothing_loaded_is_said_by_the_metrics_too(host: Host) -> None:
    outcome = host.run("metrics")
    assert outcome.status == EXIT_NOT_LOADED
    assert value(outcome.out, "sockreg_up") == 0
    assert "nothing is loaded" in outcome.err
    path = host.root / "sockreg.prom"
    assert host.run("metrics", "--output", str(path)).status == EXIT_NOT_LOADED
    assert value(path.read_text(), "sockreg_up") == 0
    host.load(*WEB)
    assert host.run("metrics", "--output", str(path)).status == EXIT_OK
    assert value(path.read_text(), "sockreg_up") == 1


def test_serving_takes_a_socket(host: Host) -> None:
    host.load(*WEB)
    assert "no sockets were passed" in host.fails(EXIT_USAGE, "metrics", "--serve")


def test_the_checksum_is_that_of_the_rules_wherever_they_are_written(host: Host) -> None:
    host.load(*WEB)
    first = value(host.ok("metrics"), "sockreg_rules_checksum")
    host.conf("# elsewhere", *WEB, name="other.conf")
    host.conf(name="rules.conf")
    host.ok("apply")
    assert value(host.ok("metrics"), "sockreg_rules_checksum") == first
    host.apply("[web]", "Bind=tcp 192.0.2.9 8080")
    other = value(host.ok("metrics"), "sockreg_rules_checksum")
    assert other not in (None, first)
    host.ok("rollback")
    assert value(host.ok("metrics"), "sockreg_rules_checksum") == first

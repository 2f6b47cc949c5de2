"""Before Linux 5.17 the program is not told on which interface a packet arrives."""

from __future__ import annotations

from tests.kernel.host import Host


def test_a_rule_for_an_interface_is_refused_and_the_old_rules_hold(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080):
        host.conf("[web]", "Bind=tcp 192.0.2.0/24 81 dev lo")
        refused = host.fails(3, "apply")
        assert "rules.conf:2" in refused
        assert "need Linux 5.17" in refused
        assert host.ask("192.0.2.7", 80) == "web"
        assert host.ask("192.0.2.7", 81) == "refused"

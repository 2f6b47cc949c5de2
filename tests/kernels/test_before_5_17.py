"""Before Linux 5.17 the program is not told on which interface a packet arrives."""

from __future__ import annotations

import json

from sockreg.errors import EXIT_CONFIG
from tests.kernel.host import Host


def test_a_rule_for_an_interface_is_refused_and_the_old_rules_hold(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080):
        host.conf("[web]", "Bind=tcp 192.0.2.0/24 81 dev lo")
        refused = host.fails(EXIT_CONFIG, "apply")
        assert "rules.conf:2" in refused
        assert "need Linux 5.17" in refused
        assert host.ask("192.0.2.7", 80) == "web"
        assert host.ask("192.0.2.7", 81) == "refused"


def test_what_check_says_of_such_a_rule_helps(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 81")
    with host.serve("web", "127.0.0.1", 8080):
        host.conf("[web]", "Bind=tcp 192.0.2.0/24 80 dev lo")
        found = json.loads(host.run("--json", "check").out)["findings"]
        (fix,) = (it["fix"] for it in found if it["check"] == "old-kernel")
        assert fix == "use another condition, such as 'from PREFIX'"
        assert host.ask("192.0.2.7", 80) == "refused"
        host.apply("[web]", "Bind=tcp 192.0.2.0/24 80 from 127.0.0.0/8")
        assert host.ask("192.0.2.7", 80) == "web"
        assert "old-kernel" not in host.run("check").text

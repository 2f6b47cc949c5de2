"""What commands print with --json has the documented form, whatever there is to print."""

from __future__ import annotations

import subprocess
from typing import Any

from sockreg.errors import EXIT_CONFIG, EXIT_OK
from tests import tree
from tests.kernel.host import Host
from tests.kernel.pool import Pool
from tests.kernel.test_flows import start
from tests.netns import UDP
from tests.schemas import validated

RULES = [
    "[web]",
    "Bind=tcp 192.0.2.0/24 80,8000-8099",
    "Bind=tcp 2001:db8::/64 * missing=pass",
    "Bind=tcp 192.0.2.7 80 from 127.0.0.0/8",
    "Bind=tcp 192.0.2.7 81 dev lo",
    "Reject=tcp 192.0.2.9 *",
    "Pass=tcp 192.0.2.0/24 22",
    "[dns]",
    "Bind=udp 192.0.2.0/25 53",
]


def printed(host: Host, *arguments: str, status: int = EXIT_OK) -> Any:
    """The content that a command prints, of the documented form."""
    outcome = host.run("--json", *arguments)
    assert outcome.status == status, outcome.text
    return validated(outcome.out)[1]


def test_an_empty_registry(host: Host) -> None:
    host.conf()
    assert printed(host, "load")["count"] == 0
    assert printed(host, "rules") == []
    assert printed(host, "status")["destinations"] == []
    assert printed(host, "graph")["bands"] == []
    assert printed(host, "explain", "tcp", "192.0.2.7", "80")["outcome"] == "nobody"
    assert printed(host, "listeners")["listeners"] == []
    printed(host, "unload")
    assert printed(host, "listeners")["loaded"] is False


def test_reading_commands_with_all_kinds_of_rules_and_sockets(host: Host) -> None:
    host.conf(*RULES)
    assert len(printed(host, "load")["added"]) == 8
    with (
        host.serve("web", "::", 8080, unit="web@1.socket"),
        host.serve("web", "::", 8081, unit="web@2.socket"),
        host.serve("odd", "127.0.0.1", 5300, UDP),
        host.namespace.serve("ordinary", "0.0.0.0", 80),
    ):
        assert host.ask("192.0.2.8", 80) == "web"
        assert host.ask("192.0.2.7", 53, UDP) == "refused"
        host.ok("drain", "web", "web@2.socket")
        assert len(printed(host, "rules")) == 8
        assert printed(host, "status")["destinations"][0]["rules"] == 1
        assert len(printed(host, "graph")["bands"]) == 5
        listeners = printed(host, "listeners")
        assert any(it["shadows"] for it in listeners["listeners"])
        assert any(it["problems"] for it in listeners["steered"])
        assert printed(host, "inspect", "web")["members"][0]["options"]
        assert printed(host, "inspect", "odd")["members"][0]["queue"]["limit"] is None
        for packet, outcome in (
            (["tcp", "192.0.2.7", "80", "from", "127.0.0.1:4711"], "socket"),
            (["tcp", "192.0.2.9", "80"], "refused"),
            (["tcp", "192.0.2.1", "22"], "nobody"),
            (["tcp", "127.0.0.1", "80"], "ordinary"),
            (["udp", "192.0.2.7", "53"], "refused"),
            (["tcp", "192.0.2.7", "81", "dev", "lo"], "socket"),
        ):
            assert printed(host, "explain", *packet)["outcome"] == outcome


def test_changes(host: Host) -> None:
    host.conf(*RULES)
    printed(host, "load")
    host.conf("[web]", "Bind=tcp 192.0.2.7/24 80")
    checked = printed(host, "apply", "--check")
    assert checked["notices"]
    assert not checked["swapped"]
    for command in (
        ["apply"],
        ["bind", "web", "tcp", "192.0.2.0/24", "443"],
        ["unbind", "web", "tcp", "192.0.2.0/24", "443"],
        ["rollback"],
        ["upgrade"],
    ):
        assert printed(host, *command)["swapped"]
    host.conf("[web]", "Bind=tcp nonsense 80")
    failed = host.run("--json", "apply")
    kind, error = validated(failed.out)
    assert (kind, error["status"]) == ("error", EXIT_CONFIG)
    assert "nonsense" in error["problems"][0]
    assert printed(host, "status")["applied"]["status"] == EXIT_CONFIG


def test_rules_on_trial(host: Host) -> None:
    host.load(*RULES)
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
    printed(host, "apply", "--confirm", "60")
    assert printed(host, "status")["trial"]["generation"] == 1
    assert printed(host, "confirm")["generation"] == 2


def test_findings(host: Host) -> None:
    host.conf("[web]", "Bind=tcp 198.51.100.0/24 80")
    printed(host, "load")
    outcome = host.run("--json", "check")
    assert validated(outcome.out)[0] == "findings"


def test_what_a_reader_without_privileges_prints(host: Host) -> None:
    host.load(*RULES)
    for path in [host.bpffs, *host.home.rglob("*"), host.home]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command += ["--bounding-set=-all", "/usr/bin/python3", "-c", _MAIN, str(tree.public())]
    with host.serve("web", "127.0.0.1", 8080), host.namespace.entered():
        options = ["--bpffs", str(host.bpffs), "--json"]
        for arguments in (["status"], ["listeners"], ["inspect", "web"], ["graph"],
                          ["explain", "tcp", "192.0.2.8", "80"]):  # fmt: skip
            done = subprocess.run(
                [*command, *options, *arguments], capture_output=True, text=True, check=False
            )
            assert done.returncode == EXIT_OK, done.stderr
            kind, content = validated(done.stdout)
            if kind == "status":
                assert (content["program"], content["others"]) == (None, None)
            if kind == "inspect":
                assert content["members"][0]["options"] is None


_MAIN = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from sockreg.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_sets(host: Host) -> None:
    host.conf("[:prefixes]", "all=192.0.2.0/24 @lost", "some=192.0.2.1", "[web]",
              "Bind=tcp @some 80")  # fmt: skip
    assert [it["name"] for it in printed(host, "rules", "--sets")] == ["all", "some"]


def test_flows_that_stay(host: Host) -> None:
    start(host, "Flows=sticky", members=1)
    with Pool(host, UDP) as pool:
        pool.add(1)
        pool.flows(2)
        assert len(printed(host, "flows", "web")["flows"]) == 2
        assert printed(host, "status")["flows"]["noted"] == 2

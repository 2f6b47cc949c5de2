"""What ``import sockreg`` offers to programs. tests/systemd/test_docs.py plays docs/api.md."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

import sockreg
from sockreg.systemd import journal
from tests.kernel.host import Host, cookie
from tests.netns import TCP
from tests.tree import ROOT

WEB = ["[web]", "Bind=tcp 192.0.2.0/24 80"]


@pytest.fixture
def registry(host: Host) -> Iterator[sockreg.Registry]:
    """The registry of the host's network namespace, in which this thread is."""
    with sockreg.open_registry(
        host.namespace.path, bpffs=str(host.bpffs), root=str(host.root)
    ) as opened:
        yield opened


def test_importing_it_costs_nothing() -> None:
    script = "import sys; before = set(sys.modules); import sockreg; print(set(sys.modules)-before)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "{'sockreg'}"


def test_every_name_is_there_and_says_what_it_is() -> None:
    assert set(sockreg.__all__) <= set(dir(sockreg))
    for name in sockreg.__all__:
        found = getattr(sockreg, name)
        assert isinstance(found, str) or found.__doc__, name
    assert not hasattr(sockreg, "no_such_name")


def test_from_load_to_unload(host: Host, registry: sockreg.Registry) -> None:
    host.conf(*WEB)
    loaded = registry.load()
    assert loaded.created
    assert loaded.registry == registry.path == str(host.registry)
    assert [entry["MESSAGE_ID"] for entry in host.entries()] == [
        [journal.LOADED],
        [journal.APPLIED],
    ]
    assert registry.is_loaded
    assert [sockreg.format_rule(rule) for rule in registry.rules()] == ["tcp 192.0.2.0/24 80"]
    assert not registry.load().created
    assert "is gone" in registry.unload()
    with pytest.raises(sockreg.NotLoadedError):
        registry.rules()


def test_a_registered_socket_gets_the_traffic(host: Host, registry: sockreg.Registry) -> None:
    host.conf(*WEB)
    registry.load()
    with host.namespace.serve("web", "127.0.0.1", 8080, TCP) as server:
        registry.register([server.sock], "web", unit="web.service", weight=7)
        assert host.ask("192.0.2.7", 80) == "web"
        (destination,) = registry.status().destinations
        (member,) = destination.members
        assert (member.cookie, member.unit, member.weight) == (
            cookie(server.sock),
            "web.service",
            7,
        )
        (details,) = registry.inspect("web")
        assert details.address == "127.0.0.1:8080"
        assert registry.weigh("web", 0) == 1
        assert host.ask("192.0.2.7", 80) == "refused"
        assert registry.unregister("web", unit="web.service") == 1
        registry.register([server.sock.fileno()], "web")
        assert host.ask("192.0.2.7", 80) == "web"


def test_explain(host: Host, registry: sockreg.Registry) -> None:
    host.conf(*WEB, "Reject=tcp 192.0.2.9 80 from 198.51.100.0/24")
    registry.load()
    found = registry.explain("tcp", "192.0.2.1", 80)
    assert found.outcome is sockreg.Outcome.REFUSED
    assert found.label == "web"
    assert registry.explain("tcp", "192.0.2.9", 80, source="198.51.100.1").action == "reject"
    assert registry.explain("udp", "192.0.2.1", 80).outcome is sockreg.Outcome.NOBODY
    for wrong in (("sctp", "192.0.2.1", 80), ("tcp", "nowhere", 80), ("tcp", "192.0.2.1", 0)):
        with pytest.raises(sockreg.UsageError):
            registry.explain(*wrong)


def test_rules_are_checked_applied_and_taken_back(host: Host, registry: sockreg.Registry) -> None:
    host.conf(*WEB)
    registry.load()
    host.conf(*WEB, "Bind=tcp 192.0.2.0/24 443")
    preview = registry.preview()
    assert not preview.swapped
    assert [sockreg.format_rule(rule) for rule in preview.added] == ["tcp 192.0.2.0/24 443"]
    host.entries()
    change = registry.apply()
    assert change.swapped
    (entry,) = host.entries()
    assert entry["MESSAGE"] == [change.summary]
    assert registry.rollback().difference == "0 added, 1 removed"
    kinds = {finding.check for finding in registry.check()}
    assert {"not-applied", "no-socket"} <= kinds
    assert all(it.severity is not sockreg.Severity.ERROR for it in registry.check(files_only=True))
    assert registry.bind("web", "udp ::1 53").summary == (
        "generation 3 in force: 3 rules (2 added, 0 removed)"
    )
    assert registry.unbind("web", "udp ::1 53").difference == "0 added, 1 removed"


def test_failures_have_classes(host: Host, registry: sockreg.Registry) -> None:
    with pytest.raises(sockreg.NotLoadedError):
        registry.status()
    with pytest.raises(sockreg.UsageError, match="no-such-namespace"):
        sockreg.open_registry("no-such-namespace").__enter__()
    registry.load()
    path = host.conf("[web]", "Bind=tcp nonsense 80")
    with pytest.raises(sockreg.ConfigError, match=f"{path}:2: "):
        registry.apply()
    host.conf(*WEB)
    registry.apply()
    with socket.socket(socket.AF_UNIX) as unix, pytest.raises(sockreg.RefusedError):
        registry.register([unix], "web")
    with pytest.raises(sockreg.UsageError, match="label"):
        registry.register([], "a:b")
    for unit in ("", "two words", "caf\N{LATIN SMALL LETTER E WITH ACUTE}.service", "x" * 256):
        with pytest.raises(sockreg.UsageError, match="not the name of a unit"):
            registry.register([], "web", unit=unit)
    for weight in (-1, 65536):
        with pytest.raises(sockreg.UsageError, match=f"weight {weight} is not from 0 to 65535"):
            registry.register([], "web", weight=weight)
        with pytest.raises(sockreg.UsageError, match=f"weight {weight} is not from 0 to 65535"):
            registry.weigh("web", weight)
    with pytest.raises(sockreg.SockregError, match="no socket"):
        registry.unregister("web")


def test_it_says_what_the_commands_say(host: Host, registry: sockreg.Registry) -> None:
    host.conf(*WEB)
    registry.load()
    told = json.loads(json.dumps(vars(registry.status())["destinations"], default=vars))
    assert told == host.json("status")["destinations"]
    assert {it.cookie for it in registry.listeners().listeners} == {
        it["cookie"] for it in host.json("listeners")["listeners"]
    }

"""The metrics, and that documents, alerts and dashboard speak of those that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from sockreg.context import Context
from sockreg.errors import NotLoadedError, SockregError
from sockreg.host.queues import Queue
from sockreg.metrics import collect
from sockreg.metrics.collect import RegistryCollector
from sockreg.registry.counters import Causes
from sockreg.registry.generation_record import Header
from sockreg.views import rules, status
from sockreg.views.status import Counters, DestinationStatus, FlowCounts, LastApply, Member, Status
from tests.exposition import samples
from tests.process import run
from tests.tree import ROOT

CHECKSUM = (1 << 48) - 1
ALERTS = ROOT / "docs/alerts.yml"
FLEET_ALERTS = ROOT / "docs/fleet-alerts.yml"
DASHBOARD = ROOT / "docs/grafana-dashboard.json"
DASHBOARDS = [DASHBOARD, ROOT / "docs/fleet-dashboard.json"]
# Names of metrics in text that also says "sockreg-collect.socket" and the like.
_NAMED = re.compile(r"\bsockreg_[a-z_]+\b")

MEMBERS = [
    Member(
        cookie="sk:1a",
        address="127.0.0.1:8080",
        unit="web@1.socket",
        weight=100,
        registered=1_700_000_000_000_000_000,
        slot=3,
        flows=11,
        queue=Queue(129, 128, 40, full=True),
    ),
    Member(
        cookie="sk:1b",
        address="127.0.0.1:8081",
        unit="web@2.socket",
        weight=0,
        registered=1_700_000_000_000_000_000,
        slot=4,
    ),
]
SEEN = Status(
    registry="/sys/fs/bpf/sockreg/1",
    netns=1,
    program=None,
    generation=7,
    header=Header(
        version="0.1.0",
        created=1_700_000_000_500_000_000,
        fingerprint="",
        source="",
        count=5,
        table_bytes=256,
        counters=True,
        previous=6,
        destinations=[],
        interfaces=["eth0", "wg0"],
        indices=[2, 0],
        rules_for=[1, 2],
    ),
    applied=LastApply(3, 1_700_000_100_000_000_000, 1_700_000_000_000_000_000),
    destinations=[
        DestinationStatus(
            label="web",
            protocol="tcp",
            family="ipv4",
            rules=2,
            members=MEMBERS,
            counters=Counters(40, 3, 1, Causes(closed=1)),
            slot=2,
        ),
        DestinationStatus(
            label='quo"ted\\',
            protocol="udp",
            family="ipv6",
            rules=1,
            members=[],
            counters=Counters(7, 7, 0),
            slot=5,
        ),
    ],
    rejected=9,
    units=["web@1.socket"],
    expected=None,
    others=None,
    flows=FlowCounts(12, 1024, 34),
)


def collector(patch: pytest.MonkeyPatch, seen: Status | Exception) -> RegistryCollector:
    def read(context: Context) -> Status:
        if isinstance(seen, Exception):
            raise seen
        return seen

    patch.setattr(status, "read", read)
    patch.setattr(rules, "checksum", lambda *_: rules.Checksum(7, CHECKSUM))
    return RegistryCollector(cast("Context", None))


def values(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """(name, values of its labels in the order of their names) -> value."""
    return {
        (it.name, tuple(value for _, value in sorted(it.labels.items()))): it.value
        for it in samples(text)
    }


@pytest.fixture
def exposed(monkeypatch: pytest.MonkeyPatch) -> str:
    return collect.exposition(collector(monkeypatch, SEEN)).decode()


def test_values(exposed: str) -> None:
    found = values(exposed)
    web, other = ("ipv4", "web", "tcp"), ("ipv6", 'quo"ted\\', "udp")
    expected = {
        ("sockreg_up", ()): 1,
        ("sockreg_collection_errors_total", ()): 0,
        ("sockreg_generation", ()): 7,
        ("sockreg_generation_created_timestamp_seconds", ()): 1_700_000_000.5,
        ("sockreg_bindings", ()): 3,
        ("sockreg_rules_checksum", ()): CHECKSUM,
        ("sockreg_pending_bindings", ("eth0",)): 0,
        ("sockreg_pending_bindings", ("wg0",)): 2,
        ("sockreg_table_bytes", ()): 256,
        ("sockreg_rejected_total", ()): 9,
        ("sockreg_last_apply_success", ()): 0,
        ("sockreg_last_apply_timestamp_seconds", ()): 1_700_000_100,
        ("sockreg_last_apply_success_timestamp_seconds", ()): 1_700_000_000,
        ("sockreg_lookups_total", web): 40,
        ("sockreg_misses_total", web): 3,
        ("sockreg_errors_total", ("closed", *web)): 1,
        ("sockreg_errors_total", ("family", *web)): 0,
        ("sockreg_rules", web): 2,
        ("sockreg_members", web): 2,
        ("sockreg_has_socket", web): 1,
        ("sockreg_lookups_total", other): 7,
        ("sockreg_misses_total", other): 7,
        ("sockreg_errors_total", ("closed", *other)): 0,
        ("sockreg_rules", other): 1,
        ("sockreg_members", other): 0,
        ("sockreg_has_socket", other): 0,
        ("sockreg_member_weight", (*web, "web@1.socket")): 100,
        ("sockreg_member_weight", (*web, "web@2.socket")): 0,
        ("sockreg_member_flows", (*web, "web@1.socket")): 11,
        ("sockreg_member_queue", (*web, "web@1.socket")): 129,
        ("sockreg_member_queue_limit", (*web, "web@1.socket")): 128,
        ("sockreg_member_queue_full", (*web, "web@1.socket")): 1,
        ("sockreg_member_queue_dropped_total", (*web, "web@1.socket")): 40,
        ("sockreg_flows", ()): 12,
        ("sockreg_flows_room", ()): 1024,
        ("sockreg_flows_evicted_total", ()): 34,
    }
    assert {name: found[name] for name in expected} == expected


def test_promtool_is_content(exposed: str) -> None:
    done = run(["promtool", "check", "metrics"], text=exposed)
    assert done.stdout + done.stderr == ""


def test_a_failure_is_told_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = collector(monkeypatch, NotLoadedError("nothing is loaded", ""))
    registry = CollectorRegistry()
    registry.register(failing)
    for times in (1, 2):
        found = values(generate_latest(registry).decode())
        assert found["sockreg_up", ()] == 0
        assert found["sockreg_collection_errors_total", ()] == times
        assert {name for name, _ in found} == {
            "sockreg_up",
            "sockreg_collection_errors_total",
            "sockreg_build_info",
        }
        assert isinstance(failing.failure, SockregError)
    monkeypatch.setattr(status, "read", lambda _: SEEN)
    found = values(generate_latest(registry).decode())
    assert found["sockreg_up", ()] == 1
    assert found["sockreg_collection_errors_total", ()] == 2
    assert failing.failure is None


def test_the_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sockreg.prom"
    collect.write_textfile(str(path), b"old\n")
    assert path.stat().st_mode & 0o777 == 0o644

    def refuse(*_: object) -> None:
        assert path.read_bytes() == b"old\n"
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", refuse)
        with pytest.raises(OSError, match="No space"):
            collect.write_textfile(str(path), b"new\n")
    assert [it.name for it in tmp_path.iterdir()] == ["sockreg.prom"]
    collect.write_textfile(str(path), b"new\n")
    assert path.read_bytes() == b"new\n"
    with pytest.raises(FileNotFoundError):
        collect.write_textfile(str(tmp_path / "wrong" / "sockreg.prom"), b"new\n")


# Documents, alerts, dashboard


def names(exposed: str) -> set[str]:
    return {sample.name for sample in samples(exposed)}


def test_the_document_lists_every_metric(exposed: str) -> None:
    text = (ROOT / "docs/metrics.md").read_text()
    listed = dict(re.findall(r"^\| `(sockreg_\w+)` \| ([\w, ]*?) ?\|", text, re.MULTILINE))
    assert listed.keys() == names(exposed)
    for sample in samples(exposed):
        labels = set(filter(None, listed[sample.name].split(", ")))
        assert labels == sample.labels.keys(), sample.name


@pytest.mark.parametrize(("alerts", "count"), [(ALERTS, 9), (FLEET_ALERTS, 4)])
def test_alerts_speak_of_metrics_that_there_are(exposed: str, alerts: Path, count: int) -> None:
    expressions = re.findall(r"^ +expr: ((?:.*\n)+?) +for:", alerts.read_text(), re.MULTILINE)
    assert len(expressions) == count
    assert {name for it in expressions for name in _NAMED.findall(it)} <= names(exposed)
    done = run(["promtool", "check", "rules", str(alerts)])
    assert f"SUCCESS: {count} rules found" in done.stdout


def test_alerts_on_a_fleet_name_the_host_that_differs(tmp_path: Path) -> None:
    """Five hosts: at minute 10, two have new rules, at minute 20 four; the fifth is left behind."""

    def series(metric: str, host: int, values: str) -> dict[str, str]:
        return {
            "series": f'{metric}{{job="sockreg",instance="host{host}"}}',
            "values": values,
        }

    new_from = {1: 10, 2: 10, 3: 20, 4: 20, 5: 999}
    firing = 'count by (instance) (ALERTS{alertname="%s",alertstate="firing"})'
    inputs = [
        series("sockreg_rules_checksum", host, f"11x{min(when, 60) - 1} 22x{max(60 - when, 0)}")
        for host, when in new_from.items()
    ]
    inputs += [series("up", host, "1x60") for host in range(1, 5)]
    inputs += [series("up", 5, "1x39 0x20")]
    inputs += [series("sockreg_up", host, "1x60") for host in new_from]
    inputs += [series("sockreg_generation", host, "1x60") for host in new_from]
    inputs += [series("sockreg_last_apply_success", host, "1x60") for host in (1, 2, 3)]
    inputs += [series("sockreg_last_apply_success", 4, "1x29 0x5 1x25")]
    inputs += [series("sockreg_last_apply_success", 5, "1x29 0x30")]
    inputs += [
        {**series("sockreg_parts_left_out", 3, "0x49 2x10")},
    ]
    cases = [
        ("SockregFleetRulesDiffer", "24m", []),  # a roll-out that takes ten minutes
        ("SockregFleetRulesDiffer", "40m", ["host5"]),
        ("SockregFleetRefuses", "29m", []),
        ("SockregFleetRefuses", "33m", [""]),
        ("SockregFleetRefuses", "39m", []),  # one host only
        ("SockregFleetDegraded", "49m", []),
        ("SockregFleetDegraded", "59m", [""]),
        ("SockregFleetHostSilent", "39m", []),
        ("SockregFleetHostSilent", "50m", ["host5"]),
    ]
    tests = [
        {
            "interval": "1m",
            "input_series": inputs,
            "promql_expr_test": [
                {
                    "expr": firing % name,
                    "eval_time": when,
                    "exp_samples": [
                        {"labels": f'{{instance="{host}"}}' if host else "{}", "value": 1}
                        for host in hosts
                    ],
                }
                for name, when, hosts in cases
            ],
        }
    ]
    path = tmp_path / "tests.yml"
    path.write_text(json.dumps({"rule_files": [str(FLEET_ALERTS)], "tests": tests}))
    run(["promtool", "test", "rules", str(path)])


def test_alerts_on_queues_fire_after_a_burst_and_not_in_it(tmp_path: Path) -> None:
    """A full queue for one minute, then for three; and losses for the time after minute ten. A
    member is stalled for two minutes, then from the tenth on, in both families.
    """
    names = '{label="web",unit="web.socket",instance="a"}'
    of_v4, of_v6 = (f'{names[:-1]},family="{family}"}}' for family in ("ipv4", "ipv6"))
    firing = 'count(ALERTS{alertname="%s",alertstate="firing"}) or vector(0)'
    tests = [
        {
            "interval": "15s",
            "input_series": [
                {
                    "series": f"sockreg_member_queue_full{names}",
                    "values": "1x4 0x4 1x12 0x40",
                },
                {
                    "series": f"sockreg_member_queue_dropped_total{names}",
                    "values": "5x40 6+1x80",
                },
                {"series": f"sockreg_member_stalled{of_v4}", "values": "1x8 0x32 1x40 0x40"},
                {"series": f"sockreg_member_stalled{of_v6}", "values": "1x8 0x32 1x40 0x40"},
            ],
            "promql_expr_test": [
                {
                    "expr": firing % alert,
                    "eval_time": when,
                    "exp_samples": [{"labels": "{}", "value": value}],
                }
                for alert, when, value in (
                    ("SockregQueueFull", "1m", 0),
                    ("SockregQueueFull", "5m", 1),
                    ("SockregQueueFull", "8m", 0),
                    ("SockregQueueOverflows", "12m", 0),
                    ("SockregQueueOverflows", "25m", 1),
                    ("SockregMemberStalled", "4m", 0),
                    ("SockregMemberStalled", "18m", 1),
                    ("SockregMemberStalled", "24m", 0),
                )
            ],
        }
    ]
    wanted = tmp_path / "tests.json"  # JSON is YAML
    wanted.write_text(json.dumps({"rule_files": [str(ALERTS)], "tests": tests}))
    done = run(["promtool", "test", "rules", str(wanted)])
    assert "SUCCESS" in done.stdout


def expressions_in(part: Any) -> Iterator[str]:
    """All queries of a dashboard, wherever they stand."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in {"expr", "definition"}:
                yield value
            else:
                yield from expressions_in(value)
    elif isinstance(part, list):
        for value in part:
            yield from expressions_in(value)


@pytest.mark.parametrize("path", DASHBOARDS)
def test_the_dashboard_speaks_of_metrics_that_there_are(exposed: str, path: Path) -> None:
    dashboard = json.loads(path.read_text())
    queries = list(expressions_in(dashboard))
    assert {name for it in queries for name in _NAMED.findall(it)} <= names(exposed)
    assert len(queries) > 10
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("path", DASHBOARDS)
def test_every_query_of_the_dashboard_is_valid(tmp_path: Path, path: Path) -> None:
    """promtool reads queries in rules; what Grafana replaces gets a value."""
    variables = {"$__rate_interval": "1m", "$instance": ".*", "$label": ".*", "$job": ".*"}
    lines = ["groups:", "- name: dashboard", "  rules:"]
    for number, query in enumerate(expressions_in(json.loads(path.read_text()))):
        if query.startswith("label_values("):
            continue
        for variable, value in variables.items():
            query = query.replace(variable, value)
        lines += [f"  - record: panel:{number}", f"    expr: {json.dumps(query)}"]
    written = tmp_path / "rules.yml"
    written.write_text("\n".join(lines) + "\n")
    run(["promtool", "check", "rules", str(written)])


@pytest.mark.parametrize("path", DASHBOARDS)
def test_panels_do_not_overlap(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text())["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_library_is_imported_for_metrics_alone() -> None:
    importing = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "sockreg").rglob("*.py")
        if re.search(r"^\s*(from|import) prometheus_client", path.read_text(), re.MULTILINE)
    }
    assert importing == {"sockreg/metrics/collect.py"}
    assert collect.__name__ == "sockreg.metrics.collect"

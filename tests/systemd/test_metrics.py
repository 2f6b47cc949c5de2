"""Metrics as a real Prometheus takes them."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.test_stalls import ADDRESS, pool
from tests.systemd.units import UNITS, web
from tests.tree import ROOT

EXPORTER = "127.0.0.1:9437"
PROMETHEUS = "http://127.0.0.1:9090"
CONFIGURATION = f"""\
global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}
rule_files: [/root/alerts.yml]
scrape_configs:
  - job_name: sockreg
    static_configs: [{{targets: ["{EXPORTER}"]}}]
"""


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    box = with_prometheus(make_box, web())
    box.systemctl("enable", "--now", "sockreg@web.service")
    return box


def with_prometheus(make_box: MakeBox, files: dict[str, str]) -> Sandbox:
    """A box with these files and an exporter, and what prometheus() takes."""
    alerts = (ROOT / "docs/alerts.yml").read_text()
    box = make_box(
        files=files
        | {"/root/prometheus.yml": CONFIGURATION, "/root/alerts.yml": without_patience(alerts)}
    )
    box.run(["systemd-sysusers"])
    box.systemctl("enable", "--now", "sockreg-metrics.socket")
    return box


def without_patience(alerts: str) -> str:
    """The alerts without the time that a fault must last."""
    return "".join(
        line for line in alerts.splitlines(keepends=True) if not line.strip().startswith("for:")
    )


def scraped(box: Sandbox) -> str:
    return box.run(["curl", "-sS", f"http://{EXPORTER}/metrics"]).stdout


@contextmanager
def prometheus(box: Sandbox) -> Iterator[None]:
    """A Prometheus in the box that scrapes the exporter."""
    command = ["prometheus", "--config.file=/root/prometheus.yml", "--storage.tsdb.path=/tmp/tsdb"]
    command += ["--web.listen-address=127.0.0.1:9090", "--log.level=warn"]
    with box.spawn(command) as process:
        try:
            yield
        finally:
            process.kill()


def asked(box: Sandbox, query: str) -> list[tuple[dict[str, str], float]]:
    """What Prometheus answers: each series' labels and its value; nothing while it starts."""
    command = ["curl", "-sS", "--get", "--data-urlencode", f"query={query}"]
    done = box.run([*command, f"{PROMETHEUS}/api/v1/query"], check=False)
    if done.returncode != 0 or not done.stdout.startswith("{"):
        return []
    content: Any = json.loads(done.stdout)
    assert content["status"] == "success", content
    return [(it["metric"], float(it["value"][1])) for it in content["data"]["result"]]


def value(box: Sandbox, query: str) -> float | None:
    found = asked(box, query)
    return found[0][1] if found else None


def firing(box: Sandbox) -> set[str]:
    return {labels["alertname"] for labels, _ in asked(box, 'ALERTS{alertstate="firing"}')}


def test_promtool_has_nothing_to_complain_about(box: Sandbox) -> None:
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    done = box.run(["promtool", "check", "metrics"], text=scraped(box))
    assert done.stdout + done.stderr == ""


@pytest.mark.long
def test_lookups_that_prometheus_stores_grow_with_traffic(box: Sandbox) -> None:
    query = 'sockreg_lookups_total{label="web",protocol="tcp",family="ipv4"}'
    with prometheus(box):
        box.wait(lambda: value(box, query) == 0, "the first scrape")
        for _ in range(5):
            assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
        box.wait(lambda: value(box, query) == 5, "a scrape with the traffic")
        box.wait(lambda: (value(box, f"increase({query}[1m])") or 0) > 0, "a rate")
        assert firing(box) == set()


@pytest.mark.long
def test_every_alert_fires_for_its_fault_and_ends_with_it(box: Sandbox) -> None:
    with prometheus(box):
        box.wait(lambda: value(box, "sockreg_up") == 1, "the first scrape")
        box.run(["sockreg", "unregister", "web"])
        box.wait(lambda: firing(box) == {"SockregLabelWithoutSocket"}, "the first alert")
        box.systemctl("reload", "sockreg@web.service")
        box.write("/etc/sockreg/wrong.conf", "[web]\nBind=tcp nonsense 80\n")
        assert box.systemctl("reload", "sockreg.service", check=False).returncode != 0
        box.wait(lambda: firing(box) == {"SockregApplyFailed"}, "the second alert")
        box.run(["rm", "/etc/sockreg/wrong.conf"])
        box.systemctl("reload", "sockreg.service")
        box.wait(lambda: firing(box) == set(), "the end of the second alert")
        box.systemctl("stop", "sockreg.service")
        box.wait(lambda: firing(box) == {"SockregNotReadable"}, "the third alert")
        box.systemctl("start", "sockreg.service")
        box.wait(lambda: firing(box) == set(), "the end of the third alert")
        box.write("/etc/sockreg/wrong.conf", "[web]\nBind=tcp nonsense 80\n")
        box.systemctl("restart", "sockreg.service")
        box.wait(lambda: firing(box) == {"SockregPartLeftOut"}, "the fourth alert")
        box.run(["rm", "/etc/sockreg/wrong.conf"])
        box.systemctl("reload", "sockreg.service")
        box.wait(lambda: firing(box) == set(), "the end of the fourth alert")
        box.run(["sockreg", "unload"])
        box.wait(lambda: firing(box) == {"SockregNotReadable"}, "the third alert again")
        assert (value(box, "sockreg_collection_errors_total") or 0) > 0


@pytest.mark.long
def test_a_member_that_hangs_fires_its_alerts(make_box: MakeBox) -> None:
    box = with_prometheus(make_box, pool("Drain=stalled"))
    box.systemctl("enable", "--now", "sockreg@web@1.service", "sockreg@web@2.service")
    for number in (1, 2):
        box.ask("127.0.0.1", 8080 + number)  # starts the server
    with prometheus(box), contextlib.ExitStack() as clients:
        box.wait(lambda: value(box, "sockreg_up") == 1, "the first scrape")
        box.systemctl("kill", "--signal", "STOP", "web@1.service")
        for _ in range(40):
            client = box.network.new_socket(socket.AF_INET, socket.SOCK_STREAM)
            clients.enter_context(client)
            client.setblocking(False)
            client.connect_ex((ADDRESS, 80))
        wanted = {"SockregQueueFull", "SockregQueueOverflows", "SockregMemberStalled"}
        box.wait(lambda: firing(box) == wanted, "the alerts on a member that hangs", 60)
        box.systemctl("kill", "--signal", "CONT", "web@1.service")
        # What did not fit is a rate over five minutes.
        wanted = {"SockregQueueOverflows"}
        box.wait(lambda: firing(box) <= wanted, "the end of the alerts", 60)


def test_the_exporter_has_no_privilege(box: Sandbox) -> None:
    text = scraped(box)
    assert "sockreg_up 1.0" in text
    assert re.search(r'^sockreg_member_queue_limit\{.*label="web".*\} [1-9]', text, re.MULTILINE)
    pid = box.show("sockreg-metrics.service", "MainPID")
    status = dict(
        line.split(":\t", 1)
        for line in box.read(f"/proc/{pid}/status").splitlines()
        if ":\t" in line
    )
    assert "0" not in status["Uid"].split()
    assert {status[name].strip("0") for name in ("CapEff", "CapPrm", "CapBnd")} == {""}
    level = box.run(["systemd-analyze", "security", "--no-pager", "sockreg-metrics.service"]).stdout
    overall = level.splitlines()[-1].split()
    assert float(overall[overall.index("sockreg-metrics.service:") + 1]) < 1.5, level
    units = ("sockreg-metrics.socket", "sockreg-metrics.service")
    done = box.run(["systemd-analyze", "verify", "--man=no", *units])
    assert done.stdout + done.stderr == ""


def test_without_its_library_each_scrape_is_told_and_nothing_fails(box: Sandbox) -> None:
    library = "/usr/lib/python3/dist-packages/prometheus_client"
    box.run(["mv", library, "/root/away"])
    for _ in range(30):  # more than a .socket unit may trigger at once (TriggerLimitBurst=)
        done = box.run(["curl", "-sS", "-D", "-", f"http://{EXPORTER}/metrics"]).stdout
        assert done.startswith("HTTP/1.1 503 ")
        assert done.endswith("install it: 'apt install python3-prometheus-client'"
                             " or 'pip install prometheus-client'\n")  # fmt: skip
    assert box.systemctl("--failed", "--no-legend").stdout == ""
    (entry,) = box.journal("-u", "sockreg-metrics.service", "PRIORITY=4")
    assert "the Python package prometheus-client is missing or broken: " in entry["MESSAGE"]
    box.run(["mv", "/root/away", library])
    assert "sockreg_up 1.0" in scraped(box), "without a restart"


def test_a_client_that_says_nothing_holds_nobody_up(box: Sandbox) -> None:
    with box.network.new_socket(socket.AF_INET, socket.SOCK_STREAM) as silent:
        silent.connect(("127.0.0.1", 9437))
        assert "sockreg_up 1.0" in scraped(box)


def test_slow_clients_take_no_threads_and_keep_nobody_out(box: Sandbox) -> None:
    """More connections than any limit, of which each says a part of a request."""
    assert "sockreg_up 1.0" in scraped(box)
    pid = box.show("sockreg-metrics.service", "MainPID")
    with contextlib.ExitStack() as stack:
        for number in range(1300):
            slow = stack.enter_context(box.network.new_socket(socket.AF_INET, socket.SOCK_STREAM))
            slow.settimeout(10)
            slow.connect(("127.0.0.1", 9437))
            with contextlib.suppress(ConnectionError):  # an older one is closed for a newer one
                slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: a")
            if number % 400 == 399:
                assert "sockreg_up 1.0" in scraped(box)
        assert "sockreg_up 1.0" in scraped(box)
        assert box.show("sockreg-metrics.service", "MainPID") == pid
        assert "Threads:\t1\n" in box.read(f"/proc/{pid}/status")
        assert len(box.run(["ls", f"/proc/{pid}/fd"]).stdout.split()) < 100


def test_an_exporter_that_nobody_asks_ends_and_comes_back(make_box: MakeBox) -> None:
    """The idle time is that of the module; here it is cut short."""
    short = (
        "[Service]\nExecStart=\nExecStart=/usr/bin/python3 -c 'import sys; from sockreg.metrics "
        "import serve; serve._IDLE = 0.2; from sockreg.cli.main import main; "
        'sys.exit(main(["--bpffs", "/run/sockreg/bpf", "metrics", "--serve"]))\'\n'
    )
    box = make_box(files=web() | {f"{UNITS}/sockreg-metrics.service.d/short.conf": short})
    box.run(["systemd-sysusers"])
    box.systemctl("enable", "--now", "sockreg@web.service", "sockreg-metrics.socket")
    for _ in range(3):
        assert "sockreg_up 1.0" in scraped(box)
        box.wait(
            lambda: box.show("sockreg-metrics.service", "ActiveState") == "inactive", "its end"
        )
    assert box.show("sockreg-metrics.service", "Result") == "success"

"""Unmodified servers that are registered when they listen, on a real systemd."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial

import pytest

from tests.netns import TCP
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, service_unit, socket_unit

RULES = "[web]\nBind=tcp 127.0.0.1 80\nBind=tcp ::1 80\n[admin]\nBind=tcp 127.0.0.1 81\n"
# What docs/handover.md tells to put into a unit.
UNIT = ("Wants=sockreg-sockops.service", "After=sockreg-sockops.service")
EXPECT = "ExecStartPre=+/usr/bin/sockreg expect web"
PAGE = "GET / HTTP/1.0\r\n\r\n"
SETTINGS = {
    "plain": [],
    "DynamicUser": ["DynamicUser=yes"],
    "hardened": [
        "User=nobody",
        "PrivateUsers=yes",
        "ProtectSystem=strict",
        "ProtectControlGroups=yes",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "SystemCallFilter=@system-service",
    ],
    "Delegate": ["Delegate=yes"],
}


def http(settings: Sequence[str] = (), expect: Sequence[str] = (EXPECT,)) -> dict[str, str]:
    """web.service: the web server that comes with Python, which knows nothing of systemd."""
    lines = [
        "[Unit]",
        *UNIT,
        "StartLimitIntervalSec=0",
        "[Service]",
        *expect,
        "ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 8080",
        "WorkingDirectory=/usr/share/doc",
        *settings,
        "[Install]",
        "WantedBy=sandbox.target",
    ]
    return {f"{UNITS}/web.service": "\n".join(lines) + "\n", "/etc/sockreg/web.conf": RULES}


def is_served(box: Sandbox, port: int = 80) -> bool:
    return box.ask("127.0.0.1", port, TCP, request=PAGE.encode()).startswith("HTTP/1.0 200 OK")


def served(box: Sandbox) -> None:
    box.wait(lambda: is_served(box), "an answer at the steered port")


def is_new(box: Sandbox, killed: str) -> bool:
    return box.show("web.service", "MainPID") not in (killed, "0")


def members(box: Sandbox) -> dict[str, str]:
    status = json.loads(box.run(["sockreg", "--json", "status"]).stdout)["status"]
    return {
        f"{it['label']} {it['family']}": f"{member['unit']} {member['address']}"
        for it in status["destinations"]
        for member in it["members"]
    }


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_an_unmodified_server_is_registered(make_box: MakeBox, settings: Sequence[str]) -> None:
    box = make_box(files=http(settings))
    box.systemctl("start", "web.service")
    served(box)
    assert members(box) == {"web ipv4": "web.service 127.0.0.1:8080"}
    box.systemctl("stop", "web.service")
    assert box.ask("127.0.0.1", 80) == "refused"
    assert members(box) == {}


def test_restarts_crashes_and_reloads(make_box: MakeBox) -> None:
    box = make_box(files=http(["Restart=always", "RestartSec=0"]))
    box.systemctl("start", "web.service")
    served(box)
    for _ in range(3):
        box.systemctl("restart", "web.service")
        served(box)
    for _ in range(3):
        killed = box.show("web.service", "MainPID")
        box.systemctl("kill", "--signal=KILL", "web.service")
        box.wait(partial(is_new, box, killed), "a restart")
        served(box)
    box.systemctl("daemon-reload")
    assert is_served(box)
    box.systemctl("daemon-reexec")
    served(box)
    box.systemctl("restart", "web.service")
    served(box)
    assert members(box) == {"web ipv4": "web.service 127.0.0.1:8080"}
    assert box.show("sockreg-sockops.service", "NRestarts") == "0"


def test_several_listeners_of_one_unit(make_box: MakeBox) -> None:
    server = service_unit(
        "opener mine 'tcp 127.0.0.1 7070' 'tcp 127.0.0.1 9090' 'tcp :: 8080'",
        dependencies=UNIT,
        settings=[f"{EXPECT} 8080", "ExecStartPre=+/usr/bin/sockreg expect admin 9090"],
    )
    box = make_box(files=http() | {f"{UNITS}/web.service": server})
    for action in ("start", "restart"):
        box.systemctl(action, "web.service")
        box.wait(lambda: box.ask("127.0.0.1", 81) == "mine", "the admin port")
        box.wait(lambda: box.ask("127.0.0.1", 80) == "mine", "the web port over IPv4")
        box.wait(lambda: box.ask("::1", 80) == "mine", "the web port over IPv6")
        assert members(box) == {
            "admin ipv4": "web.service 127.0.0.1:9090",
            "web ipv4": "web.service [::]:8080",
            "web ipv6": "web.service [::]:8080",
        }


def test_a_socket_unit_can_be_registered_so(make_box: MakeBox) -> None:
    files = {
        "/etc/sockreg/web.conf": RULES,
        f"{UNITS}/web.socket": socket_unit(
            "127.0.0.1:8080", dependencies=UNIT, settings=[EXPECT], label="web"
        ),
        f"{UNITS}/web.service": service_unit(
            "accept_loop web", dependencies=["Requires=web.socket"]
        ),
    }
    box = make_box(files=files)
    box.systemctl("start", "web.socket")
    assert members(box) == {"web ipv4": "web.socket 127.0.0.1:8080"}
    assert box.show("web.service", "ActiveState") == "inactive"
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    box.systemctl("restart", "web.socket")
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    assert members(box) == {"web ipv4": "web.socket 127.0.0.1:8080"}


@pytest.mark.parametrize("unit", ["sockreg.service", "sockreg-sockops.service"])
def test_a_loader_leaves_those_alone_who_need_it(make_box: MakeBox, unit: str) -> None:
    """And what is expected of them: the server registers again whenever it listens."""
    box = make_box(files=http())
    box.systemctl("start", "web.service")
    served(box)
    before = box.show("web.service", "MainPID")
    for verb in ("reload-or-restart", "restart"):
        box.systemctl(verb, unit)
        assert is_served(box)
        assert box.show("web.service", "MainPID") == before
        assert "expects web.service for web" in box.run(["sockreg", "status"]).stdout
    box.systemctl("restart", "web.service")
    served(box)


def test_boot(make_box: MakeBox) -> None:
    box = make_box(files=http())
    box.systemctl("enable", "web.service")
    box.reboot()
    served(box)
    assert box.systemctl("is-system-running").stdout == "running\n"


def test_stopping_it_leaves_the_registry_as_it_was(make_box: MakeBox) -> None:
    files = http(expect=[]) | {f"{UNITS}/web.service.d/none.conf": "[Unit]\n"}
    box = make_box(files=files)
    box.systemctl("start", "web.service")
    assert "sock_ops    attached; expects no unit" in box.run(["sockreg", "status"]).stdout
    box.systemctl("stop", "sockreg-sockops.service")
    assert "sock_ops" not in box.run(["sockreg", "status", "-n0"]).stdout
    assert box.show("sockreg.service", "ActiveState") == "active"
    box.run(["sockreg", "unload"])
    assert box.run(["ls", "/sys/fs/bpf/sockreg"]).stdout == ""


def test_without_the_program_the_unit_says_what_is_missing(make_box: MakeBox) -> None:
    files = http()
    files[f"{UNITS}/web.service"] = re.sub("(Wants|After)=.*\n", "", files[f"{UNITS}/web.service"])
    box = make_box(files=files)
    box.systemctl("start", "sockreg.service")
    assert box.systemctl("start", "web.service", check=False).returncode != 0
    said = [str(entry["MESSAGE"]) for entry in box.journal("-u", "web.service")]
    assert any("no sock_ops program is loaded" in line for line in said)
    assert any("systemctl start sockreg-sockops.service" in line for line in said)


def test_what_the_unit_may_do(make_box: MakeBox) -> None:
    box = make_box()
    unit = "sockreg-sockops.service"
    shown = box.run(["systemd-analyze", "security", "--no-pager", unit]).stdout
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown)
    assert level is not None, shown
    assert float(level[1]) < 2.0, shown
    done = box.run(["systemd-analyze", "verify", "--man=no", unit])
    assert done.stdout + done.stderr == ""

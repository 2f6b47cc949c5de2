"""The lint on a real systemd: its own units are clean, and drop-ins that break them are not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, web


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    fresh = make_box(files=web(rules=["Bind=tcp 127.0.0.2 80"]))
    fresh.systemctl("enable", "--now", "sockreg@web.service")
    return fresh


def kinds(box: Sandbox, *arguments: str) -> list[str]:
    """The kinds of all findings, the gravest first."""
    done = box.run(["sockreg", "--json", "check", *arguments], check=False)
    findings: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return [finding["check"] for finding in findings]


def test_what_we_ship_is_clean(box: Sandbox) -> None:
    assert box.ask("127.0.0.2", 80).startswith("web ")
    assert box.run(["sockreg", "check"]).stdout == "nothing found\n"
    box.reboot()
    assert kinds(box) == []
    box.systemctl("stop", "sockreg.service")
    assert kinds(box) == ["not-loaded"]
    assert kinds(box, "--files") == []


def test_a_stopped_socket(box: Sandbox) -> None:
    box.systemctl("stop", "web.socket")
    assert kinds(box) == ["inactive-socket", "no-socket"]
    box.systemctl("start", "sockreg@web.service")
    assert kinds(box) == []


def test_a_drop_in_that_loads_into_nowhere(box: Sandbox) -> None:
    dropin = f"{UNITS}/sockreg.service.d/network.conf"
    box.write(dropin, "[Service]\nPrivateNetwork=yes\n")
    told = box.run(["sockreg", "check"], check=False).stdout
    assert f"error (private-network): {dropin}:2" in told


def test_a_server_without_requires(box: Sandbox) -> None:
    """The trap is real: the restart that the lint warns of leaves the socket dead."""
    service = box.run(["cat", f"{UNITS}/web.service"]).stdout
    box.write(f"{UNITS}/web.service", service.replace("Requires=web.socket\n", ""))
    box.systemctl("daemon-reload")
    assert kinds(box) == ["no-requires"]
    box.ask("127.0.0.2", 80)
    box.systemctl("restart", "web.socket", check=False)
    assert box.show("web.socket", "ActiveState") in ("inactive", "failed")
    assert "inactive-socket" in kinds(box)


def test_a_server_that_failed(box: Sandbox) -> None:
    box.write(f"{UNITS}/web.service.d/fail.conf", "[Service]\nExecStart=\nExecStart=/bin/false\n")
    box.systemctl("daemon-reload")
    box.systemctl("start", "web.service", check=False)
    box.wait(lambda: box.show("web.service", "ActiveState") == "failed")
    assert "dead-server" in kinds(box)

"""Fixes for sockets that register themselves, done as they are printed, with a client."""

from __future__ import annotations

import json
import re

import pytest

from tests.sandbox import Sandbox
from tests.systemd.lint import kinds
from tests.systemd.units import UNITS, web
from tests.systemd257.conftest import MakeBox

ANSWER = "web 127.0.0.2:80"
STOP = f"{UNITS}/web.socket.d/stop.conf"


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    fresh = make_box(files=web(rules=["Bind=tcp 127.0.0.2 80"]))
    fresh.run(["sockreg", "enable", "web", "--mode", "exec"])
    return fresh


def fix(box: Sandbox, kind: str) -> str:
    done = box.run(["sockreg", "--json", "check"], check=False)
    (only,) = (it for it in json.loads(done.stdout)["findings"] if it["check"] == kind)
    return str(only["fix"])


def test_the_other_mode(box: Sandbox) -> None:
    """Both ways round."""
    for mode in ("companion", "exec"):
        done = box.run(["sockreg", "enable", "web", "--mode", mode], check=False)
        (command,) = re.findall(r"undo this first: '([^']*)'", done.stderr)
        box.run(command.split())
        assert box.ask("127.0.0.2", 80) == "refused"
        box.run(["sockreg", "enable", "web", "--mode", mode])
        assert box.ask("127.0.0.2", 80) == ANSWER
        assert kinds(box) == []


def test_a_socket_unit_that_is_gone(box: Sandbox) -> None:
    text = box.read(f"{UNITS}/web.socket")
    for way in ("create", "disable"):
        box.systemctl("stop", "web.service", "web.socket")
        box.run(["rm", f"{UNITS}/web.socket"])
        box.systemctl("daemon-reload")
        said = re.match(r"(sockreg disable web\.socket), or create web\.socket$",
                        fix(box, "no-socket-unit"))  # fmt: skip
        assert said is not None
        if way == "create":
            box.write(f"{UNITS}/web.socket", text)
            box.systemctl("daemon-reload")
            box.systemctl("start", "web.socket")
            assert box.ask("127.0.0.2", 80) == ANSWER
        else:
            box.run(said[1].split())
        assert kinds(box) == []


def test_a_command_at_the_stop_that_gets_the_sockets(box: Sandbox) -> None:
    box.write(STOP, "[Socket]\nExecStopPost=/bin/true\n")
    box.systemctl("daemon-reload")
    assert fix(box, "stop-hook").startswith("remove ExecStopPost=; the slot is emptied when")
    box.run(["rm", STOP])
    box.systemctl("daemon-reload")
    assert kinds(box) == []
    box.systemctl("stop", "web.service", "web.socket")
    assert box.ask("127.0.0.2", 80) == "refused"
    box.systemctl("start", "web.socket")
    assert box.ask("127.0.0.2", 80) == ANSWER

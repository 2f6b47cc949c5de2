"""Findings about a socket that registers itself name no unit that is not in use."""

from __future__ import annotations

import pytest

from tests.sandbox import Sandbox
from tests.systemd.lint import edit_listen_line, follow, kinds
from tests.systemd.units import web
from tests.systemd257.conftest import MakeBox

ANSWER = "web 127.0.0.2:80"


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    """web.socket, enabled in mode exec."""
    fresh = make_box(files=web(rules=["Bind=tcp 127.0.0.2 80"]))
    fresh.run(["sockreg", "enable", "web", "--mode", "exec"])
    assert fresh.ask("127.0.0.2", 80) == ANSWER
    assert kinds(fresh) == kinds(fresh, "--files") == []
    return fresh


def no_companion(box: Sandbox) -> bool:
    return box.show("sockreg@web.service", "ActiveState") == "inactive"


def test_the_fix_for_a_socket_that_is_stopped(box: Sandbox) -> None:
    box.systemctl("stop", "web.socket")
    assert "inactive-socket" in kinds(box)
    follow(box, "inactive-socket")
    assert kinds(box) == []
    assert box.ask("127.0.0.2", 80) == ANSWER
    assert no_companion(box)


def test_the_fix_for_a_socket_that_is_not_registered(box: Sandbox) -> None:
    box.run(["sockreg", "unregister", "web"])
    assert kinds(box) == ["no-socket"]
    follow(box, "no-socket")
    assert kinds(box) == []
    assert box.ask("127.0.0.2", 80) == ANSWER
    assert no_companion(box)


def test_the_fix_for_a_socket_that_is_disabled(box: Sandbox) -> None:
    box.systemctl("disable", "web.socket")
    box.reboot()
    assert kinds(box) == kinds(box, "--files") == ["no-companion"]
    follow(box, "no-companion")
    assert kinds(box) == []
    assert box.ask("127.0.0.2", 80) == ANSWER
    assert no_companion(box)


def test_the_fix_for_listen_lines_that_have_changed(box: Sandbox) -> None:
    edit_listen_line(box, "127.0.0.1:8090")
    assert box.ask("127.0.0.1", 8090) == "web 127.0.0.1:8090"
    assert box.ask("127.0.0.2", 80) == ANSWER
    assert no_companion(box)


def test_taking_a_socket_that_systemd_has_open(box: Sandbox) -> None:
    """The refusal's way out fits this mode, too."""
    box.run(["sockreg", "unregister", "web"])
    said = box.run(["sockreg", "register", "web", "--of-unit", "web.socket"], check=False).stderr
    command = "systemctl start sockreg-add@web.service"
    assert f"'{command}' registers them" in said
    box.run(command.split())
    assert box.ask("127.0.0.2", 80) == ANSWER
    assert no_companion(box)

"""What is done to one service changes nothing for others: a stop is a stop, a mask is a mask."""

from __future__ import annotations

import pytest

from tests.sandbox import Sandbox
from tests.systemd import bystanders
from tests.systemd.bystanders import MASKED, RUNNING, STOPPED, TARGET
from tests.systemd.conftest import MakeBox


@pytest.fixture
def mode() -> str:
    """How sockets are enabled; tests/systemd257 has the other one."""
    return "companion"


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    return make_box(files=bystanders.files())


def test_no_verb_on_one_service_changes_another(box: Sandbox, mode: str) -> None:
    before = bystanders.prepare(box, mode)
    for command in bystanders.commands(mode):
        bystanders.do(box, command)
        if command != ["stop", "sockreg.service"]:
            assert (command, bystanders.states(box)) == (command, before)
    bystanders.do(box, ["start", f"{TARGET}.socket"])
    assert bystanders.is_served(box)


@pytest.mark.long
def test_a_stopped_loader_is_started_by_nothing_else(box: Sandbox, mode: str) -> None:
    before = bystanders.prepare(box, mode)
    box.systemctl("stop", "sockreg.service")
    stopped = bystanders.states(box)
    assert all(where.steered == "refused" for where in stopped.values())
    for command in bystanders.commands(mode):
        if "sockreg.service" not in command and command[-1] != "sockreg-needed.service":
            bystanders.do(box, command)
            assert box.show("sockreg.service", "ActiveState") == "inactive", command
            assert (command, bystanders.states(box)) == (command, stopped)
    # What was started meanwhile is there, too, and nothing else.
    bystanders.do(box, ["start", f"{TARGET}.socket"])
    box.systemctl("start", "sockreg.service")
    assert bystanders.states(box) == before
    assert bystanders.is_served(box)


def test_what_starts_all_sockets_starts_no_masked_one(box: Sandbox, mode: str) -> None:
    """systemd starts what sockets.target wants again, which are the enabled units."""
    before = bystanders.prepare(box, mode)
    bystanders.do(box, ["start", "sockets.target"])
    assert bystanders.state(box, MASKED) == before[MASKED]
    assert bystanders.state(box, RUNNING) == before[RUNNING]


def test_changing_targets_leaves_the_loader_alone(box: Sandbox, mode: str) -> None:
    box.write("/etc/sockreg/dev.conf", "[later]\nBind=tcp 127.0.0.1 99 dev later0\n")
    bystanders.prepare(box, mode)
    followed = "sockreg-interfaces.socket"
    box.wait(lambda: box.show(followed, "ActiveState") == "active", "the watch for interfaces")
    units = ("sockreg.service", "sockreg-needed.service", followed)
    since = [box.show(unit, "ActiveEnterTimestampMonotonic") for unit in units]
    bystanders.do(box, ["isolate", "sandbox.target"])
    assert [box.show(unit, "ActiveState") for unit in units] == ["active"] * 3
    assert [box.show(unit, "ActiveEnterTimestampMonotonic") for unit in units] == since
    assert bystanders.is_served(box, TARGET)
    assert bystanders.is_served(box, RUNNING)


@pytest.mark.long
def test_stopped_sockets_stay_closed_if_the_registry_is_made_again(box: Sandbox, mode: str) -> None:
    before = bystanders.prepare(box, mode)
    for _ in range(2):
        box.run(["sockreg", "unload"])
        assert not bystanders.is_served(box, RUNNING)
        box.systemctl("restart", "sockreg.service")
        assert bystanders.states(box) == before
        assert bystanders.is_served(box, TARGET)
    box.systemctl("start", f"{STOPPED}.socket")
    box.wait(lambda: bystanders.is_served(box, STOPPED), "the registration")

"""The loader stops, starts and restarts under load, with sockets that came in every way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from sockreg.errors import EXIT_PARTLY
from sockreg.systemd import journal
from tests.asking import asking
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, service_unit, socket_unit

# label -> how its socket comes in. Each is asked at its own address, 127.0.1.N, port 80.
WAYS = ("unit", "pid", "of-unit", "inherited", "passed", "expected", "pool")
REGISTER = "ExecStartPost=+/usr/bin/sockreg register pid --pid $MAINPID"
EXPECT = "ExecStartPre=+/usr/bin/sockreg expect expected"
RESTART = ("restart", "sockreg.service")


def address(label: str) -> str:
    return f"127.0.1.{1 + WAYS.index(label)}"


def port(label: str) -> int:
    return 8001 + WAYS.index(label)


def rule(label: str) -> str:
    return f"Bind=tcp {address(label)} 80"


def own(label: str, *settings: str, dependencies: tuple[str, ...] = ()) -> str:
    """A service that opens its own socket."""
    opens = f'opener {label} "tcp 127.0.0.1 {port(label)}"'
    return service_unit(opens, settings=["Type=exec", *settings], dependencies=dependencies)


def files() -> dict[str, str]:
    passed = [label for label in WAYS if label not in ("unit", "pool")]
    rules = "".join(f"[{label}]\n{rule(label)}\n" for label in passed)
    units = {
        "unit.socket": socket_unit("127.0.0.1:8001", label="unit", rules=[rule("unit")]),
        "unit.service": service_unit("event_loop unit"),
        "pid.service": own("pid", REGISTER),
        "of-unit.service": own("of-unit"),
        "inherited.socket": socket_unit(f"127.0.0.1:{port('inherited')}", label="inherited"),
        "inherited.service": service_unit("event_loop inherited").replace(
            "ExecStart=", "ExecStart=/usr/bin/sockreg register inherited -- "
        ),
        "passed.service": service_unit(f"passing passed tcp 127.0.0.1 {port('passed')} passed"),
        "expected.service": own(
            "expected", EXPECT, dependencies=("Wants=sockreg-sockops.service",
                                              "After=sockreg-sockops.service")
        ),
        "pool@.socket": socket_unit("127.0.0.1:909%i", label="pool", rules=[rule("pool")]),
        "pool@.service": service_unit("event_loop pool", dependencies=["Requires=pool@%i.socket"]),
    }  # fmt: skip
    found = {f"{UNITS}/{name}": text for name, text in units.items()}
    return found | {"/etc/sockreg/ways.conf": rules}


def ask(box: Sandbox, label: str) -> str:
    return box.ask(address(label), 80)


def answer(label: str) -> str:
    """The opener's own name is all it says."""
    return label if label in ("pid", "of-unit", "expected") else f"{label} {address(label)}:80"


def answers(box: Sandbox) -> dict[str, str]:
    return {label: ask(box, label) for label in WAYS}


RIGHT = {label: answer(label) for label in WAYS}


@contextmanager
def load(box: Sandbox) -> Iterator[dict[str, Counter[str]]]:
    """Ask all of them all the time; yields what each has answered."""
    with ExitStack() as stack:
        yield {
            label: stack.enter_context(asking(partial(ask, box, label), clients=1))
            for label in WAYS
        }


def status(box: Sandbox) -> list[dict[str, Any]]:
    done = box.run(["sockreg", "--json", "status", "-n0"])
    found: list[dict[str, Any]] = json.loads(done.stdout)["status"]["destinations"]
    return found


def members(box: Sandbox) -> list[tuple[str, str, int, str]]:
    return [
        (it["label"], member["cookie"], member["weight"], member["unit"])
        for it in status(box)
        for member in it["members"]
    ]


@pytest.fixture
def mode() -> str:
    """How units are enabled; tests/systemd257 has the other one."""
    return "companion"


@pytest.fixture
def served(make_box: MakeBox, mode: str) -> Sandbox:
    """A box in which all labels are served; one of the pool has another weight by command."""
    box = make_box(files=files())
    for unit in ("unit", "pool@1", "pool@2"):
        box.run(["sockreg", "enable", unit, "--mode", mode])
    box.systemctl("start", "sockreg-receive.socket", "inherited.socket")
    services = ["pid", "of-unit", "inherited", "passed", "expected"]
    box.systemctl("start", *(f"{name}.service" for name in services))
    box.run(["sockreg", "register", "of-unit", "--of-unit", "of-unit.service"])
    box.run(["sockreg", "weight", "pool", "300", "--unit", "pool@2.socket"])
    box.wait(lambda: answers(box) == RIGHT, "all answers")
    return box


def test_restarts_under_load_refuse_nobody(served: Sandbox) -> None:
    before = members(served)
    assert {label for label, *_ in before} == set(WAYS)
    assert ("pool@2.socket", 300) in {(unit, weight) for _, _, weight, unit in before}
    counted = {it["label"]: it["counters"]["lookups"] for it in status(served)}
    said = len(served.journal(f"MESSAGE_ID={journal.REGISTERED}"))
    with load(served) as found:
        for _ in range(20):
            served.systemctl(*RESTART)
    assert {label: set(some) for label, some in found.items()} == {
        label: {answer(label)} for label in WAYS
    }
    assert members(served) == before
    for it in status(served):
        asked = found[it["label"]].total()
        assert it["counters"]["lookups"] >= counted[it["label"]] + asked
        assert it["counters"]["misses"] == it["counters"]["errors"] == 0
    assert len(served.journal(f"MESSAGE_ID={journal.REGISTERED}")) == said


def test_a_stop_puts_all_out_of_force_and_a_start_brings_all_back(served: Sandbox) -> None:
    before = members(served)
    for _ in range(2):
        served.systemctl("stop", "sockreg.service")
        assert set(answers(served).values()) == {"refused"}
        assert served.ask("127.0.0.1", port("pid")) == "pid"
        served.systemctl("start", "sockreg.service")
        assert answers(served) == RIGHT
        assert members(served) == before


def test_what_changes_while_the_loader_is_stopped_is_there_at_its_start(served: Sandbox) -> None:
    served.systemctl("stop", "sockreg.service")
    served.systemctl("restart", "pid.service", "expected.service")
    served.systemctl("stop", "unit.service", "unit.socket")
    served.write("/etc/sockreg/more.conf", "[pid]\nBind=tcp 127.0.2.1 80\n")
    for verb in (["apply"], ["bind", "pid", "tcp", "127.0.2.2", "80"], ["upgrade"]):
        done = served.run(["sockreg", *verb], check=False)
        assert done.returncode != 0
        assert "systemctl start sockreg.service" in done.stderr
    assert "nothing" in served.run(["sockreg", "status"]).stdout
    assert set(answers(served).values()) == {"refused"}
    served.systemctl("start", "sockreg.service")
    assert answers(served) == RIGHT | {"unit": "refused"}
    assert served.ask("127.0.2.1", 80) == "pid"
    assert served.ask("127.0.2.2", 80) == "refused"


def test_a_restart_that_fails_loses_nobody(served: Sandbox, mode: str) -> None:
    before = members(served)
    broken = "[Service]\nExecStart=\nExecStart=/bin/false\n"
    dropin = "/run/systemd/system/sockreg.service.d/broken.conf"
    with load(served) as found:
        served.write(dropin, broken)
        served.systemctl("daemon-reload")
        assert served.systemctl(*RESTART, check=False).returncode != 0
        if mode == "companion":
            assert served.show("sockreg@unit.service", "ActiveState") == "active"
        assert served.show("unit.socket", "ActiveState") == "active"
        served.run(["rm", dropin])
        served.systemctl("daemon-reload")
        served.systemctl("start", "sockreg.service")
    assert {label: set(some) for label, some in found.items()} == {
        label: {answer(label)} for label in WAYS
    }
    assert members(served) == before


def test_a_loader_that_cannot_start_again_goes_on_and_can_be_stopped(served: Sandbox) -> None:
    before = members(served)
    dropin = "/run/systemd/system/sockreg.service.d/lost.conf"
    with load(served) as found:
        served.write(dropin, "[Service]\nCapabilityBoundingSet=~CAP_PERFMON\n")
        served.systemctl("daemon-reload")
        served.systemctl(*RESTART)
    assert {label: set(some) for label, some in found.items()} == {
        label: {answer(label)} for label in WAYS
    }
    assert served.show("sockreg.service", "ActiveState") == "active"
    said = "this process has no CAP_PERFMON"
    assert said in served.show("sockreg.service", "StatusText")
    assert said in "\n".join(messages(served, "_SYSTEMD_UNIT=sockreg.service"))
    assert "last apply  failed" in served.run(["sockreg", "status"]).stdout
    served.systemctl("stop", "sockreg.service")
    assert set(answers(served).values()) == {"refused"}
    assert served.systemctl("start", "sockreg.service", check=False).returncode != 0
    served.run(["rm", dropin])
    served.systemctl("daemon-reload")
    served.systemctl("start", "sockreg.service")
    assert answers(served) == RIGHT
    assert members(served) == before


@pytest.mark.long
def test_a_restart_that_is_killed_loses_nobody(served: Sandbox) -> None:
    before = members(served)
    with load(served) as found:
        for hundredths in range(0, 60, 4):
            kill = f"sleep {hundredths / 100}; systemctl kill -s KILL sockreg.service"
            served.run(["sh", "-c", f"systemctl restart sockreg.service & {kill}; wait"])
        served.systemctl("start", "sockreg.service")
    assert {label: set(some) for label, some in found.items()} == {
        label: {answer(label)} for label in WAYS
    }
    assert members(served) == before


def test_what_does_not_come_back_is_named(served: Sandbox) -> None:
    """By the loader in its journal, and by the same command in its output and status."""
    drop_in = f"{UNITS}/sockreg-add@.service.d/fails.conf"
    served.write(drop_in, "[Service]\nSupplementaryGroups=nobody-has-it\n")
    served.systemctl("daemon-reload")
    said = (
        "unit.socket is not registered again: 'systemctl status sockreg-add@unit.service' says why"
    )
    served.run(["sockreg", "unload"])
    served.systemctl("restart", "sockreg.service")
    assert said in messages(served, "-u", "sockreg.service")
    loaded = served.run(["sockreg", "load", "--units"], check=False)
    assert loaded.returncode == EXIT_PARTLY
    assert said in loaded.stderr
    served.run(["rm", drop_in])
    served.systemctl("daemon-reload")
    served.run(["sockreg", "load", "--units"])
    assert answers(served)["unit"] == answer("unit")


def test_unload_by_hand_forgets_all_and_units_come_back(served: Sandbox) -> None:
    """What has no unit that registers it can only be registered by its owner."""
    served.run(["sockreg", "unload"])
    assert set(answers(served).values()) == {"refused"}
    served.systemctl(*RESTART)
    found = answers(served)
    assert {label for label in WAYS if found[label] == answer(label)} == {"unit", "pool"}
    served.systemctl("restart", "pid.service", "inherited.service", "passed.service",
                     "expected.service")  # fmt: skip
    served.run(["sockreg", "register", "of-unit", "--of-unit", "of-unit.service"])
    served.wait(lambda: answers(served) == RIGHT, "all answers")

"""Faults around the point of no return of each kind of change.

``make test-faults`` has those at all other calls, too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sockreg.cli.verbs import WHERE
from tests.faults import engine
from tests.faults.scenarios import SCENARIOS
from tests.faults.trial import stage, try_all

AROUND = {
    "apply": "LINK_UPDATE",
    "unbind": "LINK_UPDATE",
    "rollback": "LINK_UPDATE",
    "load": "LINK_CREATE",
    "unload-keep": "LINK_DETACH",
    "register-replaces": "MAP_UPDATE_ELEM",
}
READING = {
    "rules", "status", "inspect", "explain", "listeners", "flows", "top", "graph", "check",
    "send",  # the receiver changes the registry
    "demo",  # in namespaces of its own, which end with it
}  # fmt: skip


def test_around_the_swap(tmp_path: Path) -> None:
    cases = 0
    with stage(tmp_path) as there:
        for scenario in SCENARIOS:
            if scenario.name in AROUND:
                for wrong in try_all(there, scenario, around=AROUND[scenario.name]):
                    assert wrong == []
                    cases += 1
    assert cases > 60


def test_every_command_that_changes_something_has_a_scenario() -> None:
    verbs = {scenario.command[0] for scenario in SCENARIOS}
    assert not verbs & READING
    assert verbs | READING == set(WHERE)
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


@pytest.mark.parametrize("fault", ["kill", "SIGINT", "ENOMEM"])
def test_the_engine_does_what_it_says(tmp_path: Path, fault: str) -> None:
    (scenario,) = (it for it in SCENARIOS if it.name == "apply")
    with stage(tmp_path) as there:
        there.reset(scenario)
        whole = engine.run(lambda: scenario.run(there.host, there.servers))
        there.reset(scenario)
        at = whole.calls.index("OBJ_PIN") + 1
        ran = engine.run(lambda: scenario.run(there.host, there.servers), engine.Fault(at, fault))
    assert ran.reached
    assert {"kill": ran.status is None, "SIGINT": ran.status == 130, "ENOMEM": ran.status == 1}[
        fault
    ], ran


def test_an_unload_that_died_after_its_rename(tmp_path: Path) -> None:
    """A second one sees what it left, and removes it."""
    (scenario,) = (it for it in SCENARIOS if it.name == "unload")
    with stage(tmp_path) as there:
        there.reset(scenario)
        whole = engine.run(lambda: scenario.run(there.host, there.servers))
        there.reset(scenario)
        at = len(whole.calls) - whole.calls[::-1].index("rename")
        ran = engine.run(
            lambda: scenario.run(there.host, there.servers), engine.Fault(at, "killed")
        )
        assert ran.status is None
        assert list(there.host.home.iterdir()) != []
        assert "what an interrupted command had left is removed" in there.host.ok("unload")
        assert list(there.host.home.iterdir()) == []

"""The rule set of before comes back: with what connections meet, after crashes, under load."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from sockreg.commands import confirm
from sockreg.errors import EXIT_NOT_LOADED, EXIT_REFUSED, RefusedError
from sockreg.registry import trial
from tests.kernel.dying import deaths
from tests.kernel.host import Host
from tests.kernel.swapping import SETS, asked_throughout
from tests.kernel.test_queues import wait_until

LABELS = ("first", "second", "third")
ROLLBACKS = 100


def rules(label: str) -> list[str]:
    """A rule set of which port 80 shows that it is in force, and another port, too."""
    return [f"[{label}]", f"Bind=tcp 192.0.2.0/24 80,{own_port(label)}"]


def own_port(label: str) -> int:
    """The port that no other of the rule sets opens."""
    return 1000 + LABELS.index(label)


def in_force(host: Host) -> str:
    """The label whose rule set connections meet, whole."""
    answer = host.ask("192.0.2.7", 80)
    opened = {label: host.ask("192.0.2.7", own_port(label)) for label in LABELS}
    assert opened == {label: answer if label == answer else "refused" for label in LABELS}
    return answer


@pytest.fixture
def served(host: Host) -> Iterator[Host]:
    """The host with the first rule set in force, and a server for each label."""
    host.load(*rules("first"))
    with contextlib.ExitStack() as stack:
        for port, label in enumerate(LABELS, 8080):
            stack.enter_context(host.serve(label, "127.0.0.1", port))
        yield host


def test_connections_land_where_they_did(served: Host) -> None:
    served.apply(*rules("second"))
    assert in_force(served) == "second"
    said = served.ok("rollback")
    assert "- bind second: tcp 192.0.2.0/24 80" in said
    assert "+ bind first: tcp 192.0.2.0/24 80" in said
    assert in_force(served) == "first"
    # Sockets and counts belong to no generation.
    assert served.counters("second") == (2, 0, 0)


def test_of_several_applies_the_last_one_is_undone(served: Host) -> None:
    served.apply(*rules("second"))
    served.apply(*rules("third"))
    served.ok("apply")  # changes nothing, and so nothing about what was before
    served.ok("rollback")
    assert in_force(served) == "second"


def test_the_files_stay_and_the_next_apply_reads_them(served: Host) -> None:
    served.apply(*rules("second"))
    served.ok("rollback")
    served.ok("apply")
    assert in_force(served) == "second"
    served.ok("rollback")
    assert in_force(served) == "first"


def test_nothing_before(served: Host) -> None:
    said = served.fails(EXIT_NOT_LOADED, "rollback")
    assert "there is no previous generation" in said
    served.apply(*rules("second"))
    served.apply(*rules("third"))
    served.ok("rollback")
    served.fails(EXIT_NOT_LOADED, "rollback")  # two are kept
    assert in_force(served) == "second"


def test_nothing_loaded(host: Host) -> None:
    host.fails(EXIT_NOT_LOADED, "rollback")


def test_an_apply_that_was_refused_is_none(served: Host) -> None:
    served.apply(*rules("second"))
    served.conf("[third]", "Bind=tcp 192.0.2.0/24 none")
    assert served.run("apply").status != 0
    served.ok("rollback")
    assert in_force(served) == "first"


def test_after_an_apply_was_killed(served: Host) -> None:
    """Whatever it has reached, what was in force before what is in force comes back."""
    before = {"second": "first", "third": "second"}
    served.apply(*rules("second"))
    served.conf(*rules("third"))
    seen = set()
    for _ in deaths(lambda: served.ok("apply")):
        reached = in_force(served)
        seen.add(reached)
        served.ok("rollback")
        assert in_force(served) == before[reached]
        served.apply(*rules("first"))
        served.apply(*rules("second"))
        served.conf(*rules("third"))
    assert seen == before.keys()


def test_killed_itself(served: Host) -> None:
    served.apply(*rules("second"))
    seen = set()
    for _ in deaths(lambda: served.ok("rollback")):
        seen.add(in_force(served))
        served.ok("apply")
        assert in_force(served) == "second"
    assert seen == {"first", "second"}
    assert in_force(served) == "first"


@pytest.mark.long
def test_nobody_is_refused_meanwhile(host: Host) -> None:
    host.load(*SETS[0])
    with asked_throughout(host):
        for _ in range(ROLLBACKS):
            host.apply(*SETS[1])
            host.ok("rollback")


LATE = ("[Socket]", "ListenStream=9090", "FileDescriptorName=late", "[X-Sockreg]")


@pytest.fixture
def on_trial(served: Host) -> Iterator[Host]:
    """During a trial of the second rule set, late.socket has been started."""
    served.conf(*rules("second"))
    served.ok("apply", "--confirm", "600")
    path = served.root / "etc/systemd/system/late.socket"
    path.parent.mkdir(parents=True, exist_ok=True)
    # One rule of its own, one that is in the first rule set, and one that ties with it.
    bind = ("Bind=tcp 192.0.2.0/24 90", "Bind=tcp 192.0.2.9 90", "Bind=tcp 192.0.2.0/24 1000")
    path.write_text("\n".join((*LATE, *bind)) + "\n")
    served.ok("apply", "--start", "late.socket")
    with served.serve("late", "127.0.0.1", 9090, unit="late.socket"):
        assert served.ask("192.0.2.7", 90) == "late"
        assert served.ask("192.0.2.7", 1000) == "late"
        yield served


def ends(host: Host) -> str:
    (waiting,) = trial.read(str(host.registry))
    over = waiting._replace(deadline=1)
    trial.write(str(host.registry), [over])
    return host.ok("rollback", "--unconfirmed", over.token)


def rolled_back(host: Host) -> str:
    return host.ok("rollback")


@pytest.mark.parametrize("end", [ends, rolled_back])
def test_a_unit_that_started_during_a_trial_keeps_its_rules(
    on_trial: Host, end: Callable[[Host], str]
) -> None:
    end(on_trial)
    assert in_force(on_trial) == "first"
    assert on_trial.ask("192.0.2.7", 90) == on_trial.ask("192.0.2.9", 90) == "late"
    # What ties with a rule that came back waits for the next apply.
    assert on_trial.ask("192.0.2.7", 1000) == "first"
    on_trial.conf(*rules("third"))
    on_trial.ok("apply")
    assert on_trial.ask("192.0.2.7", 80) == "third"
    assert on_trial.ask("192.0.2.7", 90) == on_trial.ask("192.0.2.7", 1000) == "late"


def test_a_trial_that_nobody_ended(on_trial: Host) -> None:
    """What would have ended it has died. Rules that are applied now are not undone by it."""
    (waiting,) = trial.read(str(on_trial.registry))
    trial.write(str(on_trial.registry), [waiting._replace(deadline=1)])
    on_trial.conf(*rules("third"))
    on_trial.ok("apply")
    assert on_trial.json("status")["trial"] is None
    assert trial.read(str(on_trial.registry)) == []
    on_trial.conf(*rules("second"))
    said = on_trial.ok("apply", "--confirm", "60")
    assert "comes back in 60 s" in said
    on_trial.ok("rollback")
    assert on_trial.ask("192.0.2.7", 80) == "third"


def test_a_change_during_a_trial_says_that_it_goes_on(on_trial: Host) -> None:
    on_trial.conf(*rules("third"))
    told = on_trial.ok("apply")
    assert re.search(r"a trial goes on: generation \d+ comes back in \d+ s, without this", told)


def test_a_trial_that_is_refused_does_not_keep_an_earlier_one_from_its_end(
    served: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends the earlier one looks for it several times while the other one is at work."""
    served.conf(*rules("second"))
    served.ok("apply", "--confirm", "3")

    def refused(*_: object, **__: object) -> NoReturn:
        time.sleep(1)
        raise RefusedError("no")

    with monkeypatch.context() as patch:
        patch.setattr(confirm, "put_in_force", refused)
        served.fails(EXIT_REFUSED, "apply", "--confirm", "60")
    wait_until(lambda: served.ask("192.0.2.7", 80) == "first")


def test_a_death_in_a_later_trial_leaves_the_earlier_one(served: Host) -> None:
    """The rules that were confirmed last come back at its end."""

    def again() -> None:
        served.conf(*rules("third"))
        served.run("apply", "--confirm", "60")

    def begin() -> trial.Unconfirmed:
        served.conf(*rules("second"))
        served.ok("apply", "--confirm", "600")
        (waiting,) = trial.read(str(served.registry))
        over = trial.after(-1, waiting.base)  # so that to end it takes no waiting
        trial.write(str(served.registry), [over])
        return over

    earlier = begin()
    for _ in deaths(again):
        served.run("rollback", "--unconfirmed", earlier.token)
        assert in_force(served) == "first"
        earlier = begin()


def test_a_unit_that_stopped_again_keeps_none(on_trial: Host) -> None:
    on_trial.ok("apply", "--stop", "late.socket")
    ends(on_trial)
    assert in_force(on_trial) == "first"
    assert on_trial.ask("192.0.2.7", 90) == "refused"


def test_without_a_trial_a_rollback_undoes_a_start(served: Host) -> None:
    path = served.root / "etc/systemd/system/late.socket"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((*LATE, "Bind=tcp 192.0.2.0/24 90")) + "\n")
    served.ok("apply", "--start", "late.socket")
    with served.serve("late", "127.0.0.1", 9090, unit="late.socket"):
        assert served.ask("192.0.2.7", 90) == "late"
        served.ok("rollback")
        assert served.ask("192.0.2.7", 90) == "refused"

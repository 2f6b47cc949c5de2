"""The Ansible collection, on three hosts."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.fleet.conftest import SERVICE
from tests.fleet.controller import COLLECTION, Controller
from tests.process import run
from tests.sandbox import Sandbox

CONF = "/etc/sockreg/web.conf"
RULES = "[web]\nBind=tcp 192.0.2.0/24 80\n"
ROLE = {"sockreg_units": ["web"], "sockreg_files": {"web.conf": RULES}}
HEALTH = f"python3 -c \"import socket; socket.create_connection(('{SERVICE}', 80), 5).recv(1)\""


@pytest.fixture
def controller(hosts: dict[str, Sandbox], tmp_path: Path) -> Controller:
    return Controller(tmp_path, hosts)


def answers(hosts: dict[str, Sandbox], port: int = 80) -> dict[str, str]:
    """Which server answers at the port on each host."""
    return {name: box.ask(SERVICE, port).split()[0] for name, box in hosts.items()}


def test_a_roll_out(hosts: dict[str, Sandbox], controller: Controller) -> None:
    """What check mode shows comes, one host first; a second time there is nothing to do."""
    foreseen = controller.roll_out(ROLE, "--check")
    assert foreseen.status == 0, foreseen.text
    assert foreseen.changed() == dict.fromkeys(hosts, 3)  # the loader, the unit, the rules
    for box in hosts.values():
        assert box.show("sockreg.service", "ActiveState") == "inactive"
        box.systemctl("start", "sockreg.service")
    looked = controller.play(
        [{"sockreg.sockreg.rules": {"files": {"web.conf": RULES}}}], "--check", "--diff"
    )
    assert looked.status == 0, looked.text
    assert looked.changed() == dict.fromkeys(hosts, 1)
    assert "+bind web: tcp 192.0.2.0/24 80" in looked.text
    assert "+Bind=tcp 192.0.2.0/24 80" in looked.text
    assert answers(hosts) == dict.fromkeys(hosts, "refused")
    given = ROLE | {
        "sockreg_health": [HEALTH],
        "sockreg_grants": [{"label": "blog", "to": "user:daemon", "members": 2}],
    }
    foreseen = controller.roll_out(given, "--check")
    assert foreseen.status == 0, foreseen.text
    assert answers(hosts) == dict.fromkeys(hosts, "refused")
    done = controller.roll_out(given)
    assert done.status == 0, done.text
    assert answers(hosts) == {name: name for name in hosts}
    assert done.text.count("PLAY [") == 2  # first one host, then the rest
    for box in hosts.values():
        assert box.read(CONF) == RULES
        assert box.read("/etc/sockreg/grants.conf") == "[blog]\nRegister=user:daemon 2\n"
        assert "trial" not in box.run(["sockreg", "status"]).stdout
        box.reboot()
        box.network.add_local("192.0.2.0/24")
    assert answers(hosts) == {name: name for name in hosts}
    controller = Controller(Path(controller.environment["HOME"], "again"), hosts)
    again = controller.roll_out(given)
    assert (again.status, again.changed()) == (0, dict.fromkeys(hosts, 0)), again.text
    foreseen = controller.roll_out(given, "--check")
    assert (foreseen.status, foreseen.changed()) == (0, dict.fromkeys(hosts, 0)), foreseen.text
    less = {
        "sockreg_units_disabled": ["web.socket"],
        "sockreg_files": {"web.conf": None},
        "sockreg_grants": [{"label": "blog", "to": "user:daemon", "state": "absent"}],
    }
    for count in (4, 0):
        gone = controller.roll_out(less)
        assert (gone.status, gone.changed()) == (0, dict.fromkeys(hosts, count)), gone.text
    assert answers(hosts) == dict.fromkeys(hosts, "refused")
    assert hosts["one"].run(["ls", "/etc/sockreg"]).stdout == ""


def test_a_canary_that_is_not_well_keeps_its_rules_and_the_rest_see_nothing(
    hosts: dict[str, Sandbox], controller: Controller
) -> None:
    assert controller.roll_out(ROLE).status == 0
    generations = {
        name: box.run(["sockreg", "--json", "rules"]).stdout for name, box in hosts.items()
    }
    # It takes the traffic of web away to a label that nobody serves.
    wrong = {"web.conf": "[nobody]\nBind=tcp 192.0.2.0/24 80\n", "new.conf": "# new\n"}
    given = {"sockreg_files": wrong, "sockreg_health": [HEALTH], "sockreg_health_retries": 1}
    done = controller.roll_out(given)
    assert done.status != 0
    assert set(done.recap) == {"one"}, "the others were changed, too"
    assert "The rules were taken back on one" in done.text
    assert answers(hosts) == {name: name for name in hosts}
    for name, box in hosts.items():
        assert box.read(CONF) == RULES
        assert box.run(["test", "-e", "/etc/sockreg/new.conf"], check=False).returncode == 1
        assert box.run(["sockreg", "--json", "rules"]).stdout == generations[name]
        assert "to change: " in box.run(["sockreg", "apply"]).stdout


def test_what_is_wrong_is_refused_by_the_canary(
    hosts: dict[str, Sandbox], controller: Controller
) -> None:
    assert controller.roll_out(ROLE).status == 0
    wrong = {"web.conf": RULES + "Bind=tcp 192.0.2.300 80\nBind=tcp 192.0.2.1 99999\n"}
    for options in ([], ["--check"]):
        done = controller.roll_out({"sockreg_files": wrong}, *options)
        assert done.status != 0
        assert set(done.recap) == {"one"}
        assert f"{CONF}:3" in done.text
        assert f"{CONF}:4" in done.text
    assert answers(hosts) == {name: name for name in hosts}
    assert {box.read(CONF) for box in hosts.values()} == {RULES}
    unit = controller.play([{"sockreg.sockreg.unit": {"name": "nothing"}}])
    assert unit.status != 0
    assert "nothing.socket" in unit.text
    grant = {"sockreg.sockreg.grant": {"label": "blog", "to": "daemon"}}
    assert "neither user:NAME, group:NAME nor unit:NAME" in controller.play([grant]).text


def test_a_controller_that_dies_in_a_trial(
    hosts: dict[str, Sandbox], controller: Controller
) -> None:
    """Nobody confirms, so the host goes back by itself. The next roll-out starts afresh."""
    assert controller.roll_out(ROLE).status == 0
    box = hosts["one"]
    moved = {"web.conf": "[web]\nBind=tcp 192.0.2.0/24 81\n"}
    given = {"sockreg_files": moved, "sockreg_confirm": 8, "sockreg_health": ["sleep 60"]}
    with controller.started(given) as playing:
        box.wait(lambda: box.ask(SERVICE, 81) != "refused", "the trial", deadline=60)
        playing.send_signal(signal.SIGKILL)
    box.wait(lambda: box.ask(SERVICE, 80) != "refused", "the return of the rules", deadline=60)
    assert answers(hosts) == {name: name for name in hosts}
    box.wait(lambda: box.read(CONF) == RULES, "the return of the file")
    done = controller.roll_out({"sockreg_files": moved, "sockreg_health": ["true"]})
    assert done.status == 0, done.text
    assert answers(hosts, 81) == {name: name for name in hosts}
    # A question that takes longer than the trial: it cannot be confirmed any more.
    given = {"sockreg_files": {"web.conf": RULES}, "sockreg_confirm": 2,
             "sockreg_health": ["sleep 5"]}  # fmt: skip
    done = controller.roll_out(given)
    assert done.status != 0
    assert "the trial has ended before its confirmation" in done.text
    assert answers(hosts, 81) == {name: name for name in hosts}
    assert box.read(CONF) == moved["web.conf"]


def test_linters_are_content(tmp_path: Path) -> None:
    controller = Controller(tmp_path, {})
    environment = controller.environment
    lint = ["ansible-lint", "--offline", "--profile", "production", "--strict", "--nocolor"]
    place = tmp_path / "collections/ansible_collections/sockreg/sockreg"
    run(lint, cwd=place, env=environment, timeout=300)
    built = ["ansible-galaxy", "collection", "build", "--output-path", str(tmp_path)]
    run([*built, str(COLLECTION)], env=environment, timeout=60)
    for name in ("rules", "trial", "unit", "grant"):
        shown = ["ansible-doc", "-t", "module", f"sockreg.sockreg.{name}"]
        assert "EXAMPLES:" in run(shown, env=environment, timeout=60).stdout

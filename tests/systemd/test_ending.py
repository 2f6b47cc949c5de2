"""Rules that end by themselves on a real systemd: its timer, a reboot, a stop of the loader."""

from __future__ import annotations

import time

import pytest

from sockreg.rules.ending import format_end
from sockreg.systemd import journal
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, service_unit, socket_unit, web

RULE = ("tcp", "127.0.0.1", "81")


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    files = {
        **web(),
        f"{UNITS}/other.socket": socket_unit("127.0.0.1:8081", label="other"),
        f"{UNITS}/other.service": service_unit("accept_loop other"),
    }
    fresh = make_box(files=files)
    fresh.systemctl("enable", "--now", "sockreg.service", "sockreg@web.service", "sockreg@other")
    return fresh


def is_served(box: Sandbox, port: int = 81) -> bool:
    return box.ask("127.0.0.1", port).split()[0] in ("web", "other")


def timers(box: Sandbox) -> list[str]:
    listed = box.systemctl("list-timers", "--all", "--no-legend").stdout
    return [word for word in listed.split() if word.startswith("sockreg-end-")]


def test_a_timer_takes_it_out_also_after_a_reboot(box: Sandbox) -> None:
    box.run(["sockreg", "bind", "--for", "4s", "web", *RULE])
    assert is_served(box)
    assert len(timers(box)) == 2  # with the service that it starts
    box.wait(lambda: not is_served(box), "the end of the rule")
    (entry,) = box.wait(
        lambda: box.journal(f"MESSAGE_ID={journal.ENDED}"), "the entry that tells of it"
    )
    assert entry["SOCKREG_RULE"] == "tcp 127.0.0.1 81"
    box.wait(lambda: not timers(box), "the timer to go")
    assert box.systemctl("--failed", "--no-legend").stdout.strip() == ""
    assert box.ask("127.0.0.1", 80).split()[0] == "web"
    # Files and rules in force agree, without a word from anybody.
    assert "nothing to change" in box.run(["sockreg", "apply"]).stdout

    # One rule ends while the host is down, and one does not.
    box.run(["sockreg", "bind", "--for", "1s", "web", *RULE])
    box.run(["sockreg", "bind", "--for", "1 week", "other", "tcp", "127.0.0.1", "82"])
    box.reboot()
    box.wait(lambda: is_served(box, 82), "the rules after the reboot")
    box.wait(lambda: not is_served(box), "the end of the first, if the boot took no second")
    box.wait(lambda: len(timers(box)) == 2, "the timer for the other one")
    calendar = box.systemctl("show", "-p", "TimersCalendar", timers(box)[0]).stdout
    assert "OnCalendar=20" in calendar
    assert " UTC" in calendar
    # A line of a file that somebody writes; the loader sets the timer, and another one afterwards.
    end = format_end(int(time.time()) + 4)
    box.run(["tee", "/etc/sockreg/more.conf"], text=f"[other]\nBind=tcp 127.0.0.1 83 {end}\n")
    box.systemctl("stop", *timers(box)[:1])
    box.systemctl("reload", "sockreg.service")
    assert is_served(box, 83)
    assert len(timers(box)) == 2
    box.wait(lambda: not is_served(box, 83), "the end of the line")
    assert is_served(box, 82)
    box.wait(lambda: len(timers(box)) == 2, "the timer for the other rule")
    left = box.run(["sockreg", "status"]).stdout
    assert "ending      bind other: tcp 127.0.0.1 82 ends in 6d 23h" in left

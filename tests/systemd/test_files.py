"""sockreg-files.path: files are applied when they change."""

from __future__ import annotations

import pytest

from sockreg.systemd import journal
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import messages, web

CONF = "/etc/sockreg/more.conf"
PATH = "sockreg-files.path"
WAITING, APPLYING = "sockreg-files.service", "sockreg-files-apply.service"

BURST = f"""\
mkdir -p /etc/sockreg
i=0
while [ $i -lt 400 ]; do
    i=$((i + 1))
    printf '[web]\\nBind=tcp 127.0.1.%d 80\\n' $((i % 200 + 1)) >/etc/sockreg/.new
    mv /etc/sockreg/.new {CONF}
    sleep 0.01
done
printf '[web]\\nBind=tcp 127.0.0.9 80\\n' >{CONF}
"""


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    """A box that steers 127.0.0.1:80, and applies files as they change."""
    box = make_box(files=web())
    box.systemctl("enable", "--now", "sockreg@web", PATH)
    settled(box)
    return box


def rule(box: Sandbox, last: int, *, path: str = CONF) -> None:
    box.write(path, f"[web]\nBind=tcp 127.0.0.{last} 80\n")


def is_idle(box: Sandbox, unit: str) -> bool:
    return box.show(unit, "ActiveState") in ("inactive", "failed") and not box.show(unit, "Job")


def settled(box: Sandbox) -> None:
    """Wait until nothing is about to be applied."""
    for unit in (WAITING, APPLYING, WAITING, APPLYING):
        box.wait(lambda unit=unit: is_idle(box, unit), deadline=60)  # type: ignore[misc]


def is_served(box: Sandbox, last: int) -> None:
    address = f"127.0.0.{last}"
    box.wait(
        lambda: box.ask(address, 80) == f"web {address}:80", f"a rule for {address}", deadline=60
    )


def is_refused(box: Sandbox, last: int) -> None:
    address = f"127.0.0.{last}"
    box.wait(lambda: box.ask(address, 80) == "refused", f"no rule for {address}", deadline=60)


@pytest.mark.long
def test_files_come_change_and_go(box: Sandbox) -> None:
    """Written, replaced and removed, in a directory that was not there, and after a reboot."""
    rule(box, 2)
    is_served(box, 2)
    rule(box, 3, path="/root/new")
    box.run(["mv", "/root/new", CONF])
    is_served(box, 3)
    is_refused(box, 2)
    rule(box, 4, path="/usr/local/lib/sockreg/vendor.conf")
    is_served(box, 4)
    box.run(["ln", "-s", "/dev/null", "/etc/sockreg/vendor.conf"])
    is_refused(box, 4)
    box.run(["rm", "-r", "/etc/sockreg"])
    is_refused(box, 3)
    is_served(box, 4)
    box.reboot()
    is_served(box, 1)
    settled(box)
    rule(box, 5)
    is_served(box, 5)
    assert box.systemctl("--failed", "--plain", "--no-legend").stdout == ""


def test_a_wrong_file_changes_nothing_and_is_told(box: Sandbox) -> None:
    rule(box, 2)
    is_served(box, 2)
    box.write(CONF, "[web]\nBind=tcp 127.0.0.3 80\nBind=tcp 127.0.0.300 80\n")
    box.wait(lambda: box.show(APPLYING, "ActiveState") == "failed", deadline=60)
    assert box.ask("127.0.0.2", 80) == "web 127.0.0.2:80"
    assert box.ask("127.0.0.3", 80) == "refused"
    told = messages(box, f"MESSAGE_ID={journal.APPLY_REFUSED}", f"_SYSTEMD_UNIT={APPLYING}")
    assert f"{CONF}:3" in told[-1]
    rule(box, 3)
    is_served(box, 3)
    box.wait(lambda: box.show(APPLYING, "ActiveState") == "inactive", deadline=60)


@pytest.mark.long
def test_a_burst_is_few_applies_and_ends_with_the_last_state(box: Sandbox) -> None:
    """Also what changes while systemd does not watch, because the unit runs that it starts."""
    before = len(messages(box, f"MESSAGE_ID={journal.APPLIED}", f"_SYSTEMD_UNIT={APPLYING}"))
    box.write("/root/burst", BURST)
    box.run(["sh", "-e", "/root/burst"], timeout=60)
    is_served(box, 9)
    settled(box)
    after = messages(box, f"MESSAGE_ID={journal.APPLIED}", f"_SYSTEMD_UNIT={APPLYING}")
    assert len(after) - before < 20
    assert box.show(PATH, "Result") == "success"


@pytest.mark.long
def test_what_changed_before_systemd_watched(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.systemctl("enable", "--now", "sockreg@web")
    rule(box, 2)
    assert box.ask("127.0.0.2", 80) == "refused"
    assert box.show(PATH, "ActiveState") == "inactive"  # off, unless it is asked for
    box.systemctl("enable", "--now", PATH)
    is_served(box, 2)


@pytest.mark.long
def test_a_change_during_an_apply(box: Sandbox) -> None:
    """It is perhaps not among what that apply has read, so another one follows."""
    slow = "[Service]\nExecStartPost=/bin/sh -c 'while test -e /run/hold; do sleep 0.1; done'\n"
    box.write(f"/etc/systemd/system/{APPLYING}.d/slow.conf", slow)
    box.systemctl("daemon-reload")
    box.write("/run/hold", "")
    rule(box, 2)
    is_served(box, 2)
    box.wait(lambda: box.show(APPLYING, "SubState") == "start-post")
    rule(box, 3)
    box.wait(lambda: box.show(WAITING, "Job"), "the next look, which waits for this one")
    box.run(["rm", "/run/hold"])
    is_served(box, 3)


@pytest.mark.long
def test_a_stopped_loader_stays_stopped(box: Sandbox) -> None:
    box.systemctl("stop", "sockreg.service")
    assert box.show(PATH, "ActiveState") == "inactive"
    rule(box, 2)
    box.systemctl("start", WAITING)
    settled(box)
    assert box.ask("127.0.0.2", 80) == "refused"
    assert box.show("sockreg.service", "ActiveState") == "inactive"
    box.systemctl("start", "sockreg.service")
    assert box.show(PATH, "ActiveState") == "active"
    is_served(box, 2)
    box.systemctl("restart", "sockreg.service")
    rule(box, 3)
    is_served(box, 3)

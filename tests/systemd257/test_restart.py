"""A socket that is restarted while units that have its descriptors end.

Seen with strace(1): systemd 257 removes what PrivateTmp=yes made in two processes that it forks
from PID 1. Until they get to run and close all descriptors, the old socket stays open.
"""

from __future__ import annotations

from tests.sandbox import Sandbox
from tests.systemd.units import UNITS, messages, web
from tests.systemd257.conftest import MakeBox

# One restart after the other, at any point of what the one before started.
RESTARTS = """
for i in $(seq {times}); do
    systemctl restart web.socket || exit
    sleep 0.0$((i % 10))
    {then}
done
"""
LIMITS = {
    f"{UNITS}/web.{kind}.d/limit.conf": "[Unit]\nStartLimitIntervalSec=0\n"
    for kind in ("socket", "service")
}
OURS = ("sockreg.service", "sockreg@web.service", "sockreg-add@web.service")


def restart(box: Sandbox, times: int, then: str = ":") -> bool:
    """Restart web.socket that often; says whether a restart failed, which ended it."""
    script = RESTARTS.format(times=times, then=then)
    done = box.run(["bash", "-c", script], check=False, timeout=120)
    # The process that systemd forks to listen says it.
    in_use = [line for line in messages(box) if "Address already in use" in line]
    assert bool(in_use) is (done.returncode != 0), done
    return done.returncode != 0


def test_a_restarted_socket_finds_its_address_free(make_box: MakeBox) -> None:
    box = make_box(files=web() | LIMITS)
    box.systemctl("enable", "--now", "sockreg@web")
    assert [box.show(unit, "PrivateTmp") for unit in OURS] == ["no"] * len(OURS)
    assert not restart(box, times=50)
    box.systemctl("start", "sockreg@web")
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"


def server_with(make_box: MakeBox, setting: str) -> Sandbox:
    """web.service with a setting and without sockreg, running."""
    # It waits only: the source tree, where other servers are, may lie in /tmp.
    server = (
        f"[Service]\n{setting}\nWorkingDirectory=/\nExecStart=\nExecStart=/bin/sleep infinity\n"
    )
    box = make_box(files=web() | LIMITS | {f"{UNITS}/web.service.d/private.conf": server})
    box.systemctl("start", "web.service")
    return box


def test_a_server_with_a_disconnected_tmp_leaves_its_address_free(make_box: MakeBox) -> None:
    """What docs/recipes.md advises. With PrivateTmp=yes some restarts fail, if never surely."""
    box = server_with(make_box, "PrivateTmp=disconnected")
    assert not restart(box, times=50, then="systemctl start web.service")


def test_a_soft_reboot_starts_without_a_registry(make_box: MakeBox) -> None:
    """The kernel goes on, and would keep rules of services that do not start again."""
    box = make_box(files=web())
    box.systemctl("enable", "--now", "sockreg@web")
    box.run(["sockreg", "bind", "--runtime", "web", "tcp", "127.0.0.1", "81"])
    assert box.ask("127.0.0.1", 81) == "web 127.0.0.1:81"
    box.systemctl("disable", "sockreg@web")
    box.systemctl("soft-reboot", check=False)  # its connection may end with systemd
    box.wait(lambda: was_started_again(box), "the soft-reboot", deadline=60)
    assert box.show("sockreg.service", "ActiveState") == "inactive"
    assert box.run(["ls", "/sys/fs/bpf/sockreg"]).stdout == ""
    assert box.ask("127.0.0.1", 81) == "refused"


def was_started_again(box: Sandbox) -> bool:
    done = box.systemctl("show", "-P", "SoftRebootsCount", check=False)
    state = box.systemctl("is-system-running", check=False)
    return done.stdout.strip() == "1" and state.stdout.strip() in ("running", "degraded")

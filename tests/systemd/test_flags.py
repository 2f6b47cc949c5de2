"""O_NONBLOCK, which a running server shares with PID 1 and with every registration.

systemd sets the flag of all sockets it passes, to whatever the unit it passes them to says;
see sockreg/companion/flags.py. What matters is what the clients of a running server see.
"""

from __future__ import annotations

import os

import pytest

from tests.asking import asking
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, web

ANSWER = "web 127.0.0.1:80"


def serving(make_box: MakeBox, server: str) -> Sandbox:
    """A box whose steered port is served by a running server."""
    # systemd lets connections activate a socket 20 times in 2 s. Each registration lets one do
    # so again, and here registrations follow each other faster than that.
    unlimited = {f"{UNITS}/web.socket.d/limit.conf": "[Socket]\nTriggerLimitIntervalSec=0\n"}
    box = make_box(files=web(server=server) | unlimited)
    box.systemctl("enable", "--now", "sockreg@web")
    assert box.ask("127.0.0.1", 80) == ANSWER
    return box


def nonblocking(box: Sandbox) -> bool:
    """The flag of the running server's listening socket."""
    pid = box.show("web.service", "MainPID")
    # proc(5): the flags are octal.
    flags = box.run(["sed", "-n", "s/^flags:[[:space:]]*//p", f"/proc/{pid}/fdinfo/3"]).stdout
    return bool(int(flags, 8) & os.O_NONBLOCK)


def register_again(box: Sandbox, times: int) -> None:
    """Half of the times by restart, half by reload, as quickly as systemd does it."""
    both = "systemctl restart sockreg@web && systemctl reload sockreg@web"
    box.run(["sh", "-c", f"for i in $(seq {times // 2}); do {both} || exit; done"], timeout=120)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("event_loop web", True),
        pytest.param("accept_loop web --retry", False, marks=pytest.mark.long),
    ],
)
def test_no_connection_fails_while_sockets_are_registered_again(
    make_box: MakeBox, server: str, expected: bool
) -> None:
    box = serving(make_box, server)
    pid = box.show("web.service", "MainPID")
    assert nonblocking(box) is expected
    with asking(lambda: box.ask("127.0.0.1", 80)) as answers:
        register_again(box, 50)
    assert set(answers) == {ANSWER}
    assert box.show("web.service", "MainPID") == pid
    assert nonblocking(box) is expected


@pytest.mark.parametrize("server", ["event_loop web", "accept_loop web"])
def test_the_flag_survives_registrations_without_load(make_box: MakeBox, server: str) -> None:
    """A server that waits in accept(2) or epoll_wait(2) does not notice."""
    box = serving(make_box, server)
    pid = box.show("web.service", "MainPID")
    before = nonblocking(box)
    for verb, unit in (
        ("restart", "sockreg@web"),
        ("reload", "sockreg@web"),
        ("restart", "sockreg.service"),
    ):
        box.systemctl(verb, unit)
        box.systemctl("start", "sockreg@web")  # waits for the companion
        assert nonblocking(box) is before
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert box.show("web.service", "MainPID") == pid


def test_a_server_that_does_not_retry_may_die_but_no_connection_is_lost(
    make_box: MakeBox, capsys: pytest.CaptureFixture[str]
) -> None:
    """What remains of the hazard: between systemd's flag and ours accept(2) may return EAGAIN.

    It does so when nobody waits to be accepted. The next connection starts the server again,
    unless systemd's limits are reached: by default 5 starts in 10 s, then the socket fails.
    """
    box = serving(make_box, "accept_loop web")
    box.write(f"{UNITS}/web.service.d/limit.conf", "[Unit]\nStartLimitIntervalSec=0\n")
    box.systemctl("daemon-reload")
    with asking(lambda: box.ask("127.0.0.1", 80)) as answers:
        register_again(box, 20)
    deaths = box.journal("-u", "web.service", "UNIT_RESULT=exit-code")
    with capsys.disabled():
        print(f"\n20 registrations under load: {len(deaths)} deaths, answers {dict(answers)}")
    assert set(answers) == {ANSWER}
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert not nonblocking(box)


@pytest.mark.long
def test_a_restart_that_changes_nothing_leaves_a_server_that_does_not_retry_alone(
    make_box: MakeBox,
) -> None:
    """Nothing is passed then, so systemd sets no flag."""
    box = serving(make_box, "accept_loop web")
    pid = box.show("web.service", "MainPID")
    with asking(lambda: box.ask("127.0.0.1", 80)) as answers:
        loop = "for i in $(seq 50); do systemctl restart sockreg@web || exit; done"
        box.run(["sh", "-c", loop], timeout=120)
    assert set(answers) == {ANSWER}
    assert box.show("web.service", "MainPID") == pid
    assert not nonblocking(box)


def test_a_restart_registers_what_is_no_longer_registered(make_box: MakeBox) -> None:
    box = serving(make_box, "accept_loop web")
    box.run(["sockreg", "unregister", "web"])
    assert box.ask("127.0.0.1", 80) == "refused"
    box.systemctl("restart", "sockreg@web")
    assert box.ask("127.0.0.1", 80) == ANSWER
    box.run(["sockreg", "drain", "web"])
    assert box.ask("127.0.0.1", 80) == "refused"
    box.systemctl("restart", "sockreg@web")
    assert box.ask("127.0.0.1", 80) == ANSWER

"""Sockets of a user's own systemd in the system's registry, by a grant and nothing else."""

from __future__ import annotations

import pytest

from sockreg.systemd import journal
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, service_unit, socket_unit

UID = 1234
HOME = "/var/lib/alice"
OWN = f"{HOME}/.config/systemd/user"
CONF = "/etc/sockreg/tenants.conf"
TENANTS = """\
[alice]
Register=user:alice
Bind=tcp 127.0.0.2 80
[bob]
Bind=tcp 127.0.0.3 80
"""
LET_IN = {
    f"{UNITS}/sockreg-receive.socket.d/all.conf": "[Socket]\nSocketMode=0666\n",
}
# Without logind and PAM, which make the directory in /run and start the manager at a login.
MANAGER = f"""\
[Unit]
After=sockreg-receive.socket
[Service]
User=alice
RuntimeDirectory=user-{UID}
RuntimeDirectoryMode=0700
Environment=XDG_RUNTIME_DIR=/run/user-{UID} HOME={HOME}
Delegate=yes
Type=notify
ExecStart=/usr/lib/systemd/systemd --user
KillMode=mixed
TimeoutStopSec=20
[Install]
WantedBy=sandbox.target
"""


def files(label: str = "alice", port: int = 8080) -> dict[str, str]:
    unit = socket_unit(f"127.0.0.1:{port}", label=label)
    return {
        f"{OWN}/web.socket": unit,
        f"{OWN}/web.service": service_unit(
            "accept_loop alice", dependencies=["Requires=web.socket"]
        ),
    }


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    fresh = make_box(files={CONF: TENANTS, f"{UNITS}/alice.service": MANAGER, **LET_IN, **files()})
    fresh.run(["useradd", "-u", str(UID), "-d", HOME, "alice"])
    fresh.run(["chown", "-R", "alice:", HOME])
    fresh.systemctl("enable", "--now", "sockreg.service", "sockreg-receive.socket")
    fresh.systemctl("start", "alice.service")
    return fresh


def user(box: Sandbox, *arguments: str, check: bool = True) -> str:
    """``systemctl --user`` as alice."""
    command = ["runuser", "-u", "alice", "--", "env", f"XDG_RUNTIME_DIR=/run/user-{UID}"]
    done = box.run([*command, "systemctl", "--user", *arguments], check=check)
    return done.stdout + done.stderr


def served(box: Sandbox, address: str = "127.0.0.2") -> str:
    return box.ask(address, 80)


ANSWER = "alice 127.0.0.2:80"


def test_a_user_serves_a_low_port_of_his_prefix(box: Sandbox) -> None:
    """Over a restart of his socket, the end of his manager, a login and a reboot."""
    assert served(box) == "refused"
    user(box, "enable", "--now", "sockreg@web.service")
    assert served(box) == ANSWER
    user(box, "restart", "web.socket")
    box.wait(lambda: served(box) == ANSWER)
    box.systemctl("restart", "sockreg.service")
    assert served(box) == ANSWER
    # The last logout without lingering ends the manager, and a login starts it.
    box.systemctl("stop", "alice.service")
    assert served(box) == "refused"
    box.systemctl("start", "alice.service")
    box.wait(lambda: served(box) == ANSWER)
    # With lingering, it starts at boot.
    box.systemctl("enable", "alice.service")
    box.reboot()
    box.wait(lambda: served(box) == ANSWER, deadline=30)
    user(box, "disable", "--now", "sockreg@web.service", "web.socket")
    assert served(box) == "refused"
    assert box.systemctl("list-units", "--failed", "--no-legend").stdout == ""


def test_a_user_serves_nothing_else(box: Sandbox) -> None:
    for path, text in files(label="bob").items():
        box.write(path, text)
    user(box, "daemon-reload")
    said = user(box, "start", "sockreg@web.service", check=False)
    assert "sockreg@web.service" in said
    assert served(box, "127.0.0.3") == served(box) == "refused"
    (refused,) = box.journal(f"MESSAGE_ID={journal.REFUSED}")
    assert refused["SOCKREG_PEER_UID"] == str(UID)
    assert f"user {UID} may not register sockets under label bob" in refused["MESSAGE"]
    # Rules stay the administrator's.
    done = box.run(
        ["runuser", "-u", "alice", "--", "sockreg", "bind", "alice", "tcp", "127.0.0.4", "80"],
        check=False,
    )
    assert done.returncode != 0
    assert box.ask("127.0.0.4", 80) == "refused"


def test_without_the_receiver_the_line_says_what_to_do(box: Sandbox) -> None:
    box.systemctl("stop", "sockreg-receive.socket")
    user(box, "start", "sockreg@web.service", check=False)
    told = box.wait(
        lambda: [text for text in messages(box) if "receive.sock" in text and "start it" in text]
    )
    assert "systemctl start sockreg-receive.socket" in told[0]
    assert served(box) == "refused"

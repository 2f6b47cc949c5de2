"""journalctl -x explains every kind of entry, with the names of what it is about."""

from __future__ import annotations

import pytest

from sockreg.systemd import journal
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, socket_unit

FILES = {
    # A prefix with host bits, and a socket of a kind that cannot be registered.
    f"{UNITS}/web.socket": socket_unit(
        "127.0.0.1:8080", "/run/web.sock", rules=["Bind=tcp 127.1.2.3/8 80"]
    ),
    f"{UNITS}/web.service": "[Service]\nExecStart=/usr/bin/sleep infinity\n",
    f"{UNITS}/wrong.socket": socket_unit("/run/wrong.sock"),
    f"{UNITS}/wrong.service": "[Service]\nExecStart=/usr/bin/sleep infinity\n",
}
# Registers a socket for web.socket and keeps it open.
BY_HAND = """\
import os, socket, subprocess, time
listener = socket.create_server(("127.0.0.1", 9090))
os.dup2(listener.fileno(), 3)
shell = 'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web exec sockreg register --unit web.socket'
subprocess.run(["sh", "-c", shell], pass_fds=[3], check=True)
print("registered", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def eventful_box(make_box: MakeBox) -> Sandbox:
    """A box in which everything has happened that sockreg tells the journal."""
    box = make_box(files=FILES)
    box.run(["journalctl", "--update-catalog"])
    box.systemctl("start", "sockreg")
    with box.spawn(["/usr/bin/python3", "-c", BY_HAND]) as by_hand:
        assert by_hand.stdout is not None
        lines = iter(by_hand.stdout)
        assert "registered\n" in lines
        box.systemctl("start", "sockreg@web")
        by_hand.kill()
    box.systemctl("start", "sockreg@wrong", check=False)
    box.run(["sockreg", "drain", "web"])
    box.run(["sockreg", "bind", "vpn", "tcp", "192.0.2.0/24", "80", "dev", "br0"])
    for command in ("add br0 type bridge", "del br0"):
        box.run(["ip", "link", *command.split()])
        box.run(["sockreg", "apply", "--interfaces"])
    box.write("/etc/sockreg/10-wrong.conf", "[web]\nBind=tcp nowhere 80\n")
    box.systemctl("reload", "sockreg", check=False)
    box.run(["rm", "/etc/sockreg/10-wrong.conf"])
    box.systemctl("stop", "sockreg@web")
    box.systemctl("stop", "sockreg")
    return box


def test_every_kind_of_entry_is_explained(eventful_box: Sandbox) -> None:
    entries = [e for e in eventful_box.journal("-t", "sockreg") if "MESSAGE_ID" in e]
    for entry in entries:
        cursor = f"--cursor={entry['__CURSOR']}"
        shown = eventful_box.run(["journalctl", "-q", "-x", cursor, "-n", "1"]).stdout
        message, subject, *_, last = shown.splitlines()
        assert message.endswith(entry["MESSAGE"])
        assert subject.startswith("░░ Subject: ")
        assert last.startswith("░░ ")
        # A field that an entry lacks is left as it stands in the catalog.
        assert "@SOCKREG_" not in shown
    assert {entry["MESSAGE_ID"] for entry in entries} == {
        journal.REGISTERED,
        journal.REPLACED,
        journal.UNREGISTERED,
        journal.SKIPPED,
        journal.REFUSED,
        journal.LOADED,
        journal.APPLIED,
        journal.APPLY_REFUSED,
        journal.PENDING,
        journal.CAME,
        journal.WENT,
        journal.UNLOADED,
        journal.WEIGHED,
        journal.NOTICE,
    }

"""``Drain=stalled`` on a real systemd: a server of a pool is stopped with SIGSTOP, and goes on."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

from sockreg.systemd import journal
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, service_unit, socket_unit

ADDRESS = "127.0.0.2"


def pool(*rules: str) -> dict[str, str]:
    return {
        f"{UNITS}/web@.socket": socket_unit(
            "127.0.0.1:808%i",
            rules=(f"Bind=tcp {ADDRESS} 80", *rules),
            settings=("Backlog=2",),
        ),
        f"{UNITS}/web@.service": service_unit(
            "accept_loop web%i", dependencies=["Requires=web@%i.socket"]
        ),
    }


def stalled(box: Sandbox) -> set[str]:
    status = json.loads(box.run(["sockreg", "--json", "status"]).stdout)["status"]
    return {
        member["unit"]
        for destination in status["destinations"]
        for member in destination["members"]
        if member["stalled"]
    }


def is_active(box: Sandbox) -> bool:
    return box.show("sockreg-stalled.timer", "ActiveState") == "active"


def test_a_timer_takes_it_out_and_back_in(make_box: MakeBox) -> None:
    box = make_box(files=pool("Drain=stalled"))
    box.systemctl("enable", "--now", "sockreg@web@1.service", "sockreg@web@2.service")
    assert is_active(box)
    for number in (1, 2):
        assert box.ask("127.0.0.1", 8080 + number).startswith(f"web{number} ")
    box.systemctl("kill", "--signal", "STOP", "web@1.service")
    with ExitStack() as clients:
        for _ in range(40):
            client = clients.enter_context(
                box.network.new_socket(socket.AF_INET, socket.SOCK_STREAM)
            )
            client.setblocking(False)
            client.connect_ex((ADDRESS, 80))
        box.wait(lambda: stalled(box) == {"web@1.socket"}, "the look that finds it", 30)
        assert {box.ask(ADDRESS, 80).split()[0] for _ in range(30)} == {"web2"}
        (entry,) = box.journal(f"MESSAGE_ID={journal.STALLED}")
        assert entry["SOCKREG_UNIT"] == "web@1.socket"
        box.systemctl("kill", "--signal", "CONT", "web@1.service")
        box.wait(lambda: not stalled(box), "the look that finds it accepting", 30)
    answers = box.wait(
        lambda: {box.ask(ADDRESS, 80).split()[0] for _ in range(40)} == {"web1", "web2"},
        "answers of both",
        30,
    )
    assert answers
    assert box.journal(f"MESSAGE_ID={journal.ACCEPTS}")
    # systemd writes nothing for each look.
    assert box.journal("UNIT=sockreg-stalled.service") == []
    box.write(f"{UNITS}/web@.socket.d/no.conf", "[X-Sockreg]\nDrain=\n")
    box.systemctl("daemon-reload")
    box.systemctl("reload", "sockreg.service")
    box.wait(lambda: not is_active(box), "the end of the timer")
    assert box.systemctl("--failed", "--no-legend").stdout.strip() == ""

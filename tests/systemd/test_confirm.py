"""Trials of rules and the ssh port on a real systemd."""

from __future__ import annotations

import pytest

from sockreg.errors import EXIT_REFUSED
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, service_unit, socket_unit, web

OWN = "198.51.100.1"
TAKES = "Bind=tcp 198.51.100.0/24 *"
CONF = "/etc/sockreg/all.conf"


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    """A box with an address of its own, where an ordinary server listens on port 22."""
    files = {
        **web(),
        # Not named ssh: the host may have units of that name.
        f"{UNITS}/plain.socket": socket_unit("22", label=None),
        f"{UNITS}/plain.service": service_unit("accept_loop plain"),
    }
    fresh = make_box(files=files)
    fresh.network.add_address(f"{OWN}/24")
    fresh.systemctl("start", "plain.socket", "plain.service")
    fresh.systemctl("start", "sockreg@web.service")
    return fresh


def served_by(box: Sandbox, address: str = OWN, port: int = 22) -> str:
    """The name of the server that answers there; servers add where they were reached."""
    return box.ask(address, port).split()[0]


def write(box: Sandbox, *lines: str) -> None:
    box.run(["mkdir", "-p", "/etc/sockreg"])
    box.run(["tee", CONF], text="\n".join(lines) + "\n")


def test_units_do_not_take_the_ssh_port_unless_told(box: Sandbox) -> None:
    write(box, "[web]", TAKES)
    box.systemctl("reload", "sockreg.service", check=False)
    assert served_by(box) == "plain"
    (refused,) = [text for text in messages(box, "-p", "err", "-u", "sockreg") if OWN in text]
    assert f"{CONF}:2: {TAKES} takes {OWN}:22, which ssh listens on" in refused
    # What was in force stays in force.
    assert served_by(box, "127.0.0.1", 80) == "web"
    write(box, "[web]", TAKES, "[:registry]", "TakeSsh=yes")
    box.systemctl("reload", "sockreg.service")
    assert served_by(box) == "web"


def test_a_timer_ends_the_trial(box: Sandbox) -> None:
    write(box, "[web]", TAKES)
    assert box.run(["sockreg", "apply"], check=False).returncode == EXIT_REFUSED
    box.run(["sockreg", "apply", "--confirm", "2"])
    assert served_by(box) == "web"
    assert "sockreg-unconfirmed-" in box.systemctl("list-timers", "--all").stdout
    box.wait(lambda: served_by(box) == "plain", "the return of the generation of before")
    box.wait(
        lambda: any("is in force again: generation" in text for text in messages(box)),
        "the entry that tells of it",
    )
    assert "sockreg-unconfirmed-" not in box.systemctl("--failed").stdout


def test_the_trial_does_not_hang_on_its_unit(box: Sandbox) -> None:
    """Its processes are killed when it ends, as those of a login session may be."""
    write(box, "[web]", TAKES)
    tries = "[Service]\nType=oneshot\nExecStart=/usr/bin/sockreg apply --confirm 5\n"
    # As in the units of sockreg: it has mounts of its own, and cannot see the namespaces of others.
    hardened = (
        "ProtectSystem=strict\nReadWritePaths=/sys/fs/bpf/sockreg\n"
        "CapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN CAP_PERFMON\n"
    )
    for settings in ("", hardened):
        box.write("/run/systemd/system/tries.service", tries + settings)
        box.systemctl("daemon-reload")
        box.systemctl("start", "tries.service")
        assert box.show("tries.service", "ActiveState") == "inactive"
        assert served_by(box) == "web"
        box.wait(lambda: served_by(box) == "plain", "the return of the generation of before")


def test_confirmed(box: Sandbox) -> None:
    write(box, "[web]", TAKES)
    box.run(["sockreg", "apply", "--confirm", "60"])
    assert box.run(["sockreg", "confirm"]).stdout.endswith("stays in force\n")
    assert "sockreg-unconfirmed-" not in box.systemctl("list-timers", "--all").stdout
    assert served_by(box) == "web"

"""A host whose configuration is partly wrong: whatever is sound is served after a boot.

Each fault costs its own part alone, and commands about other parts work beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import pytest

from sockreg.errors import EXIT_CONFIG
from sockreg.systemd import journal
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, service_unit, socket_unit

CONF = "/etc/sockreg"
SHOP = f"{CONF}/shop.conf"
STATE = "/var/lib/sockreg"
NAMES = ("admin", "shop", "web")
ADDRESS = {name: f"127.1.0.{number}" for number, name in enumerate(NAMES, 1)}
NOTHING = "refused"  # what a client gets where no rule leads to a socket


def _files() -> dict[str, str]:
    """Three services; the rules of shop are in a file, those of the others in their units."""
    files = {SHOP: f"[shop]\nBind=tcp {ADDRESS['shop']} 80\n"}
    for number, name in enumerate(NAMES):
        rules = [] if name == "shop" else [f"Bind=tcp {ADDRESS[name]} 80"]
        files[f"{UNITS}/{name}.socket"] = socket_unit(
            f"127.0.0.1:808{number}", label=name, rules=rules
        )
        files[f"{UNITS}/{name}.service"] = service_unit(f"accept_loop {name}")
    return files


@pytest.fixture
def host(make_box: MakeBox) -> Sandbox:
    box = make_box(files=_files())
    box.systemctl("enable", "--now", *(f"sockreg@{name}" for name in NAMES))
    assert landing(box) == all_served()
    return box


def landing(box: Sandbox) -> dict[str, str]:
    """The server that a connection to each service's address reaches, or what happens."""
    return {name: box.ask(ADDRESS[name], 80).partition(" ")[0] for name in NAMES}


def all_served(**instead: str) -> dict[str, str]:
    return {name: name for name in NAMES} | instead


def left_out(box: Sandbox) -> dict[str, bool]:
    """What status says: for each wrong part, whether its earlier rules are in force."""
    seen = json.loads(box.run(["sockreg", "--json", "status"]).stdout)["status"]
    return {part["part"]: part["earlier_rules"] for part in seen["left_out"]}


def told(box: Sandbox, part: str, where: str) -> None:
    """Every place that tells of a wrong part names it, and the file and line."""
    status = box.run(["sockreg", "status", "-n", "0"]).stdout
    assert f"wrong       {part}: " in status
    assert where in status
    assert box.show("sockreg", "ActiveState") == "active"
    assert part in box.show("sockreg", "StatusText")
    entries = box.journal("-b", f"MESSAGE_ID={journal.LEFT_OUT}", f"SOCKREG_PART={part}")
    assert [where in str(entry["MESSAGE"]) for entry in entries] == [True]
    checked = box.run(["sockreg", "--json", "check"], check=False)
    assert checked.returncode == EXIT_CONFIG
    errors = [f for f in json.loads(checked.stdout)["findings"] if f["severity"] == "error"]
    assert any(where in f["where"] for f in errors), errors


class Fault(NamedTuple):
    """How to break one thing, what is wrong then and where, and how to mend it."""

    breaking: Callable[[Sandbox], object]
    part: str
    where: str
    mending: Callable[[Sandbox], object]


def append(path: str, line: str) -> Callable[[Sandbox], object]:
    return lambda box: box.run(["tee", "-a", path], text=line + "\n")


def shell(command: str) -> Callable[[Sandbox], object]:
    return lambda box: box.run(["sh", "-ec", command])


WEB = f"{UNITS}/web.socket"
FAULTS = {
    "a wrong rule in a file": Fault(
        append(SHOP, "Bind=tcp nonsense 80"), SHOP, f"{SHOP}:3", shell(f"sed -i 3d {SHOP}")
    ),
    "a wrong section": Fault(append(SHOP, "[a:b]"), SHOP, f"{SHOP}:3", shell(f"sed -i 3d {SHOP}")),
    "a wrong option": Fault(
        append(SHOP, "[:registry]\nCounters=perhaps"),
        SHOP,
        f"{SHOP}:4",
        shell(f"sed -i 3,4d {SHOP}"),
    ),
    "a file that is no text": Fault(
        append(SHOP, "Bind=\udcff\udcfe".encode(errors="surrogateescape").decode("latin-1")),
        SHOP,
        f"{SHOP}:3",
        shell(f"sed -i 3d {SHOP}"),
    ),
    "an unreadable file": Fault(shell(f"chmod 0 {SHOP}"), SHOP, SHOP, shell(f"chmod 644 {SHOP}")),
    "a file that leads nowhere": Fault(
        shell(f"mv {SHOP} /etc/kept; ln -s /nowhere {SHOP}"),
        SHOP,
        SHOP,
        shell(f"rm {SHOP}; mv /etc/kept {SHOP}"),
    ),
    "an unreadable directory": Fault(
        shell(f"chmod 0 {CONF}"), SHOP, CONF, shell(f"chmod 755 {CONF}")
    ),
    "a file instead of the directory": Fault(
        shell(f"mv {CONF} /etc/kept; touch {CONF}"),
        SHOP,
        CONF,
        shell(f"rm {CONF}; mv /etc/kept {CONF}"),
    ),
    "a wrong rule in a unit": Fault(
        shell(f"sed -i '/^Bind/a Bind=tcp' {WEB}"),
        "web.socket",
        f"{WEB}:7",
        shell(f"sed -i '/^Bind=tcp$/d' {WEB}"),
    ),
    "a wrong weight in a drop-in": Fault(
        shell(f"mkdir {WEB}.d; printf '[X-Sockreg]\\nWeight=heavy\\n' >{WEB}.d/w.conf"),
        "web.socket",
        f"{WEB}.d/w.conf:2",
        shell(f"rm -r {WEB}.d"),
    ),
    "unreadable drop-ins": Fault(
        shell(f"mkdir {WEB}.d; chmod 0 {WEB}.d"),
        "web.socket",
        f"{WEB}.d",
        shell(f"rm -r {WEB}.d"),
    ),
    "a tie of a file with what was in force": Fault(
        append(SHOP, f"Bind=tcp {ADDRESS['web']} 80"),
        SHOP,
        f"{SHOP}:3",
        shell(f"sed -i 3d {SHOP}"),
    ),
    "a tie of a unit that sorts first": Fault(
        shell(f"sed -i '/^Bind/a Bind=tcp {ADDRESS['web']} 80' {UNITS}/admin.socket"),
        "admin.socket",
        f"{UNITS}/admin.socket:7",
        shell(f"sed -i '/{ADDRESS['web']}/d' {UNITS}/admin.socket"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_was_last_in_force_serves_for_a_part_that_is_wrong_at_boot(
    host: Sandbox, fault: Fault
) -> None:
    box = host
    fault.breaking(box)
    box.reboot()
    assert landing(box) == all_served()
    assert left_out(box) == {fault.part: True}
    told(box, fault.part, fault.where)
    for name in NAMES:
        assert box.show(f"sockreg@{name}", "ActiveState") == "active"

    # It was wrong before, so nothing is refused because of it.
    box.systemctl("reload", "sockreg")
    box.run(["sockreg", "bind", "admin", "tcp", ADDRESS["admin"], "81", "--runtime"])
    assert box.ask(ADDRESS["admin"], 81).startswith("admin ")
    box.systemctl("restart", "sockreg@web")
    assert landing(box) == all_served()

    fault.mending(box)
    box.systemctl("reload", "sockreg")
    assert left_out(box) == {}
    assert landing(box) == all_served()
    assert "wrong" not in box.show("sockreg", "StatusText")

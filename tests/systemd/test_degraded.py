"""A host whose configuration is partly wrong: whatever is sound is served after a boot.

Each fault costs its own part alone, and commands about other parts work beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import pytest

from sockreg.errors import EXIT_CONFIG
from sockreg.systemd import journal
from tests.sandbox import Sandbox
from tests.systemd.conftest import LOWER
from tests.systemd.units import UNITS, messages, service_unit, socket_unit

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


def _enabled(box: Sandbox) -> Sandbox:
    box.systemctl("enable", "--now", *(f"sockreg@{name}" for name in NAMES))
    assert landing(box) == all_served()
    return box


class Hosts:
    """One host for all tests, and another one after a test that does not leave it as it was."""

    def __init__(self, installed: Path) -> None:
        self._installed = installed
        self._stack = ExitStack()
        self._host: Sandbox | None = None

    def get(self) -> Sandbox:
        if self._host is None:
            box = Sandbox(trees=[self._installed], lower=LOWER, files=_files())
            self._host = _enabled(self._stack.enter_context(box))
        return self._host

    def close(self) -> None:
        self._stack.close()
        self._host = None


@pytest.fixture(scope="module")
def hosts(installed: Path) -> Iterator[Hosts]:
    with closing(Hosts(installed)) as found:
        yield found


@pytest.fixture
def shared_host(hosts: Hosts) -> Iterator[Sandbox]:
    box = hosts.get()
    yield box
    try:
        sound = box.run(["sockreg", "apply", "--check"], check=False).returncode == 0
        sound = sound and landing(box) == all_served() and left_out(box) == {}
    except AssertionError:
        sound = False
    if not sound:
        hosts.close()


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
# The faults that `make test` tries, too.
SHORT = {
    "a wrong rule in a file",
    "an unreadable directory",
    "a wrong rule in a unit",
    "the label of another unit",
    "a tie of a unit that sorts first",
}
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
    "a directory for a file": Fault(
        shell(f"mv {SHOP} /etc/kept; mkdir {SHOP}"),
        SHOP,
        SHOP,
        shell(f"rmdir {SHOP}; mv /etc/kept {SHOP}"),
    ),
    "a pipe for a file": Fault(
        shell(f"mv {SHOP} /etc/kept; mkfifo {SHOP}"),
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
    "a drop-in that leads nowhere": Fault(
        shell(f"mkdir {WEB}.d; ln -s /nowhere {WEB}.d/w.conf"),
        "web.socket",
        f"{WEB}.d/w.conf",
        shell(f"rm -r {WEB}.d"),
    ),
    "a drop-in in UTF-16": Fault(
        shell(f"mkdir {WEB}.d; printf '[X-Sockreg]\n' | iconv -t UTF-16 >{WEB}.d/w.conf"),
        "web.socket",
        f"{WEB}.d/w.conf",
        shell(f"rm -r {WEB}.d"),
    ),
    "unreadable drop-ins": Fault(
        shell(f"mkdir {WEB}.d; chmod 0 {WEB}.d"),
        "web.socket",
        f"{WEB}.d",
        shell(f"rm -r {WEB}.d"),
    ),
    "the label of another unit": Fault(
        shell(f"sed -i s/Name=admin/Name=web/ {UNITS}/admin.socket"),
        "admin.socket",
        f"{UNITS}/admin.socket:4",
        shell(f"sed -i s/Name=web/Name=admin/ {UNITS}/admin.socket"),
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


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=name, marks=() if name in SHORT else pytest.mark.long)
        for name, fault in FAULTS.items()
    ],
)
def test_what_was_last_in_force_serves_for_a_part_that_is_wrong_at_boot(
    shared_host: Sandbox, fault: Fault
) -> None:
    box = shared_host
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


LOST = ("an unreadable directory", "a file instead of the directory")


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in FAULTS if name not in LOST])
def test_what_never_was_in_force_is_left_out(shared_host: Sandbox, name: str) -> None:
    """As on the first boot with such a file, or without the rules that were kept."""
    box, fault = shared_host, FAULTS[name]
    fault.breaking(box)
    box.run(["rm", f"{STATE}/rules"])
    box.reboot()
    lost = "web" if fault.part == "web.socket" else fault.part.rpartition("/")[2].partition(".")[0]
    if name in ("a tie of a unit that sorts first", "the label of another unit"):
        # Nobody knows who had the rule or label: the one that is read first has it.
        assert landing(box) == all_served(web="admin" if name.startswith("a tie") else NOTHING)
        assert left_out(box) == {"web.socket": False}
    else:
        assert landing(box) == all_served(**{lost: NOTHING})
        assert left_out(box) == {fault.part: False}
        told(box, fault.part, fault.where)
    fault.mending(box)
    box.systemctl("reload", "sockreg")
    if name == "the label of another unit":
        box.systemctl("restart", "sockreg@web")  # its sockets were refused
    assert left_out(box) == {}
    assert landing(box) == all_served()


def test_a_file_that_is_gone_takes_its_rules_along(shared_host: Sandbox) -> None:
    box = shared_host
    box.run(["mv", SHOP, "/etc/kept"])
    box.reboot()
    assert landing(box) == all_served(shop=NOTHING)
    assert left_out(box) == {}
    box.run(["mv", "/etc/kept", SHOP])
    box.systemctl("reload", "sockreg")
    assert landing(box) == all_served()


STATES = {
    "garbage": f"echo garbage >{STATE}/rules",
    "an empty file": f": >{STATE}/rules",
    "half of it": f"truncate -s 300 {STATE}/rules",
    "a wrong byte": f"printf x | dd of={STATE}/rules bs=1 seek=400 conv=notrunc",
    "another version": f"sed -i 1s/sockkpt1/sockkpt0/ {STATE}/rules",
    "a directory": f"rm {STATE}/rules; mkdir {STATE}/rules",
    "unreadable": f"chmod 0 {STATE}/rules",
    "a file for the directory": f"rm -r {STATE}; touch {STATE}",
}


@pytest.mark.long
@pytest.mark.parametrize("command", STATES.values(), ids=STATES)
def test_rules_that_were_not_kept_well_are_as_if_not_kept(
    shared_host: Sandbox, command: str
) -> None:
    box = shared_host
    box.run(["sh", "-ec", command])
    box.run(["tee", "-a", SHOP], text="nonsense\n")
    box.reboot()
    assert landing(box) == all_served(shop=NOTHING)
    assert left_out(box) == {SHOP: False}
    assert box.show("sockreg", "ActiveState") == "active"
    warnings = [
        text for text in messages(box, "-b", "PRIORITY=4") if text.startswith(f"{STATE}/rules: ")
    ]
    assert any("the rules that were last in force are not known" in text for text in warnings)

    box.run(["sed", "-i", "$d", SHOP])
    box.run(["rm", "-rf", STATE])
    box.systemctl("reload", "sockreg")
    assert landing(box) == all_served()
    box.systemctl("restart", "sockreg")
    assert box.run(["test", "-s", f"{STATE}/rules"]).returncode == 0


@pytest.mark.parametrize("options", ["size=4k,nr_inodes=2", "ro"])
def test_a_var_that_takes_nothing_fails_nothing(shared_host: Sandbox, options: str) -> None:
    """It is full, or read-only, from the start of the loader on."""
    box = shared_host
    unit = "/etc/systemd/system/var-lib-sockreg.mount"
    box.write(
        unit,
        "[Unit]\nDefaultDependencies=no\nBefore=local-fs.target\n[Mount]\nWhat=tmpfs\n"
        f"Type=tmpfs\nWhere={STATE}\nOptions={options}\n[Install]\nRequiredBy=local-fs.target\n",
    )
    box.systemctl("enable", "var-lib-sockreg.mount")
    box.reboot()
    try:
        if options != "ro":
            box.run(["sh", "-c", f"head -c 1M /dev/zero >{STATE}/filler"], check=False)
        assert landing(box) == all_served()
        assert left_out(box) == {}
        for name in ("sockreg", *(f"sockreg@{name}" for name in NAMES)):
            assert box.show(name, "ActiveState") == "active"
        box.run(["sockreg", "bind", "--runtime", "web", "tcp", ADDRESS["web"], "81"])
        assert box.ask(ADDRESS["web"], 81).startswith("web ")
        warning = "the rules in force cannot be kept for the next boot"
        assert any(warning in text for text in messages(box, "-b", "PRIORITY=4"))
        # What is in force is known without the disk.
        box.run(["tee", "-a", SHOP], text="nonsense\n")
        done = box.run(["sockreg", "bind", "--runtime", "web", "tcp", ADDRESS["web"], "82"])
        assert f"{SHOP}:3: 'nonsense' is not KEY=VALUE" in done.stderr
        assert landing(box) == all_served()
        assert left_out(box) == {SHOP: True}
    finally:
        box.run(["sed", "-i", "/nonsense/d", SHOP])
        box.systemctl("disable", "var-lib-sockreg.mount")
        box.reboot()
    assert landing(box) == all_served()


def test_a_command_is_refused_for_what_it_changes(shared_host: Sandbox) -> None:
    box = shared_host
    status = "wrong       "
    box.run(["sed", "-i", "/^Bind/a Bind=tcp", WEB])
    # The edit is what a reload is about: nothing changes, and that is an error.
    assert box.systemctl("reload", "sockreg", check=False).returncode != 0
    assert status not in box.run(["sockreg", "status", "-n", "0"]).stdout
    assert f"{WEB}:7: " in box.run(["sockreg", "apply", "--check"], check=False).stderr
    assert landing(box) == all_served()
    # Others are not about it.
    done = box.run(["sockreg", "bind", "shop", "tcp", ADDRESS["shop"], "81", "--runtime"])
    assert "web.socket is wrong, and its rules stay in force as they were" in done.stderr
    assert box.ask(ADDRESS["shop"], 81).startswith("shop ")
    done = box.run(["sockreg", "unbind", "shop", "tcp", ADDRESS["shop"], "81"])
    assert done.stderr.splitlines() == [
        "still wrong, as before: web.socket ('sockreg status' says why)"
    ]
    for verb in ("stop", "start", "restart"):
        box.systemctl(verb, "sockreg@shop")
    assert landing(box) == all_served()
    # A tie with what is in force is the fault of the command.
    done = box.run(["sockreg", "bind", "shop", "tcp", ADDRESS["admin"], "80"], check=False)
    assert done.returncode == EXIT_CONFIG
    assert f"ties with Bind=tcp {ADDRESS['admin']} 80 (admin)" in done.stderr
    assert "web.socket" not in done.stderr
    # Nobody has said yet that the edit may be wrong.
    assert box.systemctl("reload", "sockreg", check=False).returncode != 0
    # But a start of the loader is not about it, and a boot is not refused.
    box.systemctl("restart", "sockreg")
    assert landing(box) == all_served()
    box.reboot()
    assert landing(box) == all_served()
    box.systemctl("reload", "sockreg")
    # Another edit is.
    box.run(["sed", "-i", "/^Bind=tcp$/a Bind=udp", WEB])
    assert box.systemctl("reload", "sockreg", check=False).returncode != 0
    box.run(["sed", "-i", "-e", "/^Bind=tcp$/d", "-e", "/^Bind=udp$/d", WEB])
    box.systemctl("reload", "sockreg")
    assert left_out(box) == {}
    assert landing(box) == all_served()


def test_a_unit_that_is_started_while_it_is_wrong(shared_host: Sandbox) -> None:
    """It is refused, and changes nothing for others; after the next boot, its socket is there."""
    box = shared_host
    unit = f"{UNITS}/tie.socket"
    rule = f"Bind=tcp {ADDRESS['web']} 80"
    box.write(unit, socket_unit("127.0.0.1:8090", label="tie", rules=[rule]))
    box.write(f"{UNITS}/tie.service", service_unit("accept_loop tie"))
    box.systemctl("daemon-reload")
    assert box.systemctl("enable", "--now", "sockreg@tie", check=False).returncode != 0
    assert landing(box) == all_served()
    box.reboot()
    assert landing(box) == all_served()
    assert left_out(box) == {"tie.socket": False}
    told(box, "tie.socket", f"{unit}:6")
    assert box.show("sockreg@tie", "ActiveState") == "active"
    members = json.loads(box.run(["sockreg", "--json", "status"]).stdout)["status"]["destinations"]
    assert box.ask("127.0.0.1", 8090).startswith("tie "), members
    box.systemctl("restart", "sockreg@tie")
    box.systemctl("disable", "--now", "sockreg@tie")
    assert left_out(box) == {}
    box.run(["rm", unit, f"{UNITS}/tie.service"])
    box.systemctl("daemon-reload")

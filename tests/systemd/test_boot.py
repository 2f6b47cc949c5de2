"""A boot registers many sockets in one process, and none of them holds up others."""

from __future__ import annotations

from collections.abc import Sequence

from sockreg.systemd import journal
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, service_unit, socket_unit

NAMES = [f"site{number}" for number in range(5)]
TOGETHER = "sockreg-boot@0.service"


def sites(names: Sequence[str] = NAMES, *, label: str | None = None) -> dict[str, str]:
    """Units whose sockets listen on 127.0.1.N, each with a rule for port 80 of 127.0.2.N."""
    files = {}
    for number, name in enumerate(names):
        files[f"{UNITS}/{name}.socket"] = socket_unit(
            f"127.0.1.{number}:8080", label=label, rules=[f"Bind=tcp 127.0.2.{number} 80"]
        )
        files[f"{UNITS}/{name}.service"] = service_unit(f"accept_loop {name}")
    return files


def enable(box: Sandbox, names: Sequence[str] = NAMES) -> None:
    box.systemctl("enable", "--quiet", *(f"sockreg@{name}" for name in names))


def answers(box: Sandbox, names: Sequence[str] = NAMES) -> list[str]:
    return [box.ask(f"127.0.2.{number}", 80).partition(" ")[0] for number in range(len(names))]


def registrars(box: Sandbox) -> dict[str, str]:
    """By label, the unit that has registered its socket in this boot, by the journal."""
    entries = box.journal("-b", f"MESSAGE_ID={journal.REGISTERED}")
    return {entry["SOCKREG_LABEL"]: entry["_SYSTEMD_UNIT"] for entry in entries}


def test_a_boot_registers_all_sockets_in_one_process(make_box: MakeBox) -> None:
    box = make_box(files=sites())
    enable(box)
    box.reboot()
    assert answers(box) == NAMES
    assert registrars(box) == {f"{name}.socket": TOGETHER for name in NAMES}
    for name in NAMES:
        assert box.show(f"sockreg@{name}", "ActiveState") == "active"
    assert box.systemctl("is-system-running").stdout == "running\n"
    booted = messages(box, "-b")
    assert [line for line in booted if "cycle" in line or "deleted to break" in line] == []


def test_after_a_boot_each_socket_has_its_own_companion(make_box: MakeBox) -> None:
    box = make_box(files=sites())
    enable(box)
    box.reboot()
    box.systemctl("reload", "sockreg@site1")
    box.systemctl("stop", "site2.socket")
    assert answers(box)[2] == "refused"
    box.systemctl("start", "sockreg@site2")
    assert answers(box) == NAMES
    box.systemctl("daemon-reload")
    box.systemctl("restart", "sockreg@site3", "sockreg@site2")
    box.systemctl("stop", "site4.socket")
    assert answers(box) == [*NAMES[:4], "refused"]
    by = registrars(box)
    assert by["site2.socket"] == "sockreg-add@site2.service"
    assert by["site1.socket"] == "sockreg-add@site1.service"
    assert by["site0.socket"] == TOGETHER


def test_a_stopped_socket_stays_stopped(make_box: MakeBox) -> None:
    """The units that register together would pull it in; they have their time at boot."""
    box = make_box(files=sites())
    enable(box)
    box.reboot()
    box.systemctl("stop", "site0.socket")
    refused = box.systemctl("start", TOGETHER, check=False)
    assert "may be requested by dependency only" in refused.stderr
    assert box.show("site0.socket", "ActiveState") == "inactive"
    assert answers(box) == ["refused", *NAMES[1:]]


def test_a_socket_that_is_late_or_fails_holds_up_no_other(make_box: MakeBox) -> None:
    """site0 waits for a command, and site2 has an address that this host has not."""
    box = make_box(files=sites())
    box.write(f"{UNITS}/site0.socket.d/late.conf",
              "[Socket]\nExecStartPre=/bin/sh -c 'sleep 2; echo waited'\n")  # fmt: skip
    box.write(f"{UNITS}/site2.socket.d/fails.conf", "[Socket]\nListenStream=198.51.100.7:80\n")
    enable(box)
    box.reboot()
    assert box.show("site2.socket", "ActiveState") == "failed"
    assert answers(box) == [*NAMES[:2], "refused", *NAMES[3:]]
    booted = messages(box, "-b")
    for name in (NAMES[1], *NAMES[3:]):
        (registered,) = [line for line in booted if line.startswith(f"label {name}.socket: reg")]
        assert booted.index(registered) < booted.index("waited")


def test_what_is_not_registered_together_is_registered_by_its_companion(make_box: MakeBox) -> None:
    box = make_box(files=sites())
    enable(box)
    box.write(f"{UNITS}/sockreg-boot@.service.d/broken.conf", "[Service]\nExecStart=\n"
              "ExecStart=/bin/false\n")  # fmt: skip
    box.reboot()
    assert answers(box) == NAMES
    assert registrars(box) == {f"{name}.socket": f"sockreg-add@{name}.service" for name in NAMES}


def test_a_drop_in_of_an_administrator_for_a_companion_counts(make_box: MakeBox) -> None:
    box = make_box(files=sites())
    enable(box)
    box.write(f"{UNITS}/sockreg-add@site1.service.d/more.conf", "[Service]\n"
              "ExecStartPost=/bin/echo done it\n")  # fmt: skip
    box.reboot()
    assert answers(box) == NAMES
    assert registrars(box)["site1.socket"] == "sockreg-add@site1.service"
    assert registrars(box)["site2.socket"] == TOGETHER
    assert "done it" in messages(box, "-b", "-u", "sockreg-add@site1.service")


def test_a_unit_that_is_wrong_costs_only_its_own_rules(make_box: MakeBox) -> None:
    box = make_box(files=sites())
    enable(box)
    box.write(f"{UNITS}/site1.socket.d/wrong.conf", "[X-Sockreg]\nBind=tcp nonsense 80\n")
    box.reboot()
    assert answers(box) == [NAMES[0], "refused", *NAMES[2:]]
    assert box.show("site1.socket", "ActiveState") == "active"


def test_no_order_of_other_units_closes_a_circle(make_box: MakeBox) -> None:
    """prepare.service runs before site0.socket, and after the server of site1.socket."""
    box = make_box(files=sites())
    enable(box)
    box.write(f"{UNITS}/site1.service.d/early.conf", "[Unit]\nDefaultDependencies=no\n")
    box.write(f"{UNITS}/prepare.service", "[Unit]\nDefaultDependencies=no\n"
              "Before=site0.socket\nAfter=site1.service\nWants=site1.service\n[Service]\n"
              "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
              "[Install]\nWantedBy=sockets.target\n")  # fmt: skip
    box.systemctl("enable", "--quiet", "prepare")
    box.reboot()
    booted = messages(box, "-b")
    assert [line for line in booted if "cycle" in line or "deleted to break" in line] == []
    assert answers(box) == NAMES


def test_members_of_a_pool_are_registered_at_boot(make_box: MakeBox) -> None:
    """Their sockets have one name, by which one process could not tell them apart."""
    files = sites(label="pool")
    box = make_box(files={path: text.replace("[X-Sockreg]", "[X-Sockreg]\nWeight=100")
                          for path, text in files.items()})  # fmt: skip
    enable(box)
    box.reboot()
    listed = box.run(["sockreg", "status"]).stdout
    assert all(f"{name}.socket" in listed for name in NAMES), listed
    assert set(answers(box)) <= set(NAMES)


def test_the_loader_that_does_not_start_leaves_all_as_it_is(make_box: MakeBox) -> None:
    box = make_box(files=sites())
    enable(box)
    box.systemctl("mask", "sockreg.service")
    box.reboot()
    assert answers(box) == ["refused"] * len(NAMES)
    for number, name in enumerate(NAMES):
        assert box.ask(f"127.0.1.{number}", 8080).startswith(name)
        assert box.show(f"{name}.socket", "ActiveState") == "active"


def test_a_boot_that_empties_tmp_loads(make_box: MakeBox) -> None:
    """systemd makes PrivateDevices= in /tmp, which Debian 12 empties early at each boot."""
    empties = (
        "import os, shutil, time\n"
        "end = time.monotonic() + 1\n"
        "while time.monotonic() < end:\n"
        "    for name in os.listdir('/tmp'):\n"
        "        shutil.rmtree(f'/tmp/{name}', ignore_errors=True)\n"
    )
    box = make_box(
        files=sites()
        | {
            "/root/empties.py": empties,
            f"{UNITS}/systemd-tmpfiles-setup.service": (
                "[Unit]\nDefaultDependencies=no\nAfter=local-fs.target\nBefore=sysinit.target\n"
                "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                "ExecStart=python3 /root/empties.py\n"
            ),
            f"{UNITS}/sysinit.target.d/tmpfiles.conf": (
                "[Unit]\nWants=systemd-tmpfiles-setup.service\n"
            ),
        }
    )
    enable(box)
    box.reboot()
    assert answers(box) == NAMES
    assert box.systemctl("is-system-running").stdout == "running\n"

"""What members of group sockreg see without being root, and others do not."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from sockreg.errors import EXIT_NOT_LOADED, EXIT_OK, EXIT_PERMISSION
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, web
from tests.tree import ROOT

HOME = "/sys/fs/bpf/sockreg"
WINDOW = "/run/sockreg/bpf/sockreg"
READER, STRANGER = "65501", "65502"  # no such users: only their numbers count


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    """A box whose group is made, as a package does, before anything is loaded."""
    box = make_box(files=web())
    box.run(["systemd-sysusers"])
    box.systemctl("enable", "--now", "sockreg@web.service")
    return box


def as_user(
    box: Sandbox, user: str, *command: str, group: str = "nogroup"
) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody without any privilege."""
    own = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    return box.run([*own, "--bounding-set=-all", "--no-new-privs", *command], check=False)


def as_member(box: Sandbox, *arguments: str) -> subprocess.CompletedProcess[str]:
    return as_user(box, READER, "/usr/bin/sockreg", *arguments, group="sockreg")


def shown(box: Sandbox, *arguments: str) -> Any:
    done = as_member(box, "--json", *arguments)
    assert done.returncode == EXIT_OK, done.stderr
    content = json.loads(done.stdout)
    return content[content["schema"].removeprefix("sockreg.")]


def test_a_member_of_the_group_reads(box: Sandbox) -> None:
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    status = shown(box, "status")
    assert status["generation"] == 1
    assert status["program"] is None
    (destination,) = status["destinations"]
    assert destination["counters"]["lookups"] == 1
    assert destination["members"][0]["unit"] == "web.socket"
    text = as_member(box, "status").stdout
    assert "in force    generation 1, 1 rule, " in text
    assert "program     not shown: opening programs takes root" in text
    (rule,) = shown(box, "rules")
    assert rule["rule"] == "tcp 127.0.0.1 80"
    explained = shown(box, "explain", "tcp", "127.0.0.1", "80")
    assert (explained["outcome"], explained["label"]) == ("socket", "web")
    assert explained["asked"] == "only root can run the program; this verdict comes from the rules"
    assert explained["target"]["unit"] == "web.socket"
    assert any(it["labels"] == ["web"] for it in shown(box, "listeners")["listeners"])
    assert shown(box, "check") == []
    assert shown(box, "inspect", "web")["members"][0]["unit"] == "web.socket"
    assert "sockreg_up 1.0" in as_member(box, "metrics").stdout
    check = as_member(box, "apply", "--check")
    assert "the configured rules are sound: 1 rule; 0 added, 0 removed" in check.stdout
    assert not check.stderr  # where ssh listened last is not for them


def test_a_member_sees_what_is_in_force_after_every_change(box: Sandbox) -> None:
    bind = ["sockreg", "bind", "web", "tcp", "127.0.0.2", "80"]
    restart = ["systemctl", "restart", "sockreg.service"]
    for command in (bind, ["sockreg", "rollback"], ["sockreg", "upgrade"], restart):
        box.run(command)
        as_root = json.loads(box.run(["sockreg", "--json", "status"]).stdout)["status"]
        for name in ("generation", "header"):
            assert shown(box, "status")[name] == as_root[name], command
    box.systemctl("stop", "sockreg.service")
    done = as_member(box, "status")
    assert done.returncode == EXIT_NOT_LOADED, done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["apply"],
        ["bind", "web", "tcp", "127.0.0.9", "80"],
        ["rollback"],
        ["unregister", "web"],
        ["drain", "web"],
        ["unload"],
    ],
    ids=" ".join,
)
def test_a_member_changes_nothing(box: Sandbox, command: list[str]) -> None:
    done = as_member(box, *command)
    assert done.returncode == EXIT_PERMISSION, done.stdout + done.stderr
    assert done.stderr.startswith("sockreg: ")
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    assert shown(box, "status")["generation"] == 1


def test_others_read_nothing(box: Sandbox) -> None:
    for verb in ("status", "rules", "metrics"):
        done = as_user(box, STRANGER, "/usr/bin/sockreg", verb)
        assert done.returncode == EXIT_PERMISSION, done.stdout + done.stderr
        assert "member of group sockreg" in done.stderr, done.stderr
    assert as_user(box, STRANGER, "ls", WINDOW).returncode != 0


def test_the_exporter_can_do_no_more_than_a_reader(box: Sandbox) -> None:
    """The walk of tests/kernel/test_rights.py, from inside of its hardened unit."""
    box.write("/opt/walk.py", (ROOT / "tests/kernel/walk.py").read_text())
    pins = box.run(["find", WINDOW]).stdout.split()
    walk = f"ExecStart=/usr/bin/python3 -I -S /opt/walk.py {' '.join(pins)}"
    box.write(f"{UNITS}/sockreg-metrics.service.d/walk.conf", f"[Service]\nExecStart=\n{walk}\n")
    box.systemctl("daemon-reload")
    box.systemctl("start", "sockreg-metrics.socket", "sockreg-metrics.service")
    said = box.wait(lambda: messages(box, "_COMM=python3", "_SYSTEMD_UNIT=sockreg-metrics.service"))
    found = json.loads("".join(said))
    opened = {path for path, modes in found["pins"].items() if modes}
    assert {modes for path in opened for modes in found["pins"][path]} == {"r"}
    done = {name for path in opened for name in found["pins"][path]["r"]}
    assert done == {"MAP_LOOKUP_ELEM", "MAP_GET_NEXT_KEY", "MAP_LOOKUP_BATCH", "OBJ_GET_INFO_BY_FD"}
    names = {path.rpartition("/")[2] for path in opened}
    assert {"sockets", "rules", "counters"} <= names
    assert not names & {"copy_socket", "link", "program"}
    assert set(found["by id"].values()) == {"EPERM"}
    assert found["made"] == found["removed"] == []
    closed = [path for path, held in found["locks"].items() if not held]
    assert {path.rpartition("/")[2] for path in closed} >= {"sockreg", "generations", "lock"}


def test_modes_and_owners(box: Sandbox) -> None:
    """Everything belongs to the group, for reading; the bpffs itself stays closed."""
    box.run(["sockreg", "bind", "web", "tcp", "127.0.0.2", "80"])
    group = box.run(["getent", "group", "sockreg"]).stdout.split(":")[2]
    listed = box.run(["find", HOME, "-printf", "%p %m %y %U:%G\n"]).stdout.splitlines()
    assert len(listed) > 15
    for line in listed:
        path, mode, kind, owner = line.split()
        name = path.rpartition("/")[2]
        private = name in ("copy_socket", "link", "program")
        usual = "2750" if kind == "d" else "600" if private else "640"
        closed = {"sockreg": "2710", "generations": "2710", "lock": "2700"}
        assert (mode, owner) == (closed.get(name, usual), f"0:{group}"), path
    assert int(box.run(["stat", "-c", "%a", "/sys/fs/bpf"]).stdout, 8) & 0o777 == 0o700


def test_a_registry_of_an_earlier_version_is_closed_and_stays_readable(box: Sandbox) -> None:
    """The loader narrows it at its next start; a reload, which has no right to, harms nothing."""
    (generations,) = box.run(["sh", "-c", f"echo {HOME}/*/generations"]).stdout.split()
    box.run(["chmod", "2750", HOME, generations])
    box.run(["sh", "-c", f"chmod 640 {HOME}/*/link {HOME}/*/copy_socket {generations}/*/program"])
    box.write("/etc/sockreg/more.conf", "[web]\nBind=tcp 127.0.0.3 80\n")
    for verb, closed in (("reload", "2750"), ("restart", "2710")):
        box.systemctl(verb, "sockreg.service")
        assert box.run(["stat", "-c", "%a %G", HOME]).stdout == f"{closed} sockreg\n"
        assert box.run(["stat", "-c", "%a %G", generations]).stdout == f"{closed} sockreg\n"
        wide = ["find", HOME, "(", "-name", "link", "-o", "-name", "program", ")", "-perm", "/077"]
        assert box.run(wide).stdout == ""
        assert len(shown(box, "rules")) == 2


def test_without_the_group_root_alone_reads(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.systemctl("enable", "--now", "sockreg@web.service")
    assert box.run(["stat", "-c", "%U:%G %a", HOME]).stdout == "root:root 2710\n"
    done = as_user(box, READER, "/usr/bin/sockreg", "status")
    assert done.returncode == EXIT_PERMISSION, done.stdout + done.stderr


def test_a_group_made_later_counts_from_the_next_start(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.systemctl("enable", "--now", "sockreg@web.service")
    box.run(["systemd-sysusers"])
    box.systemctl("restart", "sockreg.service")
    assert shown(box, "status")["generation"] == 1


def test_the_window_goes_with_the_loader(box: Sandbox) -> None:
    unit = "run-sockreg-bpf-sockreg.mount"
    assert box.show(unit, "ActiveState") == "active"
    box.systemctl("stop", "sockreg.service")
    box.wait(lambda: box.show(unit, "ActiveState") == "inactive", "the end of the mount")
    box.systemctl("start", "sockreg.service")
    box.wait(lambda: box.show(unit, "ActiveState") == "active", "the mount")
    assert box.systemctl("--failed", "--plain", "--no-legend", "list-units").stdout == ""
    done = box.run(["systemd-analyze", "verify", "--man=no", unit, "sockreg.service"])
    assert done.stdout + done.stderr == ""


def test_where_everybody_may_enter_the_bpffs_no_window_is_needed(make_box: MakeBox) -> None:
    open_it = "[Service]\nExecStartPre=+/bin/chmod 0711 /sys/fs/bpf\n"
    drop_ins = {
        f"{UNITS}/sockreg.service.d/open.conf": open_it,
        f"{UNITS}/run-sockreg-bpf-sockreg.mount.d/none.conf": "[Unit]\nConditionPathExists=/none\n",
    }
    box = make_box(files=web() | drop_ins)
    box.run(["systemd-sysusers"])
    box.systemctl("enable", "--now", "sockreg@web.service")
    assert shown(box, "status")["registry"].startswith("/sys/fs/bpf/sockreg/")

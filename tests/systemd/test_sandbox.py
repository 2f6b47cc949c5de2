"""The sandbox is a machine of its own, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns import UDP
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.tree import IN_BOX, ROOT

ECHO = {
    "/etc/systemd/system/echo.socket": (
        "[Socket]\nListenStream=127.0.0.1:7\nAccept=yes\n[Install]\nWantedBy=sockets.target\n"
    ),
    "/etc/systemd/system/echo@.service": (
        "[Service]\nExecStart=echo connected\nStandardInput=socket\n"
    ),
}

# A process that has a box until it is killed.
OWNER = """
import signal
from tests.sandbox import Sandbox
with Sandbox() as box:
    print("box:", box.directory, flush=True)
    signal.pause()
"""

# The same as a test.
OWNER_TEST = """
import signal
from tests.sandbox import Sandbox
def test_owner():
    with Sandbox() as box:
        print("\\nbox:", box.directory, flush=True)
        signal.pause()
"""


def traces(directory: Path) -> list[str]:
    """What the host has of the box in ``directory``, mounts as other processes see them."""
    mounts = Path(f"/proc/{os.getppid()}/mounts").read_text().splitlines()
    cgroups = next(line.split()[1] for line in mounts if " cgroup2 " in line)
    places = (directory, Path(cgroups, directory.name))
    found = [str(place) for place in places if place.exists()]
    return found + [line for line in mounts if directory.name in line]


def announced(owner: subprocess.Popen[str]) -> Path:
    """The directory of the box that ``owner`` says it has."""
    assert owner.stdout is not None
    for line in owner.stdout:
        if line.startswith("box: "):
            return Path(line.split()[1])
    raise AssertionError("no box was announced")


def test_boots_a_systemd_in_which_nothing_failed(module_box: Sandbox) -> None:
    assert module_box.systemctl("is-system-running").stdout == "running\n"
    assert module_box.read("/proc/1/comm") == "systemd\n"
    assert module_box.run(["hostname"]).stdout == "box\n"
    assert module_box.scan("127.0.0.1") == []


def test_shows_the_source_tree_and_keeps_it_safe(module_box: Sandbox) -> None:
    assert module_box.read(f"{IN_BOX}/pyproject.toml") == (ROOT / "pyproject.toml").read_text()
    done = module_box.run(["touch", f"{IN_BOX}/pyproject.toml"], check=False)
    assert "Read-only file system" in done.stderr


def test_files_written_inside_do_not_reach_the_host(module_box: Sandbox) -> None:
    module_box.write("/etc/sandbox-was-here/file", "text\n")
    assert module_box.read("/etc/sandbox-was-here/file") == "text\n"
    assert not Path("/etc/sandbox-was-here").exists()


def test_kernel_settings_of_the_host_are_read_only(module_box: Sandbox) -> None:
    for path in ("/proc/sys/kernel/panic", "/sys/kernel/uevent_seqnum"):
        done = module_box.run(["sh", "-c", f"echo 1 >{path}"], check=False)
        assert "Read-only file system" in done.stderr
    module_box.write("/proc/sys/net/ipv4/ip_nonlocal_bind", "1\n")
    assert module_box.read("/proc/sys/net/ipv4/ip_nonlocal_bind") == "1\n"
    assert Path("/proc/sys/net/ipv4/ip_nonlocal_bind").read_text() == "0\n"


def test_a_failing_command_shows_what_it_said(module_box: Sandbox) -> None:
    with pytest.raises(AssertionError, match="no-such-thing"):
        module_box.run(["ls", "/no-such-thing"])
    with pytest.raises(AssertionError, match=r"(?s)no-such\.service not found.*--- journal"):
        module_box.systemctl("start", "no-such.service")


def test_waiting_in_vain_shows_the_journal(module_box: Sandbox) -> None:
    with pytest.raises(AssertionError, match=r"(?s)the sun did not happen.*Reached target"):
        module_box.wait(lambda: False, "the sun", deadline=0.1)


def test_a_socket_starts_its_service(make_box: MakeBox) -> None:
    box = make_box(files=ECHO)
    assert box.ask("127.0.0.1", 7) == "refused"
    box.systemctl("start", "echo.socket")
    assert box.show("echo.socket", "ActiveState") == "active"
    assert box.ask("127.0.0.1", 7) == "connected"
    assert box.scan("127.0.0.1") == [7]
    messages = [entry["MESSAGE"] for entry in box.journal("-u", "echo.socket")]
    assert messages == ["Listening on echo.socket."]


def test_spawned_commands_run_beside_the_test(module_box: Sandbox) -> None:
    serve = (
        "import socket\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.bind(('127.0.0.1', 99))\n"
        "print('ready', flush=True)\n"
        "while True: s.sendto(b'me', s.recvfrom(9)[1])\n"
    )
    with module_box.spawn(["/usr/bin/python3", "-c", serve]) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        assert module_box.ask("127.0.0.1", 99, UDP) == "me"
        server.kill()
    # A datagram sent while it dies is lost: ask again soon.
    module_box.wait(
        lambda: module_box.ask("127.0.0.1", 99, UDP, timeout=0.1) == "refused", "the end"
    )


@pytest.mark.parametrize("orderly", [True, False])
def test_files_survive_a_reboot_and_run_and_bpffs_do_not(make_box: MakeBox, orderly: bool) -> None:
    box = make_box(files=ECHO)
    box.systemctl("enable", "--now", "echo.socket")
    box.write("/run/gone", "")
    box.run(["mkdir", "/sys/fs/bpf/gone"])
    if orderly:
        box.power_off()
    else:
        box.crash()
    box.write("/etc/written-while-off", "here\n")
    box.boot()
    assert box.run(["ls", "/run/gone", "/sys/fs/bpf/gone"], check=False).stdout == ""
    assert box.read("/etc/written-while-off") == "here\n"
    assert box.ask("127.0.0.1", 7) == "connected"


def test_a_box_can_do_without_bpffs(make_box: MakeBox) -> None:
    box = make_box(bpffs=False)
    assert " /sys/fs/bpf " not in box.read("/proc/mounts")


def test_a_spawned_command_does_not_outlive_a_failure(module_box: Sandbox) -> None:
    with pytest.raises(ZeroDivisionError), module_box.spawn(["sleep", "1000"]):
        raise ZeroDivisionError
    module_box.wait(
        lambda: (
            "sleep"
            not in module_box.run(["sh", "-c", "cat /proc/[0-9]*/comm"], check=False).stdout.split()
        ),
        "its end",
    )


def test_two_boxes_are_apart(make_box: MakeBox) -> None:
    one, two = make_box("one", files=ECHO), make_box("two")
    one.systemctl("start", "echo.socket")
    assert one.ask("127.0.0.1", 7) == "connected"
    assert two.ask("127.0.0.1", 7) == "refused"
    assert two.run(["hostname"]).stdout == "two\n"


def test_nothing_remains() -> None:
    with Sandbox() as box:
        directory = box.directory
        assert len(traces(directory)) == 2, "a directory and a cgroup"
        with box.spawn(["sleep", "1000"]):
            box.crash()
    assert traces(directory) == []


def test_nothing_remains_after_a_failure() -> None:
    box = Sandbox()
    directory = Path()
    with pytest.raises(ZeroDivisionError), box:
        directory = box.directory
        raise ZeroDivisionError
    assert traces(directory) == []


def test_a_box_that_cannot_boot_says_why_and_leaves_nothing() -> None:
    box = Sandbox(lower="/no/such/root")
    with pytest.raises(AssertionError, match=r"mount overlay .*/no/such/root") as failure, box:
        pass
    directory = re.search(r"/\S+/sockreg-box-[^/]+", str(failure.value))
    assert directory is not None
    assert traces(Path(directory[0])) == []


def test_a_killed_owner_takes_its_box_along_and_the_next_one_tidies_up() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as owner:
        directory = announced(owner)
        _, cgroup = traces(directory)
        owner.kill()
    with Sandbox() as box:
        events = Path(cgroup, "cgroup.events")
        box.wait(lambda: not events.exists() or "populated 0" in events.read_text(), "its end")
    with Sandbox():
        assert traces(directory) == []


def test_an_interrupted_pytest_undoes_everything(tmp_path: Path) -> None:
    (tmp_path / "test_owner.py").write_text(OWNER_TEST)
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-s", "-p", "tests.conftest", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as session:
        directory = announced(session)
        assert traces(directory)
        session.send_signal(signal.SIGTERM)
        output = session.communicate(timeout=30)[0]
    assert "KeyboardInterrupt" in output
    assert traces(directory) == []

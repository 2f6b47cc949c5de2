"""Which unit a process is of, and what it has open."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from sockreg.host import processes
from sockreg.systemd.unit_of import unit_of_cgroup, unit_of_membership


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/web.service", "web.service"),
        ("/system.slice/web.service/worker/1", "web.service"),
        ("/system.slice/system-web.slice/web@a\\x2db.service", "web@a\\x2db.service"),
        ("/system.slice/web.socket", "web.socket"),
        ("/custom.slice/custom-deep.slice/web.service/.control", "web.service"),
        ("/system.slice/_cgroup.service", "cgroup.service"),
        ("/user.slice/user-0.slice/user@0.service/app.slice/mine.service", "user@0.service"),
        ("/system.slice/run-u12.scope", "run-u12.scope"),
        ("/user.slice/user-0.slice/session-3.scope", "-"),
        ("/init.scope", "-"),
        ("/", "-"),
        ("/docker/0123abcd", "-"),
        ("/../../system.slice/web.service", "web.service"),
    ],
)
def test_unit_of_a_cgroup(path: str, unit: str) -> None:
    assert unit_of_cgroup(path) == unit
    assert unit_of_membership(f"0::{path}\n") == unit


def test_hosts_with_cgroup_v1() -> None:
    """systemd's own hierarchy has the unit; that without a number may be empty."""
    text = "4:memory:/elsewhere\n1:name=systemd:/system.slice/web.service\n0::/\n"
    assert unit_of_membership(text) == "web.service"
    assert unit_of_membership("4:memory:/system.slice/web.service\n") == "-"


def test_what_a_process_has_open(tmp_path: Path) -> None:
    with (
        socket.socket() as one,
        socket.socket() as other,
        one.dup() as copy,
        (tmp_path / "file").open("w"),
    ):
        inodes = [os.fstat(sock.fileno()).st_ino for sock in (one, other)]
        found = processes.socket_descriptors(os.getpid())
        assert found[inodes[0]] == min(one.fileno(), copy.fileno())
        assert found[inodes[1]] == other.fileno()
        held = processes.holders(inodes).by_inode
        assert [str(process) for process, _ in held[inodes[1]]] == [
            f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})"
        ]


def test_a_process_that_is_gone() -> None:
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    for ask in (processes.named, processes.socket_descriptors):
        with pytest.raises(FileNotFoundError):
            ask(gone.pid)
    assert processes.holders([1], [gone.pid]) == processes.Holders({}, 0)

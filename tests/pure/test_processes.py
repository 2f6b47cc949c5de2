"""Which unit a process is of, and what it has open."""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
from pathlib import Path

import pytest

from sockreg.host import processes
from sockreg.systemd.unit_of import cgroup_paths, unit_of_cgroup, unit_of_membership


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
        ("/../../system.slice/web.service", "-"),
        ("/../app.slice/web.service", "-"),
        ("/web@.service", "-"),
        ("/@web.service", "-"),
        ("/.service", "-"),
        ("/w@b.slice/web.service", "-"),
        ("/évil.slice/web.service", "-"),
        ("/evil\n.slice/web.service", "-"),
        ("/system.slice/web.service (deleted)", "-"),
        ("/" + "x" * 248 + ".service", "-"),
        ("/" + "x" * 247 + ".service", "x" * 247 + ".service"),
    ],
)
def test_unit_of_a_cgroup(path: str, unit: str) -> None:
    assert unit_of_cgroup(path) == unit
    if "\n" not in path:  # the kernel refuses it
        assert unit_of_membership(f"0::{path}\n".encode()) == unit


# What str.splitlines() takes for the end of a line, and text files for one, too (\r).
SEPARATORS = "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
OWN = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize("end", [*SEPARATORS, "\r\r", "\udc85", "\udcff\x0c", " ", "\t", "\0", ":"])
@pytest.mark.parametrize("forged", ["0::", "1:name=systemd:", "0:name=systemd:", "name=systemd:"])
def test_a_name_ends_no_line(end: str, forged: str) -> None:
    """A user names a cgroup below his own, as if the line of another unit began in it."""
    for path in (
        f"{OWN}/x{end}{forged}/system.slice/web.service",
        f"{OWN}/{end}{forged}/web.service",
        f"{OWN}/app.slice/{end}{forged}/web.service{end}",
    ):
        text = f"9:pids:{path}\n0::{path}\n".encode("utf-8", "surrogateescape")
        assert unit_of_membership(text) == "user@1000.service"
        assert cgroup_paths(text) == {"pids": path, "": path}


def test_random_names_never_pass_for_another_unit() -> None:
    chance = random.Random(13)
    pieces = [*SEPARATORS, *"/:. _@-\\\0", "0::", "web.service", ".slice", "..", "é", "\udcff"]
    for _ in range(20_000):
        name = "".join(chance.choices(pieces, k=chance.randrange(1, 12)))
        text = f"0::{OWN}/{name}\n".encode("utf-8", "surrogateescape")
        assert unit_of_membership(text) == "user@1000.service", text
        # Whatever the first name is: what comes out is a name that systemd could have given.
        unit = unit_of_membership(f"0::/{name}\n".encode("utf-8", "surrogateescape"))
        assert re.fullmatch(r"-|[-:.\w\\@]+\.(service|socket|scope|mount|swap)", unit, re.ASCII)


@pytest.mark.parametrize("text", [b"", b"\n", b"0", b"0:", b"0::", b":::\n", b"x::/web.service\n"])
def test_no_membership_at_all(text: bytes) -> None:
    assert unit_of_membership(text) == "-"


def test_hosts_with_cgroup_v1() -> None:
    """systemd's own hierarchy has the unit; that without a number may be empty."""
    text = b"4:memory:/elsewhere\n1:name=systemd:/system.slice/web.service\n0::/\n"
    assert unit_of_membership(text) == "web.service"
    assert unit_of_membership(b"4:memory:/system.slice/web.service\n") == "-"


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

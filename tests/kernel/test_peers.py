"""Whose a connection and a process are: names of cgroups and numbers that others choose."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sockreg.host import pidfd
from sockreg.receive import peer as receiver
from sockreg.systemd.unit_of import unit_of
from tests.kernel.cgroups import Cgroups, own_cgroups
from tests.kernel.host import Host
from tests.kernel.opener import opener
from tests.process import run
from tests.tree import ROOT

NOBODY = 65534
# The user makes a cgroup below his own and moves into it; says what others take it for.
FORGE = """
import os, sys
os.setgid(65534); os.setuid(65534)
home = os.fsencode(sys.argv[1])
for end in [b"\\x0c", b"\\r", b"\\xe2\\x80\\xa8", b"\\xff\\x85", b"\\x1c1:name=systemd:/x\\x1c"]:
    name = b"x" + end + b"0::"
    path = os.path.join(home, name, b"system.slice", b"web.service")
    os.makedirs(path)
    with open(path + b"/cgroup.procs", "w") as procs:
        procs.write("0")
    print("there", flush=True)
    sys.stdin.readline()
"""
# A peer connects and ends, and another process, in another unit, gets its number. Prints whom the
# receiver takes for the peer.
REUSE = """
import os, socket, sys, time
from sockreg.receive import peer as receiver
receiver._SO_PEERPIDFD = int(sys.argv[2])
units = sys.argv[1]

def child(unit, act):
    pid = os.fork()
    if not pid:
        with open(f"{units}/{unit}/cgroup.procs", "w") as procs:
            procs.write("0")
        act()
        os._exit(0)
    return pid

listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind("\\0sockreg-test")
listener.listen()
client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
ready, go = os.pipe()
first = child("evil.service", lambda: (client.connect("\\0sockreg-test"), os.read(ready, 1)))
connection, _ = listener.accept()
look, begin = os.pipe()
receiving = os.fork()
if not receiving:
    os.read(look, 1)
    print(receiver.Peer(connection).registrant, flush=True)
    os._exit(0)
if sys.argv[3] == "reuse":
    time.sleep(0.05)  # starting times have a resolution of 10 ms
    os.write(go, b"x")
    os.waitpid(first, 0)
    second = 0
    while second != first:
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(first - 1))
        there, moved = os.pipe()
        second = child("web.service", lambda: (os.write(moved, b"x"), os.read(ready, 1)))
        os.read(there, 1)
    assert "web.service" in open(f"/proc/{first}/cgroup").read()
os.write(begin, b"x")
os.waitpid(receiving, 0)
os.write(go, b"xx")
"""


@pytest.fixture
def cgroups() -> Iterator[Cgroups]:
    with own_cgroups() as tree:
        yield tree


def test_a_user_cannot_name_himself_a_unit(cgroups: Cgroups) -> None:
    """He may make cgroups below his own, and does what he can with their names."""
    inside = cgroups.unit("user@65534.service")
    home = cgroups.path / "user@65534.service"
    for path in (home, home / "cgroup.procs", home / "cgroup.subtree_control"):
        os.chown(path, NOBODY, NOBODY)
    command = [*inside, sys.executable, "-c", FORGE, str(home)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(5):
            assert process.stdout.readline() == "there\n"
            assert unit_of(process.pid) == "user@65534.service"
            process.stdin.write("\n")
            process.stdin.flush()


@pytest.mark.parametrize(
    ("option", "reused", "registrant"),
    [
        (receiver._SO_PEERPIDFD, "", "evil.service"),
        (receiver._SO_PEERPIDFD, "reuse", "uid:0"),
        (9999, "", "evil.service"),  # as on kernels without this option
        (9999, "reuse", "uid:0"),
    ],
)
def test_a_number_that_others_got(
    cgroups: Cgroups, option: int, reused: str, registrant: str
) -> None:
    for name in ("evil.service", "web.service"):
        cgroups.unit(name)
    # A pid namespace of its own, in which numbers are reused as the test likes.
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    script = [sys.executable, "-c", REUSE, str(cgroups.path), str(option), reused]
    done = run([*unshare, *script], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stdout.strip() == registrant


@pytest.mark.parametrize("how", ["--pid", "--cookie"])
def test_what_was_found_by_a_number_counts_while_it_lives(
    host: Host, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A process that ends while it is looked at may have lent its number to another one."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with opener(host.namespace, "mine", "tcp 127.0.0.1 8080") as server:
        found = re.search(r"sk:[0-9a-f]+", host.ok("listeners"))
        assert found is not None
        number = {"--pid": str(server.pid), "--cookie": found[0]}[how]
        monkeypatch.setattr(pidfd, "is_alive", lambda _: False)
        outcome = host.run("register", "web", how, number)
        assert outcome.status != 0
        assert f"there is no process {server.pid}" in outcome.err
        assert host.ask("192.0.2.7", 80) == "refused"
        monkeypatch.undo()

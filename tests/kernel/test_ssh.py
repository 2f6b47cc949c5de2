"""Nobody locks himself out: rules that take the ssh port, and changes that go back."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sockreg.errors import (
    EXIT_CONFIG,
    EXIT_FAILURE,
    EXIT_NOT_LOADED,
    EXIT_REFUSED,
    EXIT_USAGE,
)
from tests.kernel.host import Host
from tests.netns import Server
from tests.tree import ROOT

OWN = "198.51.100.1"  # an address of the host, unlike 192.0.2.0/24, which is only local
TAKES = "Bind=tcp 198.51.100.0/24 *"


@pytest.fixture
def ssh(host: Host) -> Iterator[Server]:
    """A host that is reached by ssh on an address of its own."""
    host.namespace.add_address(f"{OWN}/24")
    with host.namespace.serve("ssh", "0.0.0.0", 22) as server:
        yield server


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_load_apply_and_bind_refuse(host: Host, ssh: Server) -> None:
    path = host.conf("[web]", TAKES)
    told = host.fails(EXIT_REFUSED, "load")
    assert told.startswith(f"sockreg: {path}:2: {TAKES} takes {OWN}:22, which ssh listens on\n")
    assert f"'Pass=tcp {OWN} 22' keeps the port open" in told
    assert not host.home.exists() or not list(host.home.iterdir())
    host.load("[web]", "Bind=tcp 198.51.100.0/24 80")
    host.conf("[web]", TAKES)
    host.fails(EXIT_REFUSED, "apply")
    host.fails(EXIT_REFUSED, "apply", "--check")
    host.conf("[web]")
    host.fails(EXIT_REFUSED, "bind", "web", "tcp", "0.0.0.0/0", "20-30")
    assert not (host.root / "etc/sockreg/90-bind.conf").exists()
    assert host.ask(OWN, 22) == "ssh"


def test_what_the_hint_says_helps(host: Host, ssh: Server) -> None:
    host.conf("[web]", TAKES, f"Pass=tcp {OWN} 22")
    host.ok("load")
    assert host.both(OWN, 22)[0] == "ssh"
    assert host.ask(OWN, 23) == "refused"


@pytest.mark.parametrize(
    "rule",
    [
        "Bind=tcp 192.0.2.0/24 *",  # local, but no address of the host
        "Bind=tcp 127.0.0.0/8 *",  # nobody is locked out over the loopback
        "Bind=tcp 198.51.100.0/24 80",
        "Bind=udp 0.0.0.0/0 *",
        "Bind=tcp ::/0 *",  # ssh listens on IPv4 alone
        "Pass=tcp 0.0.0.0/0 *",
    ],
)
def test_what_takes_nothing_is_let_be(host: Host, ssh: Server, rule: str) -> None:
    host.load("[web]", rule)


@pytest.mark.parametrize(
    "rule",
    [
        "Bind=tcp 198.51.100.1 22",
        "Reject=tcp 0.0.0.0/0 1-1023",
        "Bind=tcp 0.0.0.0/0 * missing=pass",
        "Bind=tcp 198.51.100.0/24 * from 203.0.113.0/24",
        "Bind=tcp 198.51.100.0/24 22 dev lo",
    ],
)
def test_what_takes_a_part_is_refused(host: Host, ssh: Server, rule: str) -> None:
    host.conf("[web]", rule)
    host.fails(EXIT_REFUSED, "load")


def test_who_insists(host: Host, ssh: Server) -> None:
    host.conf("[web]", TAKES)
    told = host.ok("load", "--force")
    assert (
        f"takes {OWN}:22, which ssh listens on; units refuse this, unless section "
        "[:registry] has TakeSsh=yes" in told
    )
    assert host.ask(OWN, 22) == "refused"
    # What was taken before may be changed.
    host.conf("[web]", TAKES, "Bind=tcp 192.0.2.0/24 80")
    assert "TakeSsh" not in host.ok("apply")
    host.ok("unload")
    host.conf("[web]", TAKES, "[:registry]", "TakeSsh=yes")
    assert "units refuse" not in host.ok("load")
    host.ok("bind", "--force", "web", "tcp", "0.0.0.0/0", "22")


def test_ssh_that_is_steered_to_itself(host: Host, ssh: Server) -> None:
    host.load("[ssh]")
    host.register([("ssh", ssh.sock)])
    host.apply("[ssh]", "Bind=tcp 0.0.0.0/0 22,2222")
    assert host.ask(OWN, 2222) == "ssh"


def test_the_port_of_this_session(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.namespace.add_address(f"{OWN}/24")
    host.load("[web]")
    host.conf("[web]", "Bind=tcp 0.0.0.0/0 2000-2999")
    with host.namespace.serve("ssh", "0.0.0.0", 2222):
        host.ok("apply", "--check")
        monkeypatch.setenv("SSH_CONNECTION", f"203.0.113.9 50000 {OWN} 2222")
        assert f"takes {OWN}:2222" in host.fails(EXIT_REFUSED, "apply")
        # Over the loopback as well, if that is how the operator came.
        monkeypatch.setenv("SSH_CONNECTION", "127.0.0.1 50000 127.0.0.1 2222")
        assert "takes 127.0.0.1:2222" in host.fails(EXIT_REFUSED, "apply")


def test_confirmed_in_time(host: Host, ssh: Server) -> None:
    host.load("[web]")
    host.conf("[web]", TAKES)
    told = host.ok("apply", "--confirm", "60")
    assert "generation 1 comes back in 60 s, unless you run 'sockreg confirm'" in told
    assert host.ask(OWN, 22) == "refused"
    assert "on trial    generation 1 comes back in " in host.ok("status")
    assert host.ok("confirm") == "generation 2 stays in force\n"
    assert "on trial" not in host.ok("status")
    assert host.ask(OWN, 22) == "refused"
    assert "there is no trial to confirm" in host.fails(EXIT_FAILURE, "confirm")


def test_not_confirmed(host: Host, ssh: Server) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    host.conf("[web]", TAKES)
    host.ok("apply", "--confirm", "1")
    wait(lambda: host.ask(OWN, 22) == "ssh")
    assert [it["rule"] for it in host.json("rules")] == ["tcp 192.0.2.0/24 80"]
    wait(lambda: host.run("confirm").status == EXIT_FAILURE)
    # The files say otherwise still, which readers are told ...
    assert host.json("status")["applied"]["status"] == EXIT_FAILURE
    # ... and the next apply is refused as the first one was.
    host.fails(EXIT_REFUSED, "apply")


def test_a_trial_that_is_refused_is_a_failed_apply(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    host.conf("[web]", "Bind=tcp nonsense 80")
    host.fails(EXIT_CONFIG, "apply", "--confirm", "60")
    assert host.json("status")["applied"]["status"] == EXIT_CONFIG


def test_the_session_dies(host: Host, ssh: Server) -> None:
    host.load("[web]")
    host.conf("[web]", TAKES)
    with terminal(host.command("apply", "--confirm", "3")) as session:
        wait(lambda: host.ask(OWN, 22) == "refused")
        os.killpg(session, signal.SIGHUP)
        os.killpg(session, signal.SIGKILL)
    wait(lambda: host.ask(OWN, 22) == "ssh")


@contextmanager
def terminal(command: list[str]) -> Iterator[int]:
    """A shell with a session of its own that runs a command and stays; yields its group."""
    shell = subprocess.Popen(
        ["sh", "-c", '"$@"; exec sleep 60', "sh", *command],
        start_new_session=True,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield shell.pid
    finally:
        shell.kill()
        shell.wait()


def test_changes_in_a_row_go_back_to_the_first(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.1 80")
    for port in (81, 82):
        host.conf("[web]", f"Bind=tcp 192.0.2.1 {port}")
        host.ok("apply", "--confirm", "60")
    host.apply("[web]", "Bind=tcp 192.0.2.1 83")
    host.ok("rollback")
    assert [it["rule"] for it in host.json("rules")] == ["tcp 192.0.2.1 80"]
    host.fails(EXIT_FAILURE, "confirm")


def test_an_older_trial_does_not_end_a_newer_one(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.1 80")
    host.conf("[web]", "Bind=tcp 192.0.2.1 81")
    host.ok("apply", "--confirm", "60")
    (mark,) = host.registry.glob("unconfirmed-*")
    token = mark.name.removeprefix("unconfirmed-")
    host.conf("[web]", "Bind=tcp 192.0.2.1 82")
    host.ok("apply", "--confirm", "60")
    assert host.ok("rollback", "--unconfirmed", token) == ""
    assert [it["rule"] for it in host.json("rules")] == ["tcp 192.0.2.1 82"]


def test_nothing_to_try(host: Host) -> None:
    host.fails(EXIT_NOT_LOADED, "apply", "--confirm", "60")
    host.load("[web]", "Bind=tcp 192.0.2.1 80")
    assert "comes back" not in host.ok("apply", "--confirm", "60")
    host.fails(EXIT_FAILURE, "confirm")
    host.fails(EXIT_USAGE, "apply", "--confirm", "0")
    host.fails(EXIT_USAGE, "apply", "--confirm", "60", "--start", "web.socket")
    host.conf("[web]", "Bind=tcp 192.0.2.300 80")
    host.run("apply", "--confirm", "60")
    host.fails(EXIT_FAILURE, "confirm")


def test_unload_ends_a_trial(host: Host) -> None:
    host.load("[web]")
    host.conf("[web]", "Bind=tcp 192.0.2.1 81")
    host.ok("apply", "--confirm", "60")
    (mark,) = host.registry.glob("unconfirmed-*")
    host.ok("unload")
    assert host.ok("rollback", "--unconfirmed", mark.name.removeprefix("unconfirmed-")) == ""

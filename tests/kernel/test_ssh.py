"""Nobody locks himself out: rules that take the ssh port, and changes that go back."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from sockreg.commands import unregister, weigh
from sockreg.errors import (
    EXIT_CONFIG,
    EXIT_FAILURE,
    EXIT_NOT_LOADED,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_USAGE,
)
from sockreg.registry import registration
from sockreg.registry.locks import Lock
from sockreg.registry.maps import Maps
from sockreg.registry.units import UnitState, write_unit
from tests.kernel.host import Host
from tests.netns import Namespace, Server
from tests.tree import ROOT

OWN = "198.51.100.1"  # an address of the host, unlike 192.0.2.0/24, which is only local
TAKES = "Bind=tcp 198.51.100.0/24 *"
Start = Callable[..., AbstractContextManager[None]]


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
    host.load("[web]", "Bind=tcp 198.51.100.0/24 80")
    path = host.conf("[web]", TAKES)
    told = host.fails(EXIT_REFUSED, "apply")
    assert told.startswith(f"sockreg: {path}:2: {TAKES} takes {OWN}:22, which ssh listens on\n")
    assert f"'Pass=tcp {OWN} 22' keeps the port open" in told
    host.fails(EXIT_REFUSED, "apply", "--check")
    host.conf("[web]")
    host.fails(EXIT_REFUSED, "bind", "web", "tcp", "0.0.0.0/0", "20-30")
    assert not (host.root / "etc/sockreg/90-bind.conf").exists()
    assert host.ask(OWN, 22) == "ssh"


def test_a_file_that_takes_ssh_is_left_out_of_a_first_load(host: Host, ssh: Server) -> None:
    path = host.conf("[web]", "Bind=tcp 192.0.2.0/24 80", TAKES)
    host.conf("[shop]", "Bind=tcp 192.0.2.0/24 81", name="shop.conf")
    told = host.ok("load")
    assert f"{path} is wrong, and none of its rules is in force:" in told
    assert f"{path}:3: {TAKES} takes {OWN}:22, which ssh listens on" in told
    assert [rule["label"] for rule in host.json("rules")] == ["shop"]
    assert host.ask(OWN, 22) == "ssh"
    # The same rules in an apply change nothing, and are no news.
    assert f"still wrong, as before: {path}" in host.ok("apply")


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
    host.load()
    host.conf("[web]", rule)
    host.fails(EXIT_REFUSED, "apply")


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


def test_rules_that_let_it_through_may_not_go(host: Host, ssh: Server) -> None:
    """A rule that keeps the port open is as good as none that takes it."""
    host.load("[web]", TAKES, f"Pass=tcp {OWN} 22")
    host.ok("bind", "web", "tcp", "192.0.2.0/24", "80")
    host.conf("[web]", TAKES)
    told = host.fails(EXIT_REFUSED, "unbind", "web", "tcp", "192.0.2.0/24", "80")
    assert f"takes {OWN}:22" in told
    host.fails(EXIT_REFUSED, "apply")
    assert host.ask(OWN, 22) == "ssh"
    host.ok("unbind", "--force", "web", "tcp", "192.0.2.0/24", "80")
    assert host.ask(OWN, 22) == "refused"


def test_a_rule_that_leads_to_ssh_may_not_go(host: Host, ssh: Server) -> None:
    host.load("[web]")
    host.register([("ssh", ssh.sock)])
    host.ok("bind", "ssh", "tcp", OWN, "22")
    host.apply("[web]", TAKES)
    assert host.ask(OWN, 22) == "ssh"
    host.fails(EXIT_REFUSED, "unbind", "ssh", "tcp", OWN, "22")
    assert host.ask(OWN, 22) == "ssh"


def test_a_rollback_to_rules_that_take_it(host: Host, ssh: Server) -> None:
    host.conf("[web]", TAKES)
    host.ok("load", "--force")
    host.apply("[web]")
    told = host.fails(EXIT_REFUSED, "rollback")
    assert f"takes {OWN}:22, which ssh listens on" in told
    assert host.ask(OWN, 22) == "ssh"
    host.ok("rollback", "--force")
    assert host.ask(OWN, 22) == "refused"


def test_a_trial_does_not_end_with_rules_that_take_it(host: Host) -> None:
    """sshd moves during the trial to a port that the rules of before take."""
    host.namespace.add_address(f"{OWN}/24")
    host.load("[web]", "Bind=tcp 0.0.0.0/0 2222")
    host.conf("[web]")
    host.ok("apply", "--confirm", "2")
    with host.namespace.serve("ssh", "0.0.0.0", 2222):
        config(host, "Port 2222")
        wait(lambda: host.run("confirm").status == EXIT_FAILURE)
        assert host.ask(OWN, 2222) == "ssh"


def config(host: Host, *lines: str, name: str = "sshd_config") -> Path:
    path = host.root / "etc/ssh" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_port_that_sshd_is_configured_for(host: Host) -> None:
    host.namespace.add_address(f"{OWN}/24")
    host.load("[web]")
    path = config(host, "# Port 1", "Port 2222")
    host.conf("[web]", "Bind=tcp 0.0.0.0/0 2000-2999")
    host.ok("apply", "--check")  # nothing listens there
    with host.namespace.serve("ssh", "0.0.0.0", 2222):
        told = host.fails(EXIT_REFUSED, "apply")
        assert f"takes {OWN}:2222, which ssh listens on ({path}:2)\n" in told


@pytest.fixture
def sshd(host: Host) -> Start:
    """Starts a process called sshd that listens on a port of the host and answers ``sshd``."""
    script = host.root / "sshd"
    script.write_text(SSHD)
    script.chmod(0o755)

    @contextmanager
    def start(port: int, address: str = "0.0.0.0") -> Iterator[None]:
        command = ["nsenter", f"--net={host.namespace.path}", str(script), address, str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                yield
            finally:
                process.kill()

    host.namespace.add_address(f"{OWN}/24")
    host.namespace.add_address("2001:db8:5::1/64")
    return start


SSHD = """#!/usr/bin/python3
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
dual = family == socket.AF_INET6
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family,
                                dualstack_ipv6=dual and sys.argv[1] == "::")
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"sshd")
"""


@pytest.mark.parametrize(
    ("listens", "rule", "lost"),
    [
        ("0.0.0.0", "Bind=tcp 0.0.0.0/0 *", f"{OWN}:2222"),
        ("::", "Bind=tcp 0.0.0.0/0 *", f"{OWN}:2222"),
        ("::", "Bind=tcp ::/0 *", "[2001:db8:5::1]:2222"),
        (OWN, f"Reject=tcp {OWN} 2222", f"{OWN}:2222"),
        ("2001:db8:5::1", "Bind=tcp ::/0 2000-3000", "[2001:db8:5::1]:2222"),
    ],
)
def test_a_server_by_its_name(
    host: Host,
    sshd: Start,
    listens: str,
    rule: str,
    lost: str,
) -> None:
    """Wherever it was started, and on any port."""
    host.load("[web]")
    with sshd(2222, listens):
        host.conf("[web]", rule)
        told = host.fails(EXIT_REFUSED, "apply")
        assert f"takes {lost}, which ssh listens on (sshd (pid " in told
        host.fails(EXIT_REFUSED, "apply", "--check")
        host.ok("apply", "--start", "web.socket")  # which is not about this file
        assert host.ask(lost.rpartition(":")[0].strip("[]"), 2222) == "sshd"
    host.ok("apply")


def test_servers_elsewhere_do_not_count(host: Host, sshd: Start) -> None:
    """Of another address, another family or another network namespace."""
    with sshd(2222, OWN), Namespace() as other, other.serve("x", "0.0.0.0", 2223):
        host.load("[web]", "Bind=tcp 192.0.2.0/24 *", "Bind=tcp ::/0 *", "Bind=tcp 0.0.0.0/0 2223")


def test_check_tells_of_a_server_that_moved(host: Host, sshd: Start) -> None:
    """It was not there when the rule came into force."""
    host.load("[web]", "Bind=tcp 0.0.0.0/0 2222")
    with sshd(2222):
        assert "error (ssh): " in host.run("check").out
        # The rules in force are no reason to refuse others.
        host.conf("[web]", "Bind=tcp 0.0.0.0/0 2222", "Bind=tcp 192.0.2.0/24 80")
        host.ok("apply")


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


@pytest.fixture
def led(host: Host, ssh: Server) -> Host:
    """A host whose rule leads the port of ssh to ssh's own socket, by a label."""
    host.load("[ssh]")
    host.register([("ssh", ssh.sock)], unit="ssh.socket")
    host.apply("[ssh]", "Bind=tcp 0.0.0.0/0 22,2222")
    assert host.ask(OWN, 22) == "ssh"
    return host


@pytest.mark.parametrize("unit", [None, "web.socket"])
@pytest.mark.parametrize("options", [[], ["--replace"], ["--weight", "100"]])
def test_nobody_else_takes_the_label_of_ssh(
    led: Host, unit: str | None, options: list[str]
) -> None:
    with led.namespace.serve("web", "127.0.0.1", 8080) as web:
        outcome = led.register([("ssh", web.sock)], *options, unit=unit)
        assert outcome.status == EXIT_REFUSED
        assert "a rule leads port 22 of this host, which ssh listens on, to label ssh" in (
            outcome.err
        )
        assert {led.ask(OWN, 22) for _ in range(20)} == {"ssh"}
        # Other labels are free.
        assert led.register([("web", web.sock)], unit=unit).status == EXIT_OK


def test_nor_after_ssh_has_gone(led: Host, ssh: Server) -> None:
    """Until it is back, connections to its port are refused, not misled."""
    ssh.close()
    with led.namespace.serve("web", "127.0.0.1", 8080) as web:
        assert led.register([("ssh", web.sock)], unit="web.socket").status == EXIT_REFUSED
        with led.namespace.serve("ssh", "0.0.0.0", 22) as back:
            led.register([("ssh", back.sock)], unit="ssh.socket")
            assert led.ask(OWN, 22) == "ssh"


def test_the_unit_of_ssh_may_bring_another_socket(led: Host) -> None:
    """It is on another port after a restart; and so are other sockets on the port of ssh."""
    with led.namespace.serve("moved", "0.0.0.0", 2022) as moved:
        assert led.register([("ssh", moved.sock)], unit="ssh.socket").status == EXIT_OK
        assert led.ask(OWN, 22) == "moved"


def test_the_socket_of_ssh_stays(led: Host) -> None:
    for words in (["unregister", "ssh"], ["drain", "ssh"], ["weight", "ssh", "0"]):
        assert "which ssh listens on" in led.fails(EXIT_REFUSED, *words)
    led.ok("weight", "ssh", "50")
    assert led.ask(OWN, 22) == "ssh"


@pytest.mark.parametrize("words", [["unregister", "ssh"], ["drain", "ssh"]])
def test_the_socket_of_ssh_stays_if_it_becomes_that_meanwhile(
    led: Host, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """An apply puts the rule in force while the command waits for the registry's lock."""
    registry = str(led.registry)
    (mark,) = [path.name for path in led.registry.glob("ssh-*") if path.name.startswith("ssh-")]
    (led.registry / mark).rmdir()

    class Waiting(Lock):
        def __init__(self, path: str, patience: float | None = None) -> None:
            super().__init__(path, patience)
            Path(registry, mark).mkdir()

    for module in (unregister, registration, weigh):
        monkeypatch.setattr(module, "Lock", Waiting, raising=False)
    assert "which ssh listens on" in led.fails(EXIT_REFUSED, *words)
    assert led.ask(OWN, 22) == "ssh"


def test_a_weight_of_its_files_does_not_drain_ssh(led: Host) -> None:
    """``weight`` alone drains a unit whose files say Weight=0."""
    with Maps(str(led.registry)) as maps:
        write_unit(
            maps,
            "ssh.socket",
            UnitState(True, (0, 0, 0, 0), label="ssh", weight=0, weight_said=True),
        )
    assert "which ssh listens on" in led.fails(EXIT_REFUSED, "weight", "ssh")
    assert led.ask(OWN, 22) == "ssh"


def test_without_such_a_rule_it_may_go(led: Host) -> None:
    led.apply("[ssh]", "Bind=tcp 192.0.2.0/24 22")
    led.ok("drain", "ssh")
    led.ok("unregister", "ssh")
    assert led.ask(OWN, 22) == "ssh"


def test_a_rollback_keeps_the_label_of_ssh(led: Host) -> None:
    """It is known of the rules that come back, too, that one leads to ssh."""
    led.apply("[ssh]", "Bind=tcp 192.0.2.0/24 22")
    led.ok("rollback")
    assert led.ask(OWN, 22) == "ssh"
    with led.namespace.serve("web", "127.0.0.1", 8080) as web:
        outcome = led.register([("ssh", web.sock)], "--replace", unit="web.socket")
        assert outcome.status == EXIT_REFUSED
        assert led.ask(OWN, 22) == "ssh"


def test_a_rollback_frees_the_label_of_ssh(led: Host) -> None:
    led.ok("rollback")
    led.ok("drain", "ssh")


def test_marks_of_ssh_are_no_hindrance_to_those_who_allow_it(led: Host) -> None:
    led.apply("[ssh]", "Bind=tcp 0.0.0.0/0 22", "[:registry]", "TakeSsh=yes")
    led.ok("drain", "ssh")


def test_a_file_that_takes_it_is_no_reason_to_refuse_others(host: Host, ssh: Server) -> None:
    """A command is refused for what it changes; the file is left out, and named."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    path = host.conf("[wide]", TAKES, name="wide.conf")
    host.fails(EXIT_REFUSED, "apply")
    told = host.ok("bind", "web", "tcp", "192.0.2.0/24", "81")
    assert f"{path}:2: {TAKES} takes {OWN}:22" in told
    host.ok("apply", "--start", "web.socket")
    assert host.ask(OWN, 22) == "ssh"
    host.fails(EXIT_REFUSED, "apply")


def test_where_ssh_was_last_known(host: Host, tmp_path: Path) -> None:
    """A boot has no addresses and no servers yet."""
    state = tmp_path / "state"
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
    host.namespace.add_address(f"{OWN}/24")
    with host.namespace.serve("ssh", OWN, 22):
        host.ok("load", "--state", str(state))
    host.ok("unload")
    path = host.conf("[wide]", TAKES, name="wide.conf")
    told = host.ok("load", "--state", str(state))
    assert f"{path}:2: {TAKES} takes {OWN}:22, where ssh will listen (as it did before)" in told
    assert [it["rule"] for it in host.json("rules")] == ["tcp 192.0.2.0/24 80"]
    # What is kept is a help, not a need.
    host.ok("unload")
    (state / "ssh").write_text("{")
    told = host.ok("load", "--state", str(state))
    assert "where ssh listened last is not known: it is damaged" in told
    assert len(host.json("rules")) == 2

"""What cannot be taken from a process: a clear word, a status, and the registry as it was."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sockreg.errors import (
    EXIT_FAILURE,
    EXIT_NOT_LOADED,
    EXIT_PERMISSION,
    EXIT_REFUSED,
    EXIT_USAGE,
)
from sockreg.host import pidfd
from sockreg.registry import registration
from tests.kernel.host import Host, cookie
from tests.kernel.opener import NOBODY, Opener, let_everybody_in, members, opener, unprivileged
from tests.netns import Namespace

WITHOUT_PTRACE = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")


def refused(host: Host, status: int, *arguments: str) -> str:
    """Run ``register`` with these arguments; it must fail and leave the registry alone."""
    before = members(host)
    outcome = host.run("register", *arguments)
    assert outcome.status == status, outcome
    assert members(host) == before
    return outcome.err


def of(server: Opener, *options: str) -> list[str]:
    return ["web", "--pid", str(server.pid), "--wait", "0", *options]


@pytest.fixture(params=[False, True], ids=["empty", "taken"])
def web(request: pytest.FixtureRequest, host: Host) -> Iterator[Host]:
    """The registry before: without a socket, and with one that must survive everything."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.namespace.listen("127.0.0.1", 7000):
        if request.param:
            host.ok("register", "web", "--pid", str(os.getpid()), "--local", ":7000")
            assert len(members(host)) == 1
        yield host


def test_an_unknown_pid(web: Host) -> None:
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    said = refused(web, EXIT_FAILURE, "web", "--pid", str(gone.pid))
    assert f"there is no process {gone.pid}" in said
    assert "--of-unit" in said


def test_a_process_without_sockets(web: Host) -> None:
    with opener(web.namespace, "empty") as server:
        said = refused(web, EXIT_FAILURE, *of(server))
        assert f"(pid {server.pid}) has no TCP listener or bound UDP socket" in said
        assert "--wait" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("bound 127.0.0.1 8080", "one is a TCP socket that does not listen"),
        ("unix", "one is a UNIX socket; only TCP and UDP"),
        ("mptcp 127.0.0.1 8080", "one is an MPTCP socket, which the kernel does not steer to"),
    ],
)
def test_sockets_of_other_kinds(web: Host, words: str, sentence: str) -> None:
    with opener(web.namespace, "other", words) as server:
        said = refused(web, EXIT_REFUSED, *of(server))
        assert sentence in said
        assert ("GODEBUG=multipathtcp=0" in said) is ("mptcp" in words)


def test_a_listener_that_never_comes(web: Host) -> None:
    with opener(web.namespace, "never", "bound 127.0.0.1 8080") as server:
        said = refused(
            web, EXIT_REFUSED, "web", "--pid", str(server.pid), "--wait", "0.1", "--proto", "tcp"
        )
        assert "has no tcp socket that can be registered within 0.1 s: one is" in said


def test_two_that_match(web: Host) -> None:
    words = ("tcp 127.0.0.1 8080", "tcp 127.0.0.1 8081", "udp 127.0.0.1 53")
    with opener(web.namespace, "two", *words) as server:
        said = refused(web, EXIT_REFUSED, *of(server))
        assert "has 3 sockets that match: " in said
        for text in ("tcp 127.0.0.1:8080 (sk:", "tcp 127.0.0.1:8081 (sk:", "udp 127.0.0.1:53 (sk:"):
            assert text in said
        assert "--local" in said
        assert "--proto" in said
        said = refused(web, EXIT_REFUSED, *of(server, "--proto", "tcp"))
        assert "has 2 sockets that match: " in said


def test_none_that_matches(web: Host) -> None:
    with opener(web.namespace, "one", "tcp 127.0.0.1 8080") as server:
        said = refused(web, EXIT_FAILURE, *of(server, "--local", "127.0.0.2:8080"))
        assert "socket on 127.0.0.2:8080; it has tcp 127.0.0.1:8080 (sk:" in said
        said = refused(web, EXIT_FAILURE, *of(server, "--proto", "udp"))
        assert "has no udp socket that can be registered; it has tcp" in said


def test_a_process_of_another_network_namespace(web: Host) -> None:
    with Namespace() as other, opener(other, "far", "tcp 127.0.0.1 8080") as server:
        said = refused(web, EXIT_REFUSED, "web", "--pid", str(server.pid))
        assert f"(pid {server.pid}) is in another network namespace (net:[" in said
        assert f"--netns /proc/{server.pid}/ns/net" in said


def test_it_is_right_with_the_namespace_of_the_process(host: Host) -> None:
    """The command runs elsewhere: --netns alone leads to registry and socket."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with opener(host.namespace, "far", "tcp 127.0.0.1 8080") as server:
        netns = f"/proc/{server.pid}/ns/net"
        host.ok("--netns", netns, "register", "web", "--pid", str(server.pid))
        assert host.ask("192.0.2.7", 80) == "far"


def test_a_socket_of_another_namespace_in_a_process_of_this_one(web: Host) -> None:
    with Namespace() as other, other.listen("127.0.0.1", 8080) as sock:
        with web.namespace.entered():
            holder = subprocess.Popen(["/bin/sleep", "1000"], pass_fds=[sock.fileno()])
        try:
            said = refused(web, EXIT_REFUSED, "web", "--pid", str(holder.pid), "--wait", "0")
            assert "one is tcp 127.0.0.1:8080 of another network namespace" in said
        finally:
            holder.kill()
            holder.wait()


@pytest.mark.parametrize("prefix", [WITHOUT_PTRACE, NOBODY], ids=["capability", "user"])
def test_without_cap_sys_ptrace(web: Host, prefix: tuple[str, ...]) -> None:
    registered = members(web)
    let_everybody_in(web)
    with opener(web.namespace, "locked", "tcp 127.0.0.1 8080") as server:
        for where, who in (
            (["--pid", str(server.pid)], f"(pid {server.pid})"),
            (["--cookie", server.cookie(8080)], f"socket {server.cookie(8080)}"),
        ):
            said = unprivileged(web, prefix, "register", "web", *where)
            assert said.returncode == EXIT_PERMISSION, said
            assert f"{who}: no permission to take sockets from" in said.stderr
            assert "CAP_SYS_PTRACE" in said.stderr
    assert members(web) == registered


Meanwhile = Callable[[], None]


def disturb(monkeypatch: pytest.MonkeyPatch, before: Meanwhile, after: Meanwhile) -> None:
    """Have something happen right before and right after a descriptor is duplicated."""
    getfd = pidfd.getfd

    def disturbed(process: int, fd: int) -> int:
        before()
        duplicate = getfd(process, fd)
        after()
        return duplicate

    monkeypatch.setattr(pidfd, "getfd", disturbed)


def test_the_process_ends_between_look_and_take(web: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with opener(web.namespace, "gone", "tcp 127.0.0.1 8080") as server:
        disturb(monkeypatch, server.end, lambda: None)
        said = refused(web, EXIT_FAILURE, *of(server))
        assert "was closed while it was being taken" in said
        # With time left it looks again.
        said = refused(web, EXIT_FAILURE, "web", "--pid", str(server.pid))
        assert f"there is no process {server.pid}" in said


def test_the_process_ends_while_it_is_waited_for(web: Host) -> None:
    with opener(web.namespace, "gone") as server:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        handler = signal.signal(signal.SIGALRM, lambda *_: server.end())
        try:
            said = refused(web, EXIT_FAILURE, "web", "--pid", str(server.pid), "--wait", "60")
        finally:
            signal.signal(signal.SIGALRM, handler)
        assert f"there is no process {server.pid} (any more)" in said


@pytest.mark.parametrize("reopened", ["", "unix", "bound 127.0.0.1 8080", "tcp 127.0.0.1 9090"])
def test_the_socket_is_closed_between_look_and_take(
    web: Host, monkeypatch: pytest.MonkeyPatch, reopened: str
) -> None:
    """Also when its descriptor means another socket by then."""
    with opener(web.namespace, "closing", "tcp 127.0.0.1 8080") as server:

        def close() -> None:
            server.do("close")
            if reopened:
                server.do(reopened)

        disturb(monkeypatch, close, lambda: None)
        said = refused(web, EXIT_FAILURE, *of(server))
        assert "tcp 127.0.0.1:8080 (sk:" in said
        assert "was closed while it was being taken" in said


def test_the_socket_is_closed_while_it_is_being_taken(
    web: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was registered stays if that is seen in time; else nothing is left behind."""
    with opener(web.namespace, "closing", "tcp 127.0.0.1 8080") as server:
        disturb(monkeypatch, lambda: None, lambda: server.do("close"))
        assert "was closed while it was being taken" in refused(web, EXIT_FAILURE, *of(server))


def test_the_socket_is_closed_at_the_last_moment(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    register = registration.register

    def closed_before(*arguments: Any, **options: Any) -> None:
        server.do("close")
        register(*arguments, **options)

    monkeypatch.setattr(registration, "register", closed_before)
    with opener(host.namespace, "closing", "tcp 127.0.0.1 8080") as server:
        said = refused(host, EXIT_FAILURE, *of(server))
        assert "closed tcp 127.0.0.1:8080 (sk:" in said
        assert "while it was being registered" in said
        assert host.ask("192.0.2.7", 80) == "refused"


WRONG = (
    (["x" * 256, "--pid", "1"], "is 256 characters long; 255 is the limit"),
    (["a:b", "--pid", "1"], "contains ':'"),
    (["", "--pid", "1"], "is empty"),
    (["--pid", "1"], "0 labels given"),
    (["one", "two", "--pid", "1"], "2 labels given"),
    (["web", "--pid", ""], "is not a process ID"),
    (["web", "--pid", "-1"], "is not a process ID"),
    (["web", "--pid", "99999999999"], "is not a process ID"),
    (["web", "--pid", "1", "--cookie", "sk:1"], "not allowed with argument"),
    (["web", "--cookie", "sk:"], "is not a cookie"),
    (["web", "--cookie", "sk:xyz"], "is not a cookie"),
    (["web", "--cookie", "sk:1_0"], "is not a cookie"),
    (["web", "--cookie", "0"], "is not a cookie"),
    (["web", "--pid", "1", "--proto", "sctp"], "invalid choice: 'sctp'"),
    (["web", "--pid", "1", "--wait", "nan"], "is not a number of seconds"),
    (["web", "--pid", "1", "--wait", "-1"], "is not a number of seconds"),
    (["web", "--pid", "1", "--local", "80"], "not an address and a port"),
    (["web", "--pid", "1", "--local", "::1:80"], "not an address and a port"),
    (["web", "--pid", "1", "--unit", "two words"], "not the name of a unit"),
    (["web", "--local", ":80"], "--local selects among the sockets of a process"),
    (["web", "--pid", "1", "--", "true"], "-- COMMAND is for sockets passed"),
)


def test_wrong_command_lines(web: Host) -> None:
    for arguments, sentence in WRONG:
        assert sentence in refused(web, EXIT_USAGE, *arguments)


def test_a_cookie_that_nobody_has(web: Host) -> None:
    said = refused(web, EXIT_FAILURE, "web", "--cookie", "sk:7fffffff", "--wait", "0")
    assert "has cookie sk:7fffffff" in said


def test_the_cookie_of_a_connection(web: Host) -> None:
    with web.namespace.listen("127.0.0.1", 8080) as sock, web.namespace.entered():
        with socket.create_connection(("127.0.0.1", 8080)) as connection:
            number = cookie(connection)
            said = refused(web, EXIT_FAILURE, "web", "--cookie", number, "--wait", "0")
        assert "no TCP listener or bound UDP socket" in said
        assert sock.fileno() >= 0


def test_a_unit_that_does_not_run(web: Host) -> None:
    said = refused(web, EXIT_FAILURE, "web", "--of-unit", "nothing", "--wait", "0")
    assert "no process belongs to nothing.service" in said
    said = refused(web, EXIT_REFUSED, "web", "--of-unit", "web.socket")
    assert "systemd itself has its sockets open" in said
    assert "'systemctl start sockreg-add@web.service' registers them" in said


def test_nothing_loaded(host: Host) -> None:
    said = host.fails(EXIT_NOT_LOADED, "register", "web", "--pid", str(os.getpid()))
    assert "nothing is loaded in this network namespace" in said

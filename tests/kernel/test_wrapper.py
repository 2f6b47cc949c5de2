"""``sockreg register LABEL... -- COMMAND``: registers what it inherited, then is the server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence

import pytest

from sockreg.errors import (
    EXIT_FAILURE,
    EXIT_NOT_LOADED,
    EXIT_PARTLY,
    EXIT_REFUSED,
    EXIT_USAGE,
)
from tests.kernel.host import Host, cookie
from tests.kernel.opener import members
from tests.tree import ROOT

# Says what it was given, then answers on its sockets until it is killed.
SERVER = """
import json, os, signal, socket, sys
from tests.netns import Server
from tests.tree import ROOT
fds = range(3, 3 + int(os.environ.get("LISTEN_FDS", 0)))
print(json.dumps({
    "pid": os.getpid(),
    "arguments": sys.argv[1:],
    "listen": [os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"]],
    "fds": [os.readlink(f"/proc/self/fd/{n}") for n in fds],
    "open": len(os.listdir("/proc/self/fd")) - 1,
    "blocking": [os.get_blocking(n) for n in fds],
    "netns": os.readlink("/proc/self/ns/net"),
}), flush=True)
servers = [Server(f"server {n - 3}", socket.socket(fileno=n)) for n in fds]
signal.pause()
"""
COMMAND = ("/usr/bin/python3", "-c", SERVER, "one argument", "--", "-x")


@contextlib.contextmanager
def wrapped(
    host: Host,
    sockets: Sequence[tuple[str, socket.socket]],
    *arguments: str,
) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    """The server behind the wrapper, and what it says that it was given."""
    with host.passing(sockets) as (prefix, fds):
        process = subprocess.Popen(
            [*prefix, *host.command("register", *arguments)],
            pass_fds=fds,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
    with process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            if not first:
                raise AssertionError(process.communicate()[1])
            yield process, json.loads(first)
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def _loaded(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80", "[api]", "Bind=tcp 192.0.2.0/24 443")


def answers(host: Host) -> tuple[str, str]:
    return host.ask("192.0.2.7", 80), host.ask("192.0.2.7", 443)


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        (["x", "y"], ["web", "api"], ("server 0", "server 1")),
        (["api", "web"], [], ("server 1", "server 0")),
        (["x"], ["web"], ("server 0", "refused")),
    ],
    ids=["one label each", "the names of the sockets", "one label"],
)
def test_registers_and_becomes_the_command(
    host: Host, names: list[str], labels: list[str], expected: tuple[str, str]
) -> None:
    with contextlib.ExitStack() as stack:
        sockets = [
            (name, stack.enter_context(host.namespace.listen("127.0.0.1"))) for name in names
        ]
        assert answers(host) == ("refused", "refused")
        with wrapped(host, sockets, *labels, "--", *COMMAND) as (process, given):
            assert answers(host) == expected
            assert given["pid"] == process.pid
            assert given["listen"] == [str(process.pid), str(len(sockets))]
            assert given["arguments"] == ["one argument", "--", "-x"]
            inodes = [f"socket:[{os.fstat(sock.fileno()).st_ino}]" for _, sock in sockets]
            assert given["fds"] == inodes
            # stdin, stdout, stderr, the sockets, and what lists them: nothing was left open.
            assert given["open"] == 3 + len(sockets)


def test_one_label_for_all(host: Host) -> None:
    with (
        host.namespace.listen("127.0.0.1") as four,
        host.namespace.listen("::1") as six,
        wrapped(host, [("x", four), ("y", six)], "web", "--", *COMMAND),
    ):
        assert members(host) == {"web tcp ipv4": [cookie(four)], "web tcp ipv6": [cookie(six)]}


def both_ways(host: Host, *command: str, env: Mapping[str, str] | None = None) -> tuple[str, str]:
    """What a command prints when it is run without us, and with us."""
    with host.namespace.listen("127.0.0.1") as sock:
        sockets = [("web", sock)]
        with host.passing(sockets) as (prefix, fds):
            without = subprocess.run(
                [*prefix, *command],
                pass_fds=fds,
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
                env={**os.environ, **(env or {})},
            )
        through = host.process("register", "--", *command, sockets=sockets, env=env, check=True)
    return without.stdout, through.out


@pytest.mark.parametrize("locale", ["", "C", "C.UTF-8"])
def test_the_environment_is_handed_on_as_it_came(host: Host, locale: str) -> None:
    """Python sets LC_CTYPE in the C locale (PEP 538): that is none of the server's affair."""
    env = {"LANG": locale, "ANYTHING": "a=b\nc", "LC_ALL": ""}
    printed = both_ways(host, "/usr/bin/env", "-0", env=env)
    # Of the process itself: its pid, and the program that bash started (bash(1), "_").
    own = ("LISTEN_PID=", "_=")
    without, through = (
        sorted(line for line in text.split("\0") if not line.startswith(own)) for text in printed
    )
    assert through == without
    assert "LISTEN_FDS=1" in through
    assert "LISTEN_FDNAMES=web" in through
    assert "ANYTHING=a=b\nc" in through


def test_python_ignores_no_signal_for_the_command(host: Host) -> None:
    """But SIGPIPE, which systemd ignores for services as well (IgnoreSIGPIPE=)."""
    printed = both_ways(host, "/bin/grep", "SigIgn", "/proc/self/status")
    without, through = (int(text.split()[1], 16) for text in printed)
    assert through == without | 1 << (signal.SIGPIPE - 1)


@pytest.mark.parametrize("blocking", [True, False])
def test_the_sockets_are_handed_on_as_they_came(host: Host, blocking: bool) -> None:
    with host.namespace.listen("127.0.0.1") as sock:
        sock.setblocking(blocking)
        with wrapped(host, [("web", sock)], "--", *COMMAND) as (_, given):
            assert given["blocking"] == [blocking]


def test_the_command_runs_where_it_would_without_us(host: Host) -> None:
    """--netns is for the registry: host.command() has it, and this process stands elsewhere."""
    with (
        host.namespace.listen("127.0.0.1") as sock,
        wrapped(host, [("web", sock)], "--", *COMMAND) as (_, given),
    ):
        assert given["netns"] == os.readlink("/proc/thread-self/ns/net")


@pytest.mark.parametrize(
    ("names", "arguments", "sentence"),
    [
        (["a", "b", "c"], ["web", "api", "--", "true"], "2 labels for 3 sockets"),
        (["a"], ["web", "api", "--", "true"], "2 labels for 1 sockets"),
        (["a"], ["web", "--"], "register: a command must follow '--'"),
        (["a"], ["web", "--", "no-such-program"], "no-such-program: no such program"),
        (["a"], ["web", "--", "/etc/passwd"], "/etc/passwd: no such program, or not executable"),
        (["a"], ["x" * 256, "--", "true"], "is 256 characters long"),
        ([], ["web", "--", "true"], "no sockets were passed: LISTEN_FDS is not set"),
    ],
)
def test_a_wrong_command_line(
    host: Host, names: list[str], arguments: list[str], sentence: str
) -> None:
    """Nothing is registered then, and the command is not run."""
    with contextlib.ExitStack() as stack:
        sockets = [
            (name, stack.enter_context(host.namespace.listen("127.0.0.1"))) for name in names
        ]
        outcome = host.process("register", *arguments, sockets=sockets)
        assert outcome.status == EXIT_USAGE, outcome
        assert sentence in outcome.err
        assert members(host) == {}


def test_the_command_is_not_run_when_nothing_can_be_registered(host: Host) -> None:
    shout = ["/bin/echo", "it runs"]
    one, other = socket.socketpair()
    with one, other:
        outcome = host.process("register", "web", "--", *shout, sockets=[("a", one)])
        assert outcome.status == EXIT_REFUSED
        assert "is a UNIX socket" in outcome.err
    with host.namespace.listen("127.0.0.1") as sock:
        host.ok("unload")
        outcome = host.process("register", "web", "--", *shout, sockets=[("a", sock)])
        assert outcome.status == EXIT_NOT_LOADED
    assert "it runs" not in outcome.out


def test_a_file_that_cannot_be_run_after_all(host: Host) -> None:
    script = host.root / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with host.namespace.listen("127.0.0.1") as sock:
        outcome = host.process("register", "web", "--", str(script), sockets=[("a", sock)])
    assert outcome.status == EXIT_FAILURE
    assert "No such file or directory" in outcome.err


def test_other_verbs_run_no_command(host: Host) -> None:
    outcome = host.run("status", "--", "true")
    assert outcome.status == EXIT_USAGE
    assert "status takes no command after '--'" in outcome.err


def test_the_command_is_searched_for_in_path(host: Host) -> None:
    with host.namespace.listen("127.0.0.1") as sock:
        outcome = host.process("register", "web", "--", "echo", "found", sockets=[("a", sock)])
    assert (outcome.status, outcome.out) == (0, "found\n"), outcome


def test_a_socket_that_is_left_out_is_named_and_the_command_decides_the_status(host: Host) -> None:
    """Beside the sockets that can be steered to, a server may have others, such as UNIX ones."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.namespace.listen("127.0.0.1", 8080) as sock, socket.socket(socket.AF_UNIX) as unfit:
        sockets = [("web", sock), ("web", unfit)]
        outcome = host.process("register", sockets=sockets)
        assert outcome.status == EXIT_PARTLY
        assert "it is a UNIX socket" in outcome.err
        assert "1 socket left out" in outcome.err
        outcome = host.process("register", "--", "/bin/sh", "-c", "exit 17", sockets=sockets)
    assert outcome.status == 17
    assert "it is a UNIX socket" in outcome.err
    assert "is registered already" in outcome.err

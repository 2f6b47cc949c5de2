"""A machine in small: a network namespace, a bpffs, configuration, and `sockreg` run on them.

host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
with host.serve("web", "127.0.0.1", 8080):
    assert host.ask("192.0.2.7", 80) == "web"
assert host.ask("192.0.2.7", 80) == "refused"
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import posix
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import pytest

from sockreg.cli.main import main
from sockreg.errors import EXIT_OK
from sockreg.systemd import journal, listen_fds
from tests.netns import TCP, UDP, Namespace, Server
from tests.process import run
from tests.tree import ROOT

BASH = "/bin/bash"
_PASSED_FIRST = 700  # where sockets are passed to a command run in this process
_BPF_LINK = re.compile(r"anon_inode:(bpf[-_]|btf)")


class HasFileno(Protocol):
    """What can be passed to ``register``: a socket, or something that is none."""

    def fileno(self) -> int: ...


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


class Host:
    """``sockreg`` on a network namespace, a bpffs and a configuration root of the test's own.

    The journal that commands run in this process write to is the test's own, too.
    """

    def __init__(
        self, namespace: Namespace, bpffs: Path, root: Path, patch: pytest.MonkeyPatch
    ) -> None:
        self.namespace = namespace
        self.bpffs = bpffs
        self.root = root
        self.pid = os.getpid()  # of the process that has the servers
        self._patch = patch
        namespace.sysctl("net.unix.max_dgram_qlen", "4096")  # else a writer blocks after ten
        self._journal = namespace.new_socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._journal.setblocking(False)
        self._journal.bind(str(root / "journal"))
        patch.setattr(journal, "SOCKET", str(root / "journal"))
        for name in (b"JOURNAL_STREAM", b"NOTIFY_SOCKET"):
            patch.delitem(posix.environ, name, raising=False)
            patch.delenv(name.decode(), raising=False)

    def close(self) -> None:
        self._journal.close()

    # Configuration

    def conf(self, *lines: str, name: str = "rules.conf") -> Path:
        """Write a file of /etc/sockreg; returns its path."""
        path = self.root / "etc/sockreg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        return path

    @property
    def options(self) -> list[str]:
        """The global options that lead a command here."""
        return [
            "--netns",
            self.namespace.path,
            "--bpffs",
            str(self.bpffs),
            "--root",
            str(self.root),
        ]

    @property
    def home(self) -> Path:
        return self.bpffs / "sockreg"

    @property
    def registry(self) -> Path:
        """The only registry in the bpffs."""
        (registry,) = self.home.iterdir()
        return registry

    # Commands

    def run(self, *arguments: str, typed: str = "") -> Outcome:
        """Run a command in this process, with ``typed`` as its standard input."""
        self.entries()
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(typed.encode()))),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            _leaving_nothing_open(),
        ):
            try:
                status = main([*self.options, *arguments])
            except SystemExit as left:  # argparse
                status = int(left.code or 0)
        return Outcome(status, out.getvalue(), err.getvalue())

    def ok(self, *arguments: str, typed: str = "") -> str:
        """Run a command that must succeed; returns what it printed."""
        outcome = self.run(*arguments, typed=typed)
        assert outcome.status == EXIT_OK, outcome.text
        return outcome.text

    def fails(self, status: int, *arguments: str, typed: str = "") -> str:
        """Run a command that must fail with ``status``; returns what it said."""
        outcome = self.run(*arguments, typed=typed)
        assert outcome.status == status, outcome.text
        assert outcome.err.startswith("sockreg: "), outcome.err
        return outcome.err

    def json(self, *arguments: str) -> Any:
        """Run a command with --json; returns the body behind the envelope."""
        outcome = self.run("--json", *arguments)
        assert outcome.status == EXIT_OK, outcome.text
        content = json.loads(outcome.out)
        assert content["version"] == 1
        schema = content["schema"]
        assert schema.startswith("sockreg."), schema
        return content[schema.removeprefix("sockreg.")]

    def load(self, *lines: str) -> str:
        """Load with these lines as the only configuration file."""
        self.conf(*lines)
        return self.ok("load")

    def apply(self, *lines: str) -> str:
        """Put these lines in force instead."""
        self.conf(*lines)
        return self.ok("apply")

    def register(
        self,
        sockets: Sequence[tuple[str, HasFileno]],
        *arguments: str,
        unit: str | None = None,
    ) -> Outcome:
        """Run ``register`` with (name, socket) passed as systemd passes them."""
        command = [*(["--unit", unit] if unit else []), *arguments]
        with self.passed(sockets):
            return self.run("register", *command)

    @contextlib.contextmanager
    def passed(self, sockets: Sequence[tuple[str, HasFileno]]) -> Iterator[None]:
        """In the block, this process has (name, socket) passed as systemd passes them."""
        names = ":".join(name for name, _ in sockets)
        with self._patch.context() as patch, contextlib.ExitStack() as stack:
            stack.enter_context(_high_copies(sockets))
            # libsystemd looks for them at 3, where the tests have descriptors of their own.
            patch.setattr(listen_fds, "FIRST_FD", _PASSED_FIRST)
            patch.setattr(listen_fds, "_sd_listen_fds", lambda: len(sockets))
            environ: Any = posix.environ
            patch.setitem(environ, b"LISTEN_FDNAMES", names.encode())
            yield

    def command(self, *arguments: str) -> list[str]:
        """The argument vector of a command as a process of its own."""
        return [sys.executable, "-m", "sockreg", *self.options, *arguments]

    def process(
        self,
        *arguments: str,
        sockets: Sequence[tuple[str, HasFileno]] = (),
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        check: bool = False,
    ) -> Outcome:
        """Run a command as a process of its own, under ``prefix`` such as strace(1)."""
        command = [*prefix, *self.command(*arguments)]
        with self.passing(sockets) as (wrapper, fds):
            done = subprocess.run(
                [*wrapper, *command],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                pass_fds=fds,
                env={**os.environ, **(env or {})},
                cwd=ROOT,
            )
        outcome = Outcome(done.returncode, done.stdout, done.stderr)
        assert not check or outcome.status == EXIT_OK, outcome.text
        return outcome

    @contextlib.contextmanager
    def passing(
        self, sockets: Sequence[tuple[str, HasFileno]]
    ) -> Iterator[tuple[list[str], list[int]]]:
        """A command prefix that passes sockets by the LISTEN_FDS protocol, and its pass_fds."""
        if not sockets:
            yield [], []
            return
        with _high_copies(sockets) as high:
            names = ":".join(name for name, _ in sockets)
            moves = " ".join(f"{fd}<&{given} {given}<&-" for fd, given in enumerate(high, 3))
            script = f'LISTEN_PID=$$ LISTEN_FDS={len(high)} LISTEN_FDNAMES="$0" exec "$@" {moves}'
            yield [BASH, "-c", script, names], high

    # Sockets, clients, and what is seen

    def serve(
        self,
        label: str,
        address: str,
        port: int = 0,
        protocol: int = TCP,
        *,
        unit: str | None = None,
        v6only: bool = False,
        reuseport: bool = False,
    ) -> Server:
        """A server that answers with its label, registered under it."""
        server = self.namespace.serve(
            label, address, port, protocol, v6only=v6only, reuseport=reuseport
        )
        outcome = self.register([(label, server.sock)], unit=unit)
        if outcome.status != EXIT_OK:
            server.close()
            raise AssertionError(outcome.text)
        return server

    def ask(self, address: str, port: int, protocol: int = TCP, **rest: Any) -> str:
        """Namespace.ask(), from the loopback, so that no rule takes the answers."""
        rest.setdefault("source", "::1" if ":" in address else "127.0.0.1")
        return self.namespace.ask(address, port, protocol, **rest)

    def both(self, address: str, port: int) -> tuple[str, str]:
        """What a TCP connection and a UDP datagram meet."""
        return self.ask(address, port, TCP), self.ask(address, port, UDP)

    def counters(self, label: str, protocol: str = "tcp", family: str = "ipv4") -> tuple[int, ...]:
        """(lookups, misses, errors) of a destination, as status shows them."""
        counters = self._destination(label, protocol, family)["counters"]
        return counters["lookups"], counters["misses"], counters["errors"]

    def registered(self, label: str, protocol: str = "tcp", family: str = "ipv4") -> str | None:
        """The cookie of the only socket that status shows for a destination."""
        members = self._destination(label, protocol, family)["members"]
        assert len(members) <= 1, members
        return str(members[0]["cookie"]) if members else None

    def _destination(self, label: str, protocol: str, family: str) -> Any:
        for destination in self.json("status")["destinations"]:
            key = destination["label"], destination["protocol"], destination["family"]
            if key == (label, protocol, family):
                return destination
        return {"members": [], "counters": {"lookups": 0, "misses": 0, "errors": 0}}

    def entries(self) -> list[dict[str, list[str]]]:
        """The journal entries of the last command run in this process, field -> values."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(_entry(self._journal.recv(1 << 16)))
        return found


def cookie(sock: socket.socket) -> str:
    """A socket's cookie the way status and ss(8) print it."""
    so_cookie = 57  # asm-generic/socket.h; not in Python's socket module
    raw = sock.getsockopt(socket.SOL_SOCKET, so_cookie, 8)
    return f"sk:{int.from_bytes(raw, sys.byteorder):x}"


def bpftool(*arguments: str) -> Any:
    """The JSON that bpftool(8) prints."""
    return json.loads(run(["bpftool", "--json", *arguments]).stdout or "null")


@contextlib.contextmanager
def _high_copies(sockets: Sequence[tuple[str, HasFileno]]) -> Iterator[list[int]]:
    """Copies of the sockets under consecutive numbers that nobody else has."""
    with contextlib.ExitStack() as stack:
        copies = []
        for _, sock in sockets:
            copies.append(fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, _PASSED_FIRST))
            stack.callback(os.close, copies[-1])
        assert copies == list(range(_PASSED_FIRST, _PASSED_FIRST + len(sockets)))
        yield copies


def _entry(datagram: bytes) -> dict[str, list[str]]:
    """An entry of the native journal protocol; a value of several lines has its length first."""
    fields: dict[str, list[str]] = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, assigned, value = line.partition(b"=")
        if not assigned:
            size = int.from_bytes(datagram[:8], "little")
            value, datagram = datagram[8 : 8 + size], datagram[8 + size + 1 :]
        fields.setdefault(name.decode(), []).append(value.decode())
    return fields


@contextlib.contextmanager
def _leaving_nothing_open() -> Iterator[None]:
    """A command closes what it opens: it may be called by a program that goes on."""
    before = sorted(bpf_descriptors())
    yield
    assert sorted(bpf_descriptors()) == before


def bpf_descriptors() -> Iterator[int]:
    """The descriptors of maps, programs and links that this process has."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            if _BPF_LINK.match(os.readlink(f"/proc/self/fd/{name}")):
                yield int(name)

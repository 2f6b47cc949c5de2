"""What the demo shows. Each step says what a client must see, and the demo fails if it does not."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sockreg import streams
from sockreg.demo import place
from sockreg.errors import (
    EXIT_CONFIG,
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_NOT_LOADED,
    EXIT_OK,
    SockregError,
)

_WIDTH = 96
_PATIENCE = 10.0  # s
REFUSED = "refused"


class _NotShownError(Exception):
    """A step did not show what it says; the text says what was seen instead."""


class Action(Protocol):
    """One thing that a step does."""

    def play(self) -> None:
        """Do it, and print what is seen. Raises _NotShownError."""


@dataclass(frozen=True)
class Type:
    """A command line of an operator."""

    line: str
    status: int = EXIT_OK

    def play(self) -> None:
        streams.out()
        streams.out(textwrap.indent(f"# {self.line}", "    ").rstrip())
        done = subprocess.run(
            ["/bin/sh", "-c", f"exec 2>&1\n{self.line}"],
            stdout=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            check=False,
            env=os.environ | {"COLUMNS": str(_WIDTH - 4), "NO_COLOR": "1"},
        )
        streams.out_document(textwrap.indent(done.stdout, "    "))
        if done.returncode != self.status:
            raise _NotShownError(f"'{self.line}' ended with {done.returncode}, not {self.status}")


@dataclass(frozen=True)
class Ask:
    """A client that connects by TCP, and what it must be answered."""

    address: str
    port: int
    answer: str

    def play(self) -> None:
        answer = _asked(self.address, self.port)
        where = f"tcp {self.address} {self.port}"
        streams.out(f"    client  {where:<22}  {answer}")
        if answer != self.answer:
            raise _NotShownError(f"{where} answered '{answer}', not '{self.answer}'")


@dataclass(frozen=True)
class Serve:
    """The example server, which gets a socket as systemd passes it, and registers it."""

    name: str
    port: int

    def play(self) -> None:
        line = f"sockreg register {self.name} -- sockreg demo --serve {self.name}"
        streams.out()
        streams.out(f"    # {line} &")
        passing = f"LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={self.name} exec {line}"
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as said,
            socket.create_server(("127.0.0.1", self.port)) as listener,
        ):
            subprocess.Popen(
                ["/bin/sh", "-c", f"exec 3<&0 </dev/null\n{passing}"],
                stdin=listener.fileno(),
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            _asked("127.0.0.1", self.port)  # it has begun when it answers
            said.seek(0)
            streams.out_document(textwrap.indent(said.read(), "    "))
        streams.out()
        Ask("127.0.0.1", self.port, _reached(self.name, "127.0.0.1", self.port)).play()


@dataclass(frozen=True)
class Step:
    """Part of the demo: what it shows, in a few words and in a sentence or two."""

    title: str
    text: str
    actions: Sequence[Action]

    def play(self, number: int) -> None:
        """Play all actions, with the step's number and words ahead of them."""
        streams.out()
        streams.out(f"{number:2}  {self.title}")
        for line in textwrap.wrap(self.text, _WIDTH - 4):
            streams.out(f"    {line}")
        before: Action | None = None
        for action in self.actions:
            if isinstance(action, Ask) and not isinstance(before, Ask | Serve):
                streams.out()
            action.play()
            before = action
            streams.flush()


def _reached(name: str, address: str, port: int) -> str:
    return f"{name}, reached at {address} port {port}"


def _asked(address: str, port: int) -> str:
    """The last line of the answer to a request, or a word for what happened."""
    try:
        with socket.create_connection((address, port), timeout=_PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with client.makefile("r", encoding="utf-8", errors="backslashreplace") as answer:
                return answer.read().rstrip().rpartition("\n")[2]
    except ConnectionRefusedError:
        return REFUSED
    except OSError as error:
        return str(error)


def _web(address: str, port: int) -> Ask:
    return Ask(address, port, _reached("web", address, port))


def _api(address: str, port: int) -> Ask:
    return Ask(address, port, _reached("api", address, port))


STEPS = (
    Step(
        "Nothing is loaded",
        "All of 127.0.0.0/8 is local to every host, so the demo can use its addresses.",
        (Type("sockreg status", EXIT_NOT_LOADED), Ask("127.1.0.7", 80, REFUSED)),
    ),
    Step(
        "Load",
        "The program is attached to the network namespace. Without rules it changes nothing.",
        (Type("sockreg load"), Ask("127.1.0.7", 80, REFUSED)),
    ),
    Step(
        "Register a socket",
        "A server listens on 127.0.0.1:8080. Its socket is passed to sockreg, which registers it "
        "under the label web and then becomes the server. On a host, systemd does both for units.",
        (Serve("web", 8080), Ask("127.1.0.7", 80, REFUSED)),
    ),
    Step(
        "A prefix",
        "One rule opens a port on all addresses of a prefix. The server was not restarted, and has "
        "no privileges for port 80.",
        (
            Type("sockreg bind web tcp 127.1.0.0/16 80"),
            _web("127.1.0.7", 80),
            _web("127.1.200.200", 80),
            Ask("127.2.0.7", 80, REFUSED),
        ),
    ),
    Step(
        "A range of ports",
        "1000 ports on 65536 addresses lead to the same socket.",
        (
            Type("sockreg bind web tcp 127.1.0.0/16 8000-8999"),
            _web("127.1.0.7", 8443),
            _web("127.1.9.9", 8999),
            Ask("127.1.9.9", 9000, REFUSED),
        ),
    ),
    Step(
        "Two services share a port",
        "Another server gets a prefix inside the first one. The longer prefix wins.",
        (
            Serve("api", 8081),
            Type("sockreg bind api tcp 127.1.5.0/24 80"),
            _api("127.1.5.1", 80),
            _web("127.1.6.1", 80),
        ),
    ),
    Step(
        "Reject, from a file",
        "Rules in a file come into force together. One address is taken out, and explain says why.",
        (
            Type(
                "mkdir -p /etc/sockreg; printf '[web]\\nReject=tcp 127.1.0.9 *\\n' "
                ">/etc/sockreg/demo.conf"
            ),
            Type("sockreg apply"),
            Ask("127.1.0.9", 80, REFUSED),
            _web("127.1.0.10", 80),
            Type("sockreg explain tcp 127.1.0.9 80"),
        ),
    ),
    Step(
        "What is in force",
        "The rules with the places they come from, and the sockets with what they were sent.",
        (Type("sockreg rules"), Type("sockreg status --lines 0")),
    ),
    Step(
        "A mistake",
        "A wrong file is refused as a whole, and the rules in force stay.",
        (
            Type("echo 'Bind=tcp 127.1.0.0/33 80' >>/etc/sockreg/demo.conf"),
            Type("sockreg apply", EXIT_CONFIG),
            Ask("127.1.0.9", 80, REFUSED),
            _web("127.1.0.7", 80),
        ),
    ),
    Step(
        "Unload",
        "Everything is as before. The servers still have their own addresses.",
        (
            Type("sockreg unload"),
            Ask("127.1.0.7", 80, REFUSED),
            _web("127.0.0.1", 8080),
            _api("127.0.0.1", 8081),
        ),
    ),
)


def main() -> None:
    """Play all steps in the namespaces that this process is in, and end it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(_play())
    except KeyboardInterrupt:
        streams.err("sockreg: interrupted; nothing of the demo is left")
        sys.exit(EXIT_INTERRUPTED)


def _play() -> int:
    try:
        place.prepare()
        streams.out("Everything below happens in namespaces that end with the demo.")
        for number, step in enumerate(STEPS, 1):
            try:
                step.play(number)
            except _NotShownError as difference:
                streams.err(f"sockreg: demo: step {number}, {step.title}: {difference}")
                return EXIT_FAILURE
    except SockregError as error:
        streams.err(f"sockreg: {error.message}")
        streams.err(f"sockreg: {error.hint}")
        return error.status
    streams.out()
    streams.out(f"All {len(STEPS)} steps showed what they say, and nothing of them is left.")
    return EXIT_OK

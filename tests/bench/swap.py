"""A thousand swaps under load: is anything refused or delivered to the wrong socket?

Two rule sets have the same overlapping prefixes and give them to each other's labels.
While one is applied after the other, clients connect and send datagrams without a pause.
Whatever no rule takes lands at an ordinary listener, which neither set names, as does
what is steered by a wider prefix that every packet here has a longer one for. Then an
apply is killed at each of its steps, and rolled back.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from typing import NamedTuple

from sockreg import shipped
from sockreg.commands.apply import preview, put_configured
from sockreg.commands.rollback import rollback
from sockreg.context import Context
from sockreg.host import netns
from tests.bench.apply import STEPS
from tests.bench.ground import Ground, ground
from tests.bench.report import Aim, Part, Table
from tests.netns import TCP, UDP, Namespace, Server
from tests.netns.client import ask

SWAPS = 1_000
_QUICK = 50
_CALM = 1.0  # s
PORT = 80
# Address -> the labels that the sets give it to, first set and second.
ADDRESSES = {
    "192.0.2.1": ("one", "two"),
    "192.0.2.200": ("two", "one"),
    "192.0.2.129": ("three", "three"),
    "2001:db8::1": ("one", "two"),
    "2001:db8::8000:1": ("two", "one"),
    "2001:db8::8000:2": ("three", "three"),
}
_LABELS = ("one", "two", "three", "wide")
_WARM_UP = 20  # rounds of each client before the first swap
_DEADLINE = 30.0  # s for them
_LIMIT = 900.0  # s, after which servers and clients end by themselves
# An apply is killed at the begin of each step, and when it has done all.
_DEATHS = (*STEPS, "the end")
_PROTOCOLS = {TCP: "tcp", UDP: "udp"}


class Asked(NamedTuple):
    """What a client met: (address, answer) -> how often; the longest wait in seconds."""

    answers: Counter[tuple[str, str]]
    longest: float


class Load(NamedTuple):
    """Both protocols under one kind of disturbance."""

    name: str
    disturbances: int
    asked: dict[int, Asked]

    def wrong(self, protocol: int) -> dict[str, int]:
        """Answers that neither rule set has for the address."""
        found: Counter[str] = Counter()
        for (address, answer), count in self.asked[protocol].answers.items():
            if answer not in ADDRESSES[address]:
                found[answer] += count
        return dict(found)


def rule_set(number: int) -> list[str]:
    """The first (0) or the second set (1), as lines of a conf file."""
    one, two = ("one", "two") if number == 0 else ("two", "one")
    bindings = [
        (one, "192.0.2.0/24"),
        (two, "192.0.2.128/25"),
        ("three", "192.0.2.129"),
        ("wide", "192.0.0.0/8"),
        (one, "2001:db8::/64"),
        (two, "2001:db8::8000:0/112"),
        ("three", "2001:db8::8000:2"),
        ("wide", "2001:db8::/32"),
    ]
    lines = []
    for label, prefix in bindings:
        lines.append(f"[{label}]")
        lines += [f"Bind={protocol} {prefix} {PORT}" for protocol in _PROTOCOLS.values()]
    return lines


def measure(quick: bool) -> Part:
    swaps = _QUICK if quick else SWAPS
    with ground() as here, _servers(here):
        here.configure(rule_set(0))
        here.run("apply")
        loads = [
            _under_load(here, "nothing", 0, lambda: time.sleep(_CALM)),
            _under_load(here, "checks, which swap nothing", swaps, lambda: _check(here, swaps)),
            _under_load(here, "swaps", swaps, lambda: _swap(here, swaps)),
            _under_load(here, "rollbacks after a crash", len(_DEATHS), lambda: _crash(here)),
        ]
    return Part("swap", [_table(loads)], [_figures(load) for load in loads], _aims(loads[2:]))


@contextmanager
def _servers(here: Ground) -> Iterator[None]:
    """A socket for each label, family and protocol, and ordinary ones for whatever falls through.

    They answer in a process of their own: the clients must not wait for the swaps.
    """
    here.namespace.add_local("192.0.2.0/24")
    here.namespace.add_local("2001:db8::/64")
    here.configure([])
    here.run("load")
    named: list[tuple[str, socket.socket]] = []
    with ExitStack() as stack:
        for protocol in _PROTOCOLS:
            for address in ("0.0.0.0", "::"):
                sock = here.namespace.listen(address, PORT, protocol, v6only=True)
                named.append(("ordinary", stack.enter_context(sock)))
            for address in ("127.0.0.1", "::1"):
                for label in _LABELS:
                    sock = here.namespace.listen(address, 0, protocol)
                    named.append((label, stack.enter_context(sock)))
                    here.register(label, sock, f"{label}@{protocol}{sock.family}.socket")
        with _process(_answer, named):
            yield


def _answer(named: list[tuple[str, socket.socket]], stop: Connection) -> None:
    with ExitStack() as stack:
        for label in {name for name, _ in named}:
            stack.enter_context(Server(label, *(sock for name, sock in named if name == label)))
        stop.poll(_LIMIT)


def _under_load(here: Ground, name: str, disturbances: int, disturb: Callable[[], None]) -> Load:
    """Have two clients ask, TCP and UDP, from before the disturbance until after it."""
    with ExitStack() as stack:
        clients = {
            protocol: stack.enter_context(_process(_ask_on, here.namespace, protocol))
            for protocol in _PROTOCOLS
        }
        for client in clients.values():
            assert client.poll(_DEADLINE), "a client gets no answers"
            client.recv()
        disturb()
        asked = {}
        for protocol, client in clients.items():
            client.send("stop")
            assert client.poll(_DEADLINE), "a client does not end"
            asked[protocol] = Asked(*client.recv())
    return Load(name, disturbances, asked)


def _ask_on(namespace: Namespace, protocol: int, parent: Connection) -> None:
    """Ask one address after the other until told to stop; then tell what was met."""
    answers: Counter[tuple[str, str]] = Counter()
    longest = 0.0
    rounds = 0
    limit = time.monotonic() + _LIMIT
    with namespace.entered():
        while not parent.poll() and time.monotonic() < limit:
            for address in ADDRESSES:
                source = "::1" if ":" in address else "127.0.0.1"
                begin = time.monotonic()
                answer = ask(socket.socket, address, PORT, protocol, source, b"", 5.0)
                longest = max(longest, time.monotonic() - begin)
                answers[address, answer] += 1
            rounds += 1
            if rounds == _WARM_UP:
                parent.send("warm")
    parent.send((answers, longest))


@contextmanager
def _process(work: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """Do ``work`` in a process forked off, with a connection to it that tells it to stop."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(*arguments, there), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        with suppress(BrokenPipeError):  # it has ended
            here.send("stop")
        process.join(_DEADLINE)
        if process.is_alive():
            process.kill()
            process.join()
        here.close()


def _swap(here: Ground, count: int) -> None:
    """Apply the second set, the first, the second ..."""
    for number in range(1, count + 1):
        here.configure(rule_set(number % 2))
        assert _in_child(_command, here, put_configured) == 0, f"swap {number} failed"


def _check(here: Ground, count: int) -> None:
    """Keep the machine as busy as swaps do: who waits then does not wait for a swap."""
    for _ in range(count):
        assert _in_child(_command, here, preview) == 0


def _crash(here: Ground) -> None:
    """Kill an apply at each of its steps; roll back; see that the right set is in force."""
    for death in _DEATHS:
        for number in (0, 1):
            here.configure(rule_set(number))
            assert _in_child(_command, here, put_configured) == 0
        here.configure(rule_set(0))
        ended = _in_child(_command, here, put_configured, death)
        assert ended == -signal.SIGKILL, f"the apply that was to die at {death}: {ended}"
        assert _in_child(_command, here, rollback) == 0, f"after a death at {death}"
        # At the end the first set was in force again, and the second the one before.
        before = 1 if death == _DEATHS[-1] else 0
        assert _in_force(here) == _named(rule_set(before)), f"after a death at {death}"


def _in_child(work: Callable[..., None], *arguments: object) -> int:
    """Work in a process forked off: that saves a second of imports. Its exit status."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join()
    status = process.exitcode
    assert status is not None
    return status


def _command(here: Ground, command: Callable[[Context], object], death: str = "") -> None:
    """Run a command, or die at the begin of one of its steps."""

    def step(what: str) -> None:
        if death == (what.partition(" ")[0] or _DEATHS[-1]):
            os.kill(os.getpid(), signal.SIGKILL)

    with netns.entered(here.namespace.path) as namespace:
        command(
            Context(
                netns=namespace,
                bpffs=str(here.bpffs),
                given_root=str(here.root),
                object_path=shipped.object_path(),
                step=step,
            )
        )


def _in_force(here: Ground) -> set[tuple[str, str]]:
    rules = json.loads(here.run("--json", "rules"))["rules"]
    return {(rule["label"], rule["rule"]) for rule in rules}


def _named(lines: list[str]) -> set[tuple[str, str]]:
    """(label, rule) of each line of a conf file."""
    found = set()
    label = ""
    for line in lines:
        if line.startswith("["):
            label = line[1:-1]
        else:
            found.add((label, line.removeprefix("Bind=")))
    return found


def _table(loads: list[Load]) -> Table:
    rows = []
    for load in loads:
        for protocol, name in _PROTOCOLS.items():
            asked = load.asked[protocol]
            wrong = load.wrong(protocol)
            rows.append(
                [
                    f"{load.disturbances:,} {load.name}" if load.disturbances else load.name,
                    name,
                    f"{asked.answers.total():,}",
                    sum(wrong.values()),
                    ", ".join(f"{count} {answer}" for answer, count in sorted(wrong.items()))
                    or "-",
                    f"{asked.longest * 1000:.0f} ms",
                ]
            )
    return Table(
        "Swaps under load: one rule set after the other, connections and datagrams all the time",
        ("DISTURBED BY", "PROTO", "ASKED", "WRONG", "NAMELY", "LONGEST WAIT"),
        rows,
        (
            "WRONG: refused, lost, or answered by a socket that neither rule set names.",
            "LONGEST WAIT for an answer. Checks keep the machine busy, and swap nothing.",
        ),
    )


def _figures(load: Load) -> dict[str, object]:
    return {
        "disturbed_by": load.name,
        "disturbances": load.disturbances,
        "asked": {
            name: load.asked[protocol].answers.total() for protocol, name in _PROTOCOLS.items()
        },
        "wrong": {name: load.wrong(protocol) for protocol, name in _PROTOCOLS.items()},
        "longest_wait_seconds": {
            name: load.asked[protocol].longest for protocol, name in _PROTOCOLS.items()
        },
    }


def _aims(loads: list[Load]) -> list[Aim]:
    aims = []
    for load in loads:
        wrong = sum(sum(load.wrong(protocol).values()) for protocol in _PROTOCOLS)
        total = sum(asked.answers.total() for asked in load.asked.values())
        text = f"{load.disturbances:,} {load.name}: nothing refused, lost or misled"
        aims.append(Aim(text, f"{wrong} of {total:,}", wrong == 0))
    return aims

"""A host that is changed at random while clients ask, and commands that are killed at random.

Each port belongs to one of two labels, and rules say to which. A change gives ports to the other
label. Meanwhile a client may meet the label of before or of after, and nobody else.
"""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sockreg.errors import EXIT_OK
from tests.kernel.host import Host
from tests.netns import TCP, UDP, Namespace, bpffs

ADDRESS = "192.0.2.7"
PORTS = range(80, 86)
LABELS = ("one", "two")
_KILLED = 0.3  # share of the changes that are killed
_LONGEST = 0.4  # s until a command is killed


@dataclass
class Outcome:
    """What was done and seen. ``misdirected`` are sentences."""

    changes: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    asked: int = 0
    counted: int = 0
    misdirected: list[str] = field(default_factory=list)
    pins: tuple[int, int] = (0, 0)  # before, after

    def __str__(self) -> str:
        return (
            f"{self.changes.total()} changes of {len(self.changes)} kinds, {self.killed} killed, "
            f"{self.asked} packets, {len(self.misdirected)} misdirected, {self.counted} counted, "
            f"{self.pins[0]} pins before and {self.pins[1]} after"
        )


class Soak:
    """``allowed`` are the labels that may answer on each port at this moment."""

    def __init__(self, host: Host, seed: int) -> None:
        self.host = host
        self.random = random.Random(seed)
        self.now = dict.fromkeys(PORTS, "one")
        self.allowed = {port: {"one"} for port in PORTS}
        self.outcome = Outcome()
        self._stop = threading.Event()
        self._paused = threading.Lock()

    # Traffic

    @contextmanager
    def asking(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask, args=(p,)) for p in (TCP, UDP)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _ask(self, protocol: int) -> None:
        while not self._stop.is_set():
            for port in PORTS:
                before = set(self.allowed[port])
                answer = self.host.ask(ADDRESS, port, protocol)
                allowed = before | self.allowed[port]
                with self._paused:
                    self.outcome.asked += 1
                    if answer not in allowed:
                        self.outcome.misdirected.append(
                            f"port {port}: {answer}, and not {sorted(allowed)}"
                        )

    # Changes

    def change(self) -> None:
        """One change, perhaps killed, and healed then."""
        name, command = self.random.choice(self._changes())
        self.outcome.changes[name] += 1
        after = dict(self.now)
        arguments = command(after)
        for port in PORTS:
            self.allowed[port] = {self.now[port], after[port]}
        killed = self.random.random() < _KILLED and self._killed(arguments)
        if killed:
            self.outcome.killed += 1
            self.host.ok("apply" if name != "load" else "load")
            after = self._written
        elif arguments:
            done = self.host.run(*arguments)
            assert done.status == EXIT_OK, (arguments, done.text)
        self.now = after
        self.allowed = {port: {label} for port, label in after.items()}

    def _killed(self, arguments: list[str]) -> bool:
        process = subprocess.Popen(
            self.host.command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(self.random.random() * _LONGEST)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL

    def write(self, rules: dict[int, str]) -> None:
        self._written = dict(rules)
        lines: list[str] = []
        for label in LABELS:
            lines.append(f"[{label}]")
            for port, owner in rules.items():
                if owner == label:
                    lines += [f"Bind={it} 192.0.2.0/24 {port}" for it in ("tcp", "udp")]
            # So that no label is ever without a rule, and its counters stay.
            lines.append(f"Bind=tcp 198.51.100.{1 + LABELS.index(label)} 9")
            lines.append(f"Bind=udp 198.51.100.{1 + LABELS.index(label)} 9")
        self.host.conf(*lines)

    def _changes(self) -> list[tuple[str, Callable[[dict[int, str]], list[str]]]]:
        return [
            ("apply", self._apply),
            ("apply", self._apply),
            ("load", lambda _: ["load"]),
            ("upgrade", lambda _: ["upgrade"]),
            ("weight", lambda _: ["weight", self.random.choice(LABELS), "7"]),
            ("metrics", lambda _: ["metrics", "--output", f"{self.host.root}/m.prom"]),
            ("trace", lambda _: ["trace", "--seconds", "0"]),
            ("apply again", lambda _: ["apply"]),
        ]

    def _apply(self, after: dict[int, str]) -> list[str]:
        for port in self.random.sample(list(PORTS), 2):
            after[port] = self.random.choice(LABELS)
        self.write(after)
        return ["apply"]

    # Figures

    def counted(self) -> int:
        return sum(
            destination["counters"]["lookups"]
            for destination in self.host.json("status")["destinations"]
        )

    def pins(self) -> int:
        self.host.ok("apply")
        return len(list(self.host.home.rglob("*")))


def run(seconds: float, seed: int, directory: Path) -> Outcome:
    """Change a host of its own below ``directory`` for so long."""
    patch = pytest.MonkeyPatch()
    with Namespace() as namespace, bpffs() as pins, ExitStack() as stack:
        namespace.add_local("192.0.2.0/24")
        host = Host(namespace, pins, directory, patch)
        stack.callback(patch.undo)
        stack.callback(host.close)
        soak = Soak(host, seed)
        soak.write(soak.now)
        host.ok("load")
        for number, label in enumerate(LABELS):
            for protocol in (TCP, UDP):
                stack.enter_context(host.serve(label, "127.0.0.1", 8080 + number, protocol))
        # Nobody else is to get anything.
        for port in PORTS:
            stack.enter_context(namespace.serve("nobody", "0.0.0.0", port))
        # As many generations as are kept.
        for label in ("two", "one"):
            soak.now = dict.fromkeys(PORTS, label)
            soak.write(soak.now)
            host.ok("apply")
        soak.allowed = {port: {label} for port, label in soak.now.items()}
        before = soak.pins()
        with soak.asking():
            end = time.monotonic() + seconds
            while time.monotonic() < end and not soak.outcome.misdirected:
                soak.change()
        soak.outcome.counted = soak.counted()
        soak.outcome.pins = before, soak.pins()
        return soak.outcome

"""What a step is made of, and how it is played: done, printed and compared.

Every action raises NotShownError when what it sees differs from what the script says.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.netns import TCP, UDP
from tests.sandbox import Sandbox

WIDTH = 96
EVERY = range(1, 65536)
SYSTEM = range(1, 1025)  # where the ports of the demo's rules lie


class NotShownError(Exception):
    """A step did not show what it says; the text says what was seen instead."""


class Action(Protocol):
    """One thing that a step does."""

    def play(self, box: Sandbox) -> None:
        """Do it in the box and print what is seen."""


@dataclass(frozen=True)
class Type:
    """An operator's command line. Its output must contain each of ``shows``."""

    line: str
    shows: Sequence[str] = ()
    status: int = 0

    def play(self, box: Sandbox) -> None:
        print(strong(f"    # {self.line}"))
        box.run(["journalctl", "--sync"])  # what happened before shows in the journal
        done = box.run(
            ["bash", "-c", f"exec 2>&1\n{self.line}"], check=False, env={"COLUMNS": str(WIDTH - 4)}
        )
        print(textwrap.indent(done.stdout, "    "), end="")
        if done.returncode != self.status:
            raise NotShownError(f"'{self.line}' ended with {done.returncode}, not {self.status}")
        for text in self.shows:
            if text not in done.stdout:
                raise NotShownError(f"the output of '{self.line}' does not say '{text}'")


@dataclass(frozen=True)
class Ask:
    """A client, and the last line of the answer that it must get."""

    address: str
    port: int
    answer: str
    protocol: int = TCP
    request: bytes = b""

    def play(self, box: Sandbox) -> None:
        name = {TCP: "tcp", UDP: "udp"}[self.protocol]
        where = f"{name} {self.address} {self.port}"
        reply = box.ask(self.address, self.port, self.protocol, request=self.request)
        answer = reply.splitlines()[-1]
        print(f"    client  {where:<22}  {answer}")
        if answer != self.answer:
            raise NotShownError(f"the client of {where} was told '{answer}', not '{self.answer}'")


@dataclass(frozen=True)
class Scan:
    """A TCP connect scan of addresses, and the ports that it must find open on each."""

    open: Mapping[str, Collection[int]]
    ports: range = SYSTEM

    def play(self, box: Sandbox) -> None:
        found = {address: box.scan(address, self.ports) for address in self.open}
        pairs = (f"{address}  {ports_text(ports)}" for address, ports in found.items())
        print(f"    scan    {' | '.join(pairs)}")
        for address, ports in found.items():
            if ports != list(self.open[address]):
                expected = ports_text(self.open[address])
                raise NotShownError(f"open on {address}: {ports_text(ports)}, and not: {expected}")


@dataclass(frozen=True)
class Step:
    """Part of the demo: what it shows, in a few words and in a sentence or two."""

    title: str
    text: str
    actions: Sequence[Action]

    def play(self, box: Sandbox, number: int) -> None:
        """Play all actions, with the step's number and words ahead of them."""
        print()
        print(strong(f"{number:2}  {self.title}"))
        print(textwrap.fill(self.text, WIDTH, initial_indent="    ", subsequent_indent="    "))
        before: Action | None = None
        for action in self.actions:
            if isinstance(action, Type) or before is None or isinstance(before, Type):
                print()
            action.play(box)
            before = action
            sys.stdout.flush()


def ports_text(ports: Collection[int]) -> str:
    """Port numbers for people; of many only the first few and the number."""
    if len(ports) == len(EVERY):
        return "all 65535"
    first = " ".join(str(port) for port in sorted(ports)[:8])
    return f"{first} ... ({len(ports)})" if len(ports) > 8 else first or "-"


def strong(text: str) -> str:
    """Bold on a terminal that wants it (https://no-color.org), plain elsewhere."""
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        return f"\033[1m{text}\033[0m"
    return text

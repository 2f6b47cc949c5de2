"""Decisions of the program as an operator reads them: rule, socket, outcome."""

from __future__ import annotations

import errno
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from sockreg.errors import UsageError
from sockreg.host import links
from sockreg.host.listener import address_text, cookie_text
from sockreg.model import ACTION_NAMES, FAMILY_BITS, PROTOCOL_NAMES, Action, Binding, Packet
from sockreg.registry import generations
from sockreg.registry.maps import Maps
from sockreg.registry.members import Member, member_in
from sockreg.registry.tracing import Decision
from sockreg.registry.winners import Winners
from sockreg.rules.syntax import format_rule
from sockreg.terms import NO_UNIT
from sockreg.views import rules
from sockreg.views.rules import Filter


class Outcome(StrEnum):
    """What the program did with a packet."""

    SOCKET = "socket"  # handed over to a registered socket
    REJECT = "reject"  # refused by a rule
    NO_SOCKET = "no-socket"  # refused: nothing is registered, or all are drained
    ERROR = "error"  # refused: the kernel does not take the registered socket
    PASSED = "passed"  # left to ordinary lookup


# Why the kernel refuses a socket: bpf_sk_lookup_assign() in net/core/filter.c
_ERRORS = {
    errno.ESOCKTNOSUPPORT: "it was shut down, or connected to one peer",
    errno.EAFNOSUPPORT: "it is of another address family",
    errno.EPROTOTYPE: "it is of another protocol",
}


@dataclass(frozen=True, kw_only=True)
class Told:
    """A decision. ``time`` is s since the epoch.

    ``rule`` and the fields after it are those of the rule that won, None if none did. ``cookie``
    and ``unit`` belong to the selected socket. ``why`` says more of some outcomes.
    """

    time: float
    protocol: str
    source: str
    source_port: int
    address: str
    port: int
    interface: str | None
    outcome: Outcome
    rule: str | None
    action: str | None
    label: str | None
    file: str | None
    line: int | None
    cookie: str | None
    unit: str | None
    why: str


class Wanted(NamedTuple):
    """Which decisions to tell: those that meet every condition. Addresses are the packet's."""

    rules: Filter = Filter()
    outcomes: frozenset[Outcome] = frozenset()

    def shows(self, told: Told, decision: Decision) -> bool:
        if self.outcomes and told.outcome not in self.outcomes:
            return False
        rules = self.rules
        return (
            rules.label in (None, told.label)
            and rules.protocol in (None, decision.protocol)
            and (rules.prefix is None or _inside(decision, *rules.prefix))
            and (
                rules.ports is None
                or any(first <= decision.port <= last for first, last in rules.ports)
            )
        )


def outcomes_of(words: list[str]) -> frozenset[Outcome]:
    """Raises UsageError if one is unknown."""
    try:
        return frozenset(map(Outcome, words))
    except ValueError:
        known = ", ".join(Outcome)
        raise UsageError(f"trace: the outcomes are {known}") from None


def _inside(decision: Decision, family: int, address: int, length: int) -> bool:
    host_bits = FAMILY_BITS[family] - length
    return decision.family == family and decision.address >> host_bits == address >> host_bits


class Reader:
    """Tells what decisions mean, by the rules of one generation and the sockets that there are."""

    def __init__(self, registry: str, generation: generations.Generation) -> None:
        self._registry = registry
        self.record = generations.read_rules(generation)
        self.winners = Winners(self.record)
        self._names: dict[int, str] = {}
        self._members: dict[int, Member | None] = {}
        self._since_epoch = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)

    def refresh(self) -> None:
        """Forget what may have changed: sockets and interfaces."""
        self._members.clear()
        self._names.clear()

    def told(self, decision: Decision) -> tuple[int | None, Told]:
        """The position of the rule that won, and all in words."""
        packet = Packet(
            decision.protocol,
            decision.family,
            decision.address,
            decision.port,
            decision.source,
        )
        position = self.winners.of(packet, decision.interface)
        rule = None if position is None else self.winners[position]
        member = self._member(decision.member) if decision.member else None
        outcome, why = _outcome(rule, decision)
        told = Told(
            time=self._since_epoch + decision.time / 1e9,
            protocol=PROTOCOL_NAMES[decision.protocol],
            source=_text(decision.family, decision.source),
            source_port=decision.source_port,
            address=_text(decision.family, decision.address),
            port=decision.port,
            interface=self._interface(decision.interface),
            outcome=outcome,
            rule=None if rule is None else format_rule(rule),
            action=None if rule is None else ACTION_NAMES[rule.action],
            label=None if rule is None else rule.label,
            file=None if rule is None else rule.place.path,
            line=None if rule is None else rule.place.line,
            cookie=None if member is None else cookie_text(member.cookie),
            unit=None if member is None or member.unit == NO_UNIT else member.unit,
            why=why,
        )
        return position, told

    def _member(self, slot: int) -> Member | None:
        if slot not in self._members:
            with Maps(self._registry, read_only=True) as maps:
                self._members[slot] = member_in(maps, slot)
        return self._members[slot]

    def _interface(self, index: int) -> str | None:
        if index not in self._names:
            self._names[index] = links.name_of(index) if index else ""
        return self._names[index] or None


def _text(family: int, address: int) -> str:
    return socket.inet_ntop(family, address.to_bytes(FAMILY_BITS[family] // 8, "big"))


def _outcome(rule: Binding | None, decision: Decision) -> tuple[Outcome, str]:
    if rule is None:
        return Outcome.PASSED, "no rule matches"
    if rule.action is not Action.BIND:
        rejected = rule.action is Action.REJECT
        return (Outcome.REJECT if rejected else Outcome.PASSED), ""
    if decision.member and not decision.error:
        return Outcome.SOCKET, ""
    if decision.error:
        why = _ERRORS.get(decision.error, errno.errorcode.get(decision.error, "unknown error"))
        outcome, why = Outcome.ERROR, f"the kernel refuses the socket: {why}"
    else:
        outcome, why = Outcome.NO_SOCKET, "no socket"
    if rule.missing_pass:
        return Outcome.PASSED, f"{why}; missing=pass"
    return outcome, why


def line(told: Told) -> str:
    """One line for a person."""
    when = time.strftime("%H:%M:%S", time.localtime(told.time))
    micros = round(told.time % 1 * 1e6) % 10**6
    on = f" dev {told.interface}" if told.interface else ""
    family = socket.AF_INET6 if ":" in told.address else socket.AF_INET
    packet = (
        f"{when}.{micros:06} {told.protocol} "
        f"{address_text(family, told.source, told.source_port)} > "
        f"{address_text(family, told.address, told.port)}{on}"
    )
    where = f" ({told.file}:{told.line})" if told.rule is not None else ""
    rule = f"{told.action} {told.label}: {told.rule}{where}" if told.rule is not None else ""
    end = told.outcome.value
    if told.cookie is not None:
        end = f"{end} {told.cookie}" + (f" of {told.unit}" if told.unit else "")
    if told.why:
        end = f"{end}: {told.why}"
    return f"{packet}  {end}" + (f"  [{rule}]" if rule else "")


_TOP = 10  # of each kind in a summary


@dataclass
class Summary:
    """Counts of decisions. ``rules`` are by their position in the record."""

    total: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    rules: Counter[int] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    ports: Counter[tuple[str, int]] = field(default_factory=Counter)

    def add(self, position: int | None, told: Told) -> None:
        self.total += 1
        self.outcomes[told.outcome] += 1
        if position is not None:
            self.rules[position] += 1
        self.sources[told.source] += 1
        self.ports[told.protocol, told.port] += 1


@dataclass(frozen=True)
class Count:
    """How many decisions were about something, and how many in a second."""

    what: str
    decisions: int
    rate: float


@dataclass(frozen=True, kw_only=True)
class Totals:
    """A Summary in words, the most frequent first. ``one_in`` is the sample."""

    seconds: float
    one_in: int
    total: int
    outcomes: list[Count]
    rules: list[Count]
    sources: list[Count]
    ports: list[Count]


def summary(reader: Reader, counted: Summary, seconds: float, one_in: int) -> Totals:
    """The most frequent of each kind."""
    span = max(seconds, 1e-6)

    def ranked(found: list[tuple[str, int]]) -> list[Count]:
        return [Count(what, count, count / span) for what, count in found]

    hit = [(reader.winners[at], count) for at, count in counted.rules.most_common(_TOP)]
    return Totals(
        seconds=seconds,
        one_in=one_in,
        total=counted.total,
        outcomes=ranked([(it.value, count) for it, count in counted.outcomes.most_common()]),
        rules=ranked([(f"{rules.line(rule)} ({rule.place})", count) for rule, count in hit]),
        sources=ranked(counted.sources.most_common(_TOP)),
        ports=ranked(
            [
                (f"{protocol} {port}", count)
                for (protocol, port), count in counted.ports.most_common(_TOP)
            ]
        ),
    )

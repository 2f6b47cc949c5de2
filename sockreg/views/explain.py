"""Where a packet goes and why: the kernel's verdict, and the rules behind it."""

import socket
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from sockreg import processes
from sockreg.commands.context import Context
from sockreg.kernel import layout, sklookup, sockdiag, syscall
from sockreg.kernel.listener import address_text
from sockreg.model import TCP, Action, Binding, Packet
from sockreg.registry import generations, record, sockets
from sockreg.rules.oracle import ranking
from sockreg.rules.precedence import rank
from sockreg.rules.reasons import why_first
from sockreg.rules.syntax import format_rule
from sockreg.views.ordinary import receiver


class Outcome(StrEnum):
    """What becomes of the packet."""

    SOCKET = "socket"  # a registered socket gets it
    REFUSED = "refused"  # RST or ICMP port unreachable
    ORDINARY = "ordinary"  # no rule decides: ordinary lookup finds the socket below
    NOBODY = "nobody"  # no rule decides and nobody listens: refused by the kernel itself


@dataclass(frozen=True)
class Query:
    """A packet: addresses in canonical text; ``interface`` is a name or None."""

    protocol: int
    family: int
    address: str
    port: int
    source: str
    source_port: int
    interface: str | None


@dataclass(frozen=True)
class Beaten:
    """A rule that matches too, and why the one before it in the ranking is preferred."""

    rule: str
    label: str
    action: str
    place: str
    reason: str


@dataclass(frozen=True)
class Target:
    """The socket that gets the packet. ``unit`` is the registrant, or of its cgroup."""

    cookie: str
    address: str
    unit: str
    processes: list[str]


@dataclass(frozen=True)
class Explanation:
    """``asked`` says whether the live program gave the verdict, else why it could not be.

    ``agrees`` is False if rules and program differ, which is a bug to report.
    """

    outcome: Outcome
    asked: str
    agrees: bool
    rule: str | None
    action: str | None
    label: str | None
    place: str | None
    reason: str
    beaten: list[Beaten]
    target: Target | None
    members: int = 0
    notes: list[str] = field(default_factory=list)


def explain(context: Context, query: Query) -> Explanation:
    """Explain what becomes of a packet in the context's network namespace.

    Counts as a lookup of the label, since the live program runs. SockregError if the
    registry may not be read.
    """
    registry = context.loaded_registry()
    current = generations.in_force(registry)
    rules = record.decode_bindings(generations.read_rules(current)) if current else []
    matching = ranking(rules, _packet(query))
    winner = matching[0] if matching else None
    maps = sockets.Maps(registry, syscall.READ_ONLY)
    try:
        members = _members(maps, winner)
    finally:
        maps.close()
    verdict, asked = _ask(current, query)
    expected = _expected(winner, members)
    outcome, cookie = (expected, None) if verdict is None else _outcome(verdict)
    if outcome is Outcome.SOCKET and cookie is None and members:
        cookie = members[0].cookie
    target = None
    if outcome is Outcome.SOCKET:
        target = _registered(members, cookie or 0)
    elif outcome is Outcome.ORDINARY:
        target = _ordinary(query)
        outcome = Outcome.ORDINARY if target else Outcome.NOBODY
    return Explanation(
        outcome,
        asked,
        verdict is None or _agree(outcome, expected),
        format_rule(winner) if winner else None,
        winner.action.name.lower() if winner else None,
        winner.label if winner else None,
        str(winner.place) if winner else None,
        _reason(winner, members, outcome),
        [_beaten(first, other) for first, other in pairwise(matching)],
        target,
        len(members),
    )


def _packet(query: Query) -> Packet:
    return Packet(
        query.protocol,
        query.family,
        int.from_bytes(socket.inet_pton(query.family, query.address), "big"),
        query.port,
        int.from_bytes(socket.inet_pton(query.family, query.source), "big"),
        query.interface,
    )


def _members(maps: sockets.Maps, winner: Binding | None) -> list[sockets.Member]:
    if winner is None or winner.action is not Action.BIND:
        return []
    slot = sockets.find_slot(maps, winner.label, winner.family, winner.protocol)
    return [] if slot is None else sockets.members_of(maps, slot)


def _ask(
    current: generations.Generation | None, query: Query
) -> tuple[sklookup.Verdict | None, str]:
    if current is None:
        return None, "no program is attached"
    if query.interface is not None:
        return None, "the kernel takes no interface in a test run; this is what the rules say"
    try:
        with generations.pinned(str(current.path / "program")) as program:
            verdict = sklookup.ask(
                program,
                query.family,
                query.protocol,
                (query.address, query.port),
                (query.source, query.source_port),
            )
    except OSError as error:
        return None, f"the program cannot be run: {error.strerror}; this is what the rules say"
    return verdict, "the kernel's verdict"


def _outcome(verdict: sklookup.Verdict) -> tuple[Outcome, int | None]:
    if verdict.cookie:
        return Outcome.SOCKET, verdict.cookie
    return (Outcome.ORDINARY if verdict.passed else Outcome.REFUSED), None


def _expected(winner: Binding | None, members: list[sockets.Member]) -> Outcome:
    if winner is None or winner.action is Action.PASS:
        return Outcome.ORDINARY
    if winner.action is Action.REJECT:
        return Outcome.REFUSED
    if any(member.weight > 0 for member in members):
        return Outcome.SOCKET
    return Outcome.ORDINARY if winner.missing_pass else Outcome.REFUSED


def _agree(outcome: Outcome, expected: Outcome) -> bool:
    return (Outcome.ORDINARY if outcome is Outcome.NOBODY else outcome) is expected


def _reason(winner: Binding | None, members: list[sockets.Member], outcome: Outcome) -> str:
    if winner is None:
        return "no rule matches"
    if winner.action is Action.REJECT:
        return "a reject rule refuses it"
    if winner.action is Action.PASS:
        return "a pass rule leaves it alone"
    if outcome is Outcome.SOCKET:
        return "the rule's label has a socket"
    why = "its sockets are all drained" if members else "it has no socket"
    then = "the rule says missing=pass" if winner.missing_pass else "that is a miss"
    return f"label {winner.label}: {why}; {then}"


def _beaten(first: Binding, other: Binding) -> Beaten:
    reason = (
        f"behind the one above because {why_first(first, other)}"
        if rank(first) != rank(other)
        else "says the same"
    )
    return Beaten(
        format_rule(other), other.label, other.action.name.lower(), str(other.place), reason
    )


def _registered(members: list[sockets.Member], cookie: int) -> Target:
    for member in members:
        if member.cookie == cookie:
            return Target(layout.cookie_text(cookie), member.address, member.unit, _holders(cookie))
    return Target(layout.cookie_text(cookie), "", sockets.NO_UNIT, _holders(cookie))


def _ordinary(query: Query) -> Target | None:
    interface = socket.if_nametoindex(query.interface) if query.interface else 0
    found = receiver(
        sockdiag.receiving(), query.family, query.protocol, query.address, query.port, interface
    )
    if found is None:
        return None
    return Target(
        layout.cookie_text(found.cookie),
        address_text(found.family, found.address, found.port),
        processes.unit_of_cgroup_id(found.cgroup) if found.cgroup else sockets.NO_UNIT,
        _names(found.inode),
    )


def _holders(cookie: int) -> list[str]:
    for found in sockdiag.receiving():
        if found.cookie == cookie:
            return _names(found.inode)
    return []


def _names(inode: int) -> list[str]:
    return [str(process) for process, _ in processes.holders([inode]).by_inode.get(inode, [])]


def refused_how(protocol: int) -> str:
    """What the client sees."""
    return "RST" if protocol == TCP else "ICMP port unreachable"

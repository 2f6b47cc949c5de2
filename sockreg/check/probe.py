"""The probe: what UDP servers answer a client of this host through a rule, and what a client from
elsewhere gets by TCP.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import NamedTuple

from sockreg.host import datagram, outside
from sockreg.host.datagram import CLIENT, Answer, Question
from sockreg.host.outside import NoClientError, Target, client_address
from sockreg.model import FAMILY_BITS, TCP, UDP, Action, Binding, Destination, Packet
from sockreg.registry.members import Member
from sockreg.rules.oracle import decide
from sockreg.rules.prefixes import format_prefix
from sockreg.rules.taken import is_conditional
from sockreg.views.locality import Local
from sockreg.views.situation import Situation

_PATIENCE = 1.0  # seconds
_LONGER = 3.5  # seconds; a SYN that was lost is sent again after one second, then after two
_DNS_ID = b"\x5c\x06"
# A query for the name servers of the root (RFC 1035), and a request of an NTP client (RFC 5905).
_QUESTIONS = {
    53: ("a DNS query", _DNS_ID + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01"),
    123: ("an NTP request", b"\x23" + bytes(47)),
}
_OTHER = ("a line of text", b"sockreg check --probe\n")


class Probe(NamedTuple):
    """A datagram that a rule led to a label, what it was, and what came back."""

    binding: Binding
    kind: str
    question: Question
    answer: Answer


class Visit(NamedTuple):
    """A rule that a client from elsewhere has tried by TCP, and what it got: see host/outside.py.

    Without an ``outcome``, ``why`` says why nobody tried.
    """

    binding: Binding
    target: Target
    outcome: str
    why: str = ""


def visit(there: Situation) -> list[Visit]:
    """Connect through one rule of each TCP destination that has a usable socket."""
    bindings = [binding for binding in there.bindings if binding.protocol == TCP]
    try:
        link = outside.new_link()
    except NoClientError as error:
        return _unvisited(there, bindings, str(error))
    clients = {family: _number(client_address(link, family)) for family in FAMILY_BITS}
    tried = _targets(there, bindings, clients)
    if not tried:
        return []
    try:
        outcomes = outside.connect(link, [target for _, target in tried], _LONGER)
    except NoClientError as error:
        return _unvisited(there, bindings, str(error))
    return [Visit(*one, outcome) for one, outcome in zip(tried, outcomes, strict=True)]


def _unvisited(there: Situation, bindings: list[Binding], why: str) -> list[Visit]:
    """That no client could try, said once."""
    clients = {family: _number(address) for family, address in CLIENT.items()}
    tried = _targets(there, bindings, clients)
    return [Visit(*tried[0], "", why)] if tried else []


def _targets(
    there: Situation, bindings: list[Binding], clients: Mapping[int, int]
) -> list[tuple[Binding, Target]]:
    found: dict[Destination, tuple[Binding, Target]] = {}
    for binding in bindings:
        members = there.usable.get(binding.destination, [])
        if binding.action is Action.BIND and members and binding.destination not in found:
            client = clients[binding.family]
            for _, question in _questions(there, bindings, binding, members, client):
                found[binding.destination] = binding, Target(*question[:3])
                break
    return list(found.values())


def probe(there: Situation) -> list[Probe]:
    """Ask through one rule of each UDP destination that has a usable socket."""
    bindings = [binding for binding in there.bindings if binding.protocol == UDP]
    asked: dict[Destination, tuple[Binding, str, Question]] = {}
    for binding in bindings:
        members = there.usable.get(binding.destination, [])
        if binding.action is Action.BIND and members and binding.destination not in asked:
            client = _number(CLIENT[binding.family])
            for kind, question in _questions(there, bindings, binding, members, client):
                asked[binding.destination] = binding, kind, question
                break

    def is_steered(family: int, port: int) -> bool:
        address = _number(CLIENT[family])
        return decide(bindings, Packet(UDP, family, address, port, address)) is not None

    answers = datagram.ask([one[2] for one in asked.values()], _PATIENCE, is_steered)
    return [
        Probe(binding, kind, question, answer)
        for (binding, kind, question), answer in zip(asked.values(), answers, strict=True)
    ]


def _questions(
    there: Situation,
    bindings: list[Binding],
    binding: Binding,
    members: list[Member],
    client: int,
) -> Iterator[tuple[str, Question]]:
    """What a client can ask through a rule: local addresses that no other rule takes."""
    if is_conditional(binding):
        return
    ports = [member.port for member in members if binding.first <= member.port <= binding.last]
    port = ports[0] if ports else binding.first
    bits = FAMILY_BITS[binding.family]
    for offset in (1, 0) if binding.length < bits else (0,):
        address = binding.address + offset
        packet = Packet(binding.protocol, binding.family, address, port, client)
        local = there.local.of(binding.family, address, bits) is Local.ALL
        if local and decide(bindings, packet) == binding:
            kind, text = _QUESTIONS.get(port, _OTHER)
            where = format_prefix(binding.family, address, bits)
            yield kind, Question(binding.family, where, port, text)


def _number(address: str) -> int:
    return int(ip_address(address))

"""The probe: what UDP servers answer a client of this host through a rule."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

from sockreg.host import datagram
from sockreg.host.datagram import CLIENT, Answer, Question
from sockreg.model import FAMILY_BITS, UDP, Action, Binding, Destination, Packet
from sockreg.registry.members import Member
from sockreg.rules.oracle import decide
from sockreg.rules.prefixes import format_prefix
from sockreg.rules.taken import is_conditional
from sockreg.views.locality import Local
from sockreg.views.situation import Situation

_PATIENCE = 1.0  # seconds
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


def probe(there: Situation) -> list[Probe]:
    """Ask through one rule of each UDP destination that has a usable socket."""
    bindings = [binding for binding in there.bindings if binding.protocol == UDP]
    asked: dict[Destination, tuple[Binding, str, Question]] = {}
    for binding in bindings:
        members = there.usable.get(binding.destination, [])
        if binding.action is Action.BIND and members and binding.destination not in asked:
            for kind, question in _questions(there, bindings, binding, members):
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
    there: Situation, bindings: list[Binding], binding: Binding, members: list[Member]
) -> Iterator[tuple[str, Question]]:
    """What can be asked through a rule: local addresses that no other rule takes."""
    if is_conditional(binding):
        return
    ports = [member.port for member in members if binding.first <= member.port <= binding.last]
    port = ports[0] if ports else binding.first
    bits = FAMILY_BITS[binding.family]
    client = _number(CLIENT[binding.family])
    for offset in (1, 0) if binding.length < bits else (0,):
        address = binding.address + offset
        packet = Packet(UDP, binding.family, address, port, client)
        local = there.local.of(binding.family, address, bits) is Local.ALL
        if local and decide(bindings, packet) == binding:
            kind, text = _QUESTIONS.get(port, _OTHER)
            where = format_prefix(binding.family, address, bits)
            yield kind, Question(binding.family, where, port, text)


def _number(address: str) -> int:
    return int(ip_address(address))

"""What listens where: ordinary sockets and steered prefixes in one list."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sockreg.context import Context
from sockreg.host import links
from sockreg.host.listener import cookie_text
from sockreg.host.sockdiag import DiagSocket
from sockreg.model import ACTION_NAMES, INET6, PROTOCOL_NAMES, Action, Binding
from sockreg.registry.members import Member
from sockreg.rules.byport import ByPort
from sockreg.rules.ending import format_time
from sockreg.rules.prefixes import format_prefix
from sockreg.rules.syntax import format_conditions, format_ports
from sockreg.rules.taken import takers
from sockreg.views.bound import arriving, unanswered
from sockreg.views.health import ailment, why_closed
from sockreg.views.locality import BROADCAST, Local
from sockreg.views.situation import Situation, endpoints, name_of, read

_SHOWN = 5  # rules that take from one socket


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """A rule that takes packets away from a socket. ``whole``: all of its packets."""

    action: str
    label: str
    prefix: str
    conditions: str
    whole: bool
    place: str


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A socket that receives packets without a connection.

    ``labels`` are those that it is registered under. ``problem`` says why it does not serve, or is
    empty. ``shadows`` are in the order of the prefixes.
    """

    protocol: str
    local: str
    port: int
    cookie: str
    unit: str
    processes: list[str]
    labels: list[str]
    shadows: list[Shadow]
    problem: str


class Steered(NamedTuple):
    """A rule, shown like a listener.

    ``sockets`` are the cookies of the sockets that get its packets. ``problems`` are sentences that
    say why none does. ``until`` is when it ends by itself, as in files; None if it does not.
    """

    protocol: str
    local: str
    first_port: int
    action: str
    label: str
    conditions: str
    sockets: list[str]
    place: str
    problems: list[str]
    until: str | None


@dataclass(frozen=True, kw_only=True)
class Listeners:
    """``loaded`` is False without a registry: nothing is steered then."""

    loaded: bool
    listeners: list[Listener]
    steered: list[Steered]
    hidden_processes: int


def read_listeners(context: Context) -> Listeners:
    """Raises SockregError if the kernel refuses, or the registry cannot be read."""
    situation = read(context)
    rules = ByPort(situation.bindings)
    inner = links.above({rule.interface for rule in situation.bindings if rule.interface})
    return Listeners(
        loaded=situation.loaded,
        listeners=[_listener(situation, rules, sock) for sock in situation.there],
        steered=[
            *(_steered(situation, binding, inner) for binding in situation.bindings),
            *(_pending(_steered(situation, binding, {}), binding) for binding in situation.pending),
        ],
        hidden_processes=situation.holders.hidden,
    )


def _listener(situation: Situation, rules: ByPort, sock: DiagSocket) -> Listener:
    holders = situation.held_by(sock)
    device = (
        f"%{situation.interface_names.get(sock.interface, sock.interface)}"
        if sock.interface
        else ""
    )
    return Listener(
        protocol=PROTOCOL_NAMES[sock.protocol],
        local=name_of(sock._replace(address=sock.address + device)),
        port=sock.port,
        cookie=cookie_text(sock.cookie),
        unit=situation.unit_of(sock),
        processes=[str(process) for process in holders],
        labels=sorted(situation.labels_for(sock)),
        shadows=list(shadows(situation, rules, sock)),
        problem=ailment(sock, [] if situation.holders.hidden else holders, sock.protocol),
    )


def shadows(situation: Situation, rules: ByPort, sock: DiagSocket) -> Iterable[Shadow]:
    """The rules that take packets away from an ordinary socket."""
    for endpoint in endpoints(sock):
        for taker in takers(rules, endpoint, lambda rule: situation.leaves(sock, rule)):
            binding = taker.binding
            yield Shadow(
                action=ACTION_NAMES[binding.action],
                label=binding.label,
                prefix=format_prefix(binding.family, binding.address, binding.length),
                conditions=format_conditions(binding),
                whole=taker.whole,
                place=str(binding.place),
            )


def _pending(steered: Steered, binding: Binding) -> Steered:
    waits = f"pending: there is no interface {binding.interface}"
    return steered._replace(problems=[waits, *steered.problems])


def _steered(situation: Situation, binding: Binding, inner: Mapping[str, links.Above]) -> Steered:
    named = [binding.interface] if binding.interface else []
    on = arriving(binding.interface, links.indices_of(named), inner)
    prefix = format_prefix(binding.family, binding.address, binding.length)
    bracketed = f"[{prefix}]" if binding.family == INET6 else prefix
    bound = binding.action is Action.BIND
    destination = binding.destination
    usable = situation.usable.get(destination, []) if bound else []
    problems = []
    if bound and not usable:
        unclear = situation.unclear(destination)
        lack = _lack(situation.members.get(destination, []), binding.protocol)
        if unclear:
            lack = f"it does not say which listener it means: {' or '.join(unclear)}"
        then = "left to ordinary lookup" if binding.missing_pass else "refused"
        problems.append(f"{lack}: {then}")
    end = situation.ends.get(binding.place)
    addresses = binding.family, binding.address, binding.length
    if situation.local.is_broadcast(*addresses):
        problems.append(f"a broadcast address, so it never matches: {BROADCAST}")
    elif situation.local.of(*addresses) is Local.NONE:
        problems.append(f"not local, so nothing arrives: {situation.local.remedy(*addresses)}")
    if binding.interface is not None and binding.interface in inner:
        above = inner[binding.interface]
        problems.append(f"never matches: {above.sentence}; write dev {above.name}")
    for member in usable:
        sock = situation.by_cookie[member.cookie]
        wrong = unanswered(sock.interface, situation.interface_names, on)
        if wrong:
            problems.append(f"{cookie_text(member.cookie)} is {wrong}")
    return Steered(
        protocol=PROTOCOL_NAMES[binding.protocol],
        local=f"{bracketed}:{format_ports(binding.first, binding.last)}",
        first_port=binding.first,
        action=ACTION_NAMES[binding.action],
        label=binding.label,
        conditions=format_conditions(binding),
        sockets=[cookie_text(member.cookie) for member in usable],
        place=str(binding.place),
        problems=problems,
        until=None if end is None else format_time(end),
    )


def _lack(members: Collection[Member], protocol: int) -> str:
    """Why new packets reach none of a label's members."""
    if not members:
        return "the label has no socket"
    if not any(member.weight for member in members):
        return "the label's sockets are all drained"
    return f"the label's socket {why_closed(protocol)}"


def summed_up(found: list[Shadow]) -> list[str]:
    """One sentence for each rule that takes packets from a socket; only the first if there are
    many.
    """
    lines = []
    for shadow in found[:_SHOWN]:
        goes = f"goes to label {shadow.label}" if shadow.action == "bind" else "is refused"
        part = f"{shadow.prefix} {shadow.conditions}".rstrip()
        what = "everything" if shadow.whole else f"traffic to {part}"
        lines.append(f"{what} {goes} by {shadow.place}")
    if len(found) > _SHOWN:
        lines.append(f"and {len(found) - _SHOWN} more rules take from it")
    return lines

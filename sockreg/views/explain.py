"""Where a packet goes and why: the kernel's verdict, and the rules behind it."""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from sockreg.context import Context
from sockreg.errors import AccessError, UsageError
from sockreg.host import cgroup, links, packetfilter, processes, routes, sockdiag
from sockreg.host.listener import address_text, cookie_text
from sockreg.model import (
    ACTION_NAMES,
    ANY_ADDRESS,
    FAMILY_BITS,
    INET,
    INET6,
    PROTOCOL_NAMES,
    TCP,
    Action,
    Binding,
    Packet,
)
from sockreg.registry import attachment, chain, choice, generation_record, generations
from sockreg.registry.destinations import find_slot
from sockreg.registry.label_members import several_listeners
from sockreg.registry.maps import Maps
from sockreg.registry.members import Member, members_of, shares_of
from sockreg.rules.ending import format_time
from sockreg.rules.listener import unclear_text
from sockreg.rules.oracle import matches
from sockreg.rules.precedence import rank
from sockreg.rules.reasons import why_first
from sockreg.rules.syntax import format_rule
from sockreg.rules.unasked import why_unasked
from sockreg.terms import NO_UNIT
from sockreg.views import ahead, rules
from sockreg.views.ahead import Filter, Flow
from sockreg.views.bound import arriving, unanswered
from sockreg.views.health import ailment, why_closed
from sockreg.views.locality import BROADCAST, Local, locality
from sockreg.views.ordinary import receiver, same_address
from sockreg.views.programs import Neighbour, Settled, alone, because, settle
from sockreg.views.situation import name_of


class Outcome(StrEnum):
    """The fate of the packet."""

    SOCKET = "socket"  # a registered socket gets it
    UNANSWERED = "unanswered"  # a registered socket is selected that cannot answer its interface
    UNREACHED = "unreached"  # it does not get to the rules
    OTHER = "other"  # another sk_lookup program selects the socket that gets it
    REFUSED = "refused"  # RST or ICMP port unreachable
    ORDINARY = "ordinary"  # no rule decides: ordinary lookup finds a socket
    NOBODY = "nobody"  # no rule decides, and no socket listens: refused by the kernel itself


@dataclass(frozen=True, kw_only=True)
class Query:
    """A packet. Addresses are in canonical text; ``interface`` is a name or None."""

    protocol: int
    family: int
    address: str
    port: int
    source: str
    source_port: int
    interface: str | None


@dataclass(frozen=True)
class Beaten:
    """Another rule that matches, and why the one before it in the ranking is preferred."""

    rule: str
    label: str
    action: str
    place: str
    reason: str


@dataclass(frozen=True)
class Target:
    """The socket that gets the packet. ``unit`` is the registrant, or the unit of its cgroup."""

    cookie: str
    address: str
    unit: str
    processes: list[str]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """``at_rules`` is the fate of a packet that gets to the rules. ``outcome`` is the same, unless
    ``before`` says why this packet stays away. ``asked`` says whether the live program gave the
    verdict, or why it could not.

    ``agrees`` is False if the rules and the program differ, which is a bug to report. ``rule`` and
    the fields after it belong to the winner; None if no rule matches. ``until`` is when that ends
    by itself, as in files; None if it does not. ``members`` counts the sockets of its label.
    ``others`` are the other programs in the order they run, None if they are
    not known. ``notes`` has further facts for the operator.
    """

    outcome: Outcome
    at_rules: Outcome
    before: list[str]
    asked: str
    agrees: bool
    rule: str | None
    action: str | None
    label: str | None
    place: str | None
    until: str | None
    reason: str
    beaten: list[Beaten]
    target: Target | None
    members: int
    others: list[Neighbour] | None
    notes: list[str]


def query_of(
    protocol: str,
    address: str,
    port: int,
    *,
    source: str | None = None,
    source_port: int = 0,
    interface: str | None = None,
) -> Query:
    """A packet from words: ``tcp``, ``192.0.2.1``, 80. Raises UsageError if they are invalid."""
    numbers = {name: number for number, name in PROTOCOL_NAMES.items()}
    if protocol not in numbers:
        raise _no_packet(f"{protocol!r} is not a protocol; use tcp or udp")
    family, address = _address(address)
    source_family, source = (family, ANY_ADDRESS[family]) if source is None else _address(source)
    if source_family != family:
        raise _no_packet(f"from {source}: of another address family than {address}")
    if not (0 < port < 65536 and 0 <= source_port < 65536):
        raise _no_packet("a port must be from 1 to 65535")
    return Query(
        protocol=numbers[protocol],
        family=family,
        address=address,
        port=port,
        source=source,
        source_port=source_port,
        interface=interface,
    )


def _address(text: str) -> tuple[int, str]:
    """The family and the canonical text of an address."""
    for family in (INET, INET6):
        try:
            return family, socket.inet_ntop(family, socket.inet_pton(family, text))
        except (OSError, ValueError):
            continue
    raise _no_packet(f"{text!r} is not an address")


def _no_packet(message: str) -> UsageError:
    return UsageError(message, "see 'sockreg explain --help'")


def explain(context: Context, query: Query) -> Explanation:
    """Explain what happens to a packet in the context's network namespace.

    Counts as a lookup of the label, because the live program runs. Other sk_lookup programs run,
    too. Raises SockregError if the
    registry cannot be read.
    """
    registry = context.loaded_registry()
    judged = generations.read_in_force(registry, lambda current: _judge(current, query))
    matching, others, verdict, asked, end = judged or _Judged(
        [], [], None, "no program is attached"
    )
    winner = matching[0] if matching else None
    with Maps(registry, read_only=True) as maps:
        members = _members(maps, winner)
        cookie = _found(maps, winner, query)
        notes_of_rule = _unclear(maps, winner)
    there = sockdiag.receiving()
    open_ones = {sock.cookie for sock in there}
    shares = shares_of(members)
    usable = [one for one in members if shares[one.unit] > 0 and one.cookie in open_ones]
    expected = _expected(winner, usable)
    if verdict is not None:
        ours, cookie = _outcome(verdict)
    elif expected is Outcome.SOCKET and cookie not in open_ones:
        ours = _missed(winner)
    else:
        ours = expected
    settled = _settled(context, registry, query, ours, cookie)
    outcome, cookie = _end(settled)
    found = _diagnosed(there, query, outcome, cookie)
    if outcome is Outcome.ORDINARY and found is None:
        outcome = Outcome.NOBODY
    target, notes = _target(members, outcome, cookie, found, query.protocol)
    if outcome is Outcome.SOCKET and found is not None:
        wrong = _unanswered(query, found)
        notes += wrong
        if wrong and (query.interface or not links.name_of(found.interface)):
            outcome = Outcome.UNANSWERED
    early, late, perhaps = _ahead(query)
    before = [*early, *_not_local(query, winner), *late] or _connected(query)
    return Explanation(
        outcome=Outcome.UNREACHED if before else outcome,
        at_rules=outcome,
        before=before,
        asked=asked,
        # A pool may select a socket that was shut down, or another one.
        agrees=ours is expected or any(member.cookie not in open_ones for member in members),
        rule=format_rule(winner) if winner else None,
        action=ACTION_NAMES[winner.action] if winner else None,
        label=winner.label if winner else None,
        place=str(winner.place) if winner else None,
        until=None if end is None else format_time(end),
        reason=because(settled, _reason(winner, members, ours)),
        beaten=[_beaten(first, other) for first, other in pairwise(matching)],
        target=target,
        members=len(members),
        others=settled.neighbours,
        notes=[
            *_arrival(query),
            *perhaps,
            *others,
            *settled.notes,
            *_passed_over(query, outcome, cookie, there),
            *_choices(outcome, members, found, there),
            *notes_of_rule,
            *notes,
        ],
    )


def _unclear(maps: Maps, winner: Binding | None) -> list[str]:
    """That the rule does not say which of several listeners it means."""
    if winner is None or winner.action is not Action.BIND or winner.listener:
        return []
    listeners = several_listeners(maps, *winner.destination[:3])
    return [unclear_text(winner.label, listeners)] if listeners else []


def _packet(query: Query, interface: str | None) -> Packet:
    return Packet(
        query.protocol,
        query.family,
        _number(query.family, query.address),
        query.port,
        _number(query.family, query.source),
        interface,
    )


def _question(query: Query) -> generations.Question:
    return generations.Question(
        family=query.family,
        protocol=query.protocol,
        local=(query.address, query.port),
        remote=(query.source, query.source_port),
    )


def _number(family: int, address: str) -> int:
    return int.from_bytes(socket.inet_pton(family, address), "big")


def _members(maps: Maps, winner: Binding | None) -> list[Member]:
    if winner is None or winner.action is not Action.BIND:
        return []
    slot = find_slot(maps, *winner.destination)
    return [] if slot is None else members_of(maps, slot)


def _found(maps: Maps, winner: Binding | None, query: Query) -> int:
    """The cookie of the socket that the rules lead to, usable or not; 0 if there is none."""
    if winner is None or winner.action is not Action.BIND:
        return 0
    slot = find_slot(maps, *winner.destination)
    return 0 if slot is None else choice.chosen(maps, slot, _question(query)) or 0


class _Judged(NamedTuple):
    """The rules that match, the winner first; notes on rules that would match, if it were not for
    their interface; the program's verdict; whether the program ran; when the winner ends.
    """

    matching: list[Binding]
    notes: list[str]
    verdict: generations.Verdict | None
    asked: str
    end: int | None = None


def _judge(current: generations.Generation, query: Query) -> _Judged:
    """What a generation says."""
    content = generations.read_rules(current)
    packed, header = generation_record.decode(content), generation_record.decode_header(content)
    candidates = generation_record.about_packet(
        packed,
        query.protocol,
        query.family,
        _number(query.family, query.address),
        query.port,
    )
    there, waiting = generation_record.divide(
        generation_record.unpack(packed, candidates), header.absent
    )
    matching = _matching(there, header.index_of, query)
    notes = [*_never(there, query), *rules.pending_lines(_like(waiting, query), header.refused)]
    end = header.end_of.get(matching[0].place) if matching else None
    if end is not None:
        notes.append(f"the rule {rules.end_text(end)}")
    if matching and matching[0].interface is not None:
        # In a test run, packets arrive on interface 0, which no rule names.
        no_interface = "a test run cannot set an interface; this verdict comes from the rules"
        return _Judged(matching, notes, None, no_interface, end)
    try:
        verdict = generations.ask(current, _question(query))
    except FileNotFoundError:
        raise  # a concurrent swap removed the program: run the newer one
    except AccessError:
        only_root = "only root can run the program; this verdict comes from the rules"
        return _Judged(matching, notes, None, only_root, end)
    except OSError as error:
        why = f"the program cannot be run: {error.strerror}; this verdict comes from the rules"
        return _Judged(matching, notes, None, why, end)
    return _Judged(matching, notes, verdict, "the kernel's verdict", end)


def _matching(there: list[Binding], index_of: Mapping[str, int], query: Query) -> list[Binding]:
    """The rules that match, the winner first. Rules go by the index of their interface, whatever
    name the packet's has.
    """
    index = _index(query)

    def on_it(rule: Binding) -> bool:
        if rule.interface is None:
            return True
        known = index_of[rule.interface]
        return known == index if known >= 0 else rule.interface == query.interface

    found = (
        rule for rule in there if on_it(rule) and matches(rule, _packet(query, rule.interface))
    )
    return sorted(found, key=rank)


def _like(found: list[Binding], query: Query) -> list[Binding]:
    """The rules that match such packets, whatever interface they arrive from."""
    return [rule for rule in found if matches(rule, _packet(query, rule.interface))]


def _never(there: list[Binding], query: Query) -> list[str]:
    """Rules for an interface whose packets arrive from another one."""
    like = _like([rule for rule in there if rule.interface is not None], query)
    inner = links.above({rule.interface for rule in like if rule.interface is not None})
    return [
        f"{rules.line(rule)} ({rule.place}) never matches: {inner[rule.interface].sentence}; write "
        f"dev {inner[rule.interface].name}"
        for rule in like
        if rule.interface in inner
    ]


def _index(query: Query) -> int:
    """The index of the interface that the kernel says the packet arrives from; 0 if it is not given
    or not there.
    """
    if query.interface is None:
        return 0
    above = links.above([query.interface]).get(query.interface)
    index = above.index if above else links.indices_of([query.interface])[query.interface]
    if index == links.LOOPBACK:
        return routes.holder_of(query.family, _number(query.family, query.address)) or index
    return index


def _outcome(verdict: generations.Verdict) -> tuple[Outcome, int]:
    if verdict.cookie:
        return Outcome.SOCKET, verdict.cookie
    return (Outcome.ORDINARY if verdict.passed else Outcome.REFUSED), 0


def _expected(winner: Binding | None, usable: list[Member]) -> Outcome:
    if winner is None or winner.action is Action.PASS:
        return Outcome.ORDINARY
    if winner.action is Action.REJECT:
        return Outcome.REFUSED
    if usable:
        return Outcome.SOCKET
    return _missed(winner)


def _missed(winner: Binding | None) -> Outcome:
    """What becomes of a packet for which the label has no usable socket."""
    return Outcome.ORDINARY if winner is None or winner.missing_pass else Outcome.REFUSED


def _settled(context: Context, registry: str, query: Query, ours: Outcome, cookie: int) -> Settled:
    """What the other programs change about our verdict."""
    choice = chain.Choice(ours is not Outcome.REFUSED, cookie if ours is Outcome.SOCKET else None)
    if os.geteuid() != 0:
        unknown = "whether other sk_lookup programs are attached is not known: this takes root"
        return alone(choice, [unknown])
    question = _question(query)
    settled = settle(
        attachment.others(registry, context.netns),
        choice,
        lambda other, selected: chain.ask(other, question, selected=selected),
    )
    if query.interface and settled.neighbours:
        without = "the other programs were run for a packet without an interface"
        return replace(settled, notes=[*settled.notes, without])
    return settled


def _end(settled: Settled) -> tuple[Outcome, int]:
    if settled.selected is None:
        return (Outcome.REFUSED if settled.refused else Outcome.ORDINARY), 0
    return (Outcome.SOCKET if settled.by is None else Outcome.OTHER), settled.selected


def _reason(winner: Binding | None, members: list[Member], outcome: Outcome) -> str:
    if winner is None:
        return "no rule matches"
    if winner.action is Action.REJECT:
        return "a reject rule refuses it"
    if winner.action is Action.PASS:
        return "a pass rule leaves it to ordinary lookup"
    if outcome is Outcome.SOCKET:
        return "the rule's label has a socket"
    counted = "a miss"
    if not members:
        why = "it has no socket"
    elif not any(member.weight for member in members):
        why = "its sockets are all drained"
    else:
        why = f"its socket {why_closed(winner.protocol)}: the kernel refuses it"
        counted = "an error"
    then = "the rule says missing=pass" if winner.missing_pass else f"this is {counted}"
    return f"label {winner.label}: {why}; {then}"


def _beaten(first: Binding, other: Binding) -> Beaten:
    reason = (
        f"the rule above has {why_first(first, other)}"
        if rank(first) != rank(other)
        else "it does the same as the rule above"
    )
    return Beaten(
        rule=format_rule(other),
        label=other.label,
        action=ACTION_NAMES[other.action],
        place=str(other.place),
        reason=reason,
    )


def _diagnosed(
    there: Sequence[sockdiag.DiagSocket], query: Query, outcome: Outcome, cookie: int
) -> sockdiag.DiagSocket | None:
    """The socket that gets the packet, as sock_diag reports it."""
    if outcome in (Outcome.SOCKET, Outcome.OTHER):
        return next((sock for sock in there if sock.cookie == cookie), None)
    if outcome is Outcome.REFUSED:
        return None
    return receiver(there, query.family, query.protocol, query.address, query.port, _index(query))


def _passed_over(
    query: Query, outcome: Outcome, cookie: int, there: Sequence[sockdiag.DiagSocket]
) -> list[str]:
    """The socket that would get the packet without rules."""
    if outcome not in (Outcome.SOCKET, Outcome.OTHER, Outcome.REFUSED):
        return []
    found = _diagnosed(there, query, Outcome.ORDINARY, 0)
    if found is None or found.cookie == cookie:
        return []
    what = f"{cookie_text(found.cookie)} {name_of(found)}"
    return [f"{what} listens there but does not get the packet: rules come before ordinary sockets"]


def _target(
    members: list[Member],
    outcome: Outcome,
    cookie: int,
    found: sockdiag.DiagSocket | None,
    protocol: int,
) -> tuple[Target | None, list[str]]:
    """The process that gets the packet, and what is wrong with the socket."""
    if outcome in (Outcome.REFUSED, Outcome.NOBODY):
        return None, []
    if outcome is Outcome.OTHER and not cookie:
        return None, ["a test run does not tell which socket of a SO_REUSEPORT group it selects"]
    inode = found.inode if found else 0
    holders = processes.holders([inode]) if inode else processes.Holders({}, 0)
    held = holders.of(inode)
    ill = ailment(found, [] if holders.hidden else held, protocol)
    hidden = f"{holders.hidden} processes could not be read; reading them takes root"
    notes = [*([ill] if ill else []), *([hidden] if holders.hidden and not held else [])]
    names = [str(process) for process in held]
    for member in members:
        if member.cookie == cookie:
            text = cookie_text(cookie)
            return Target(
                cookie=text, address=member.address, unit=member.unit, processes=names
            ), notes
    if found is None:
        return Target(cookie=cookie_text(cookie), address="", unit=NO_UNIT, processes=names), notes
    unit = cgroup.unit_of_id(found.cgroup) if found.cgroup else NO_UNIT
    return Target(
        cookie=cookie_text(found.cookie), address=name_of(found), unit=unit, processes=names
    ), notes


def _not_local(query: Query, winner: Binding | None) -> list[str]:
    one = query.family, _number(query.family, query.address), FAMILY_BITS[query.family]
    why = why_unasked(*one)
    if why:
        return [why]
    local = locality(routes.read())
    if local.is_broadcast(*one):
        return [f"{query.address} is the broadcast address of a subnet: {BROADCAST}"]
    if local.of(*one) is not Local.NONE:
        return []
    # One route makes the whole prefix of the rule local, if that does no harm.
    whole = (winner.family, winner.address, winner.length) if winner is not None else one
    remedy = local.remedy(*(whole if local.is_free(*whole) else one))
    command, comma, mind = remedy.partition(", ")
    until = f"'{command}'{comma}{mind}"
    return [f"{query.address} is not local here: no such packet reaches the rules until {until}"]


def _ahead(query: Query) -> tuple[list[str], list[str], list[str]]:
    """What NAT and filters surely do to the packet before routes are looked at, what they do
    between these and the rules, and what they may do.
    """
    rules_of_filter = Filter(packetfilter.read())
    address = _number(query.family, query.address)
    named = links.above([query.interface]) if query.interface else {}
    above = named.get(query.interface or "")
    flow = Flow(
        query.family,
        query.protocol,
        (address, address),
        (query.port, query.port),
        _number(query.family, query.source) or None,
        above.name if above else query.interface,
    )
    found = []
    for effect in rules_of_filter.effects(flow):
        command = ahead.let_through(effect, query.protocol, query.address, flow.ports)
        text = f"{ahead.sentence(effect)}; to leave it as it is: '{command}'"
        found.append((effect, text))
    unread = [f"not known, what may come before this: {why}" for why in rules_of_filter.unread]
    surely = [(effect.is_before_routes, text) for effect, text in found if effect.surely]
    return (
        [text for early, text in surely if early],
        [text for early, text in surely if not early],
        [*(text for effect, text in found if not effect.surely), *unread],
    )


def _connected(query: Query) -> list[str]:
    """The socket that has this client as its peer. It gets the packet without any lookup."""
    if not query.source_port:
        return []
    dual = [(INET6, "::ffff:")] if query.family == INET else []
    for family, mapped in [(query.family, ""), *dual]:
        wanted = (
            f"{mapped}{query.address}",
            query.port,
            f"{mapped}{query.source}",
            query.source_port,
        )
        for sock in sockdiag.dump(family, query.protocol, (sockdiag.ESTABLISHED,)):
            there = sock.address, sock.port, sock.peer_address, sock.peer_port
            if there == wanted and sock.interface in (0, _index(query)):
                peer = address_text(query.family, query.source, query.source_port)
                text = (
                    f"{cookie_text(sock.cookie)} {name_of(sock)} is connected to {peer}: it gets "
                    "the packet, and no rule is looked at"
                )
                return [text]
    return []


def _unanswered(query: Query, sock: sockdiag.DiagSocket) -> list[str]:
    """That the socket is bound to an interface, and what follows."""
    named = [query.interface] if query.interface else []
    indices = links.indices_of(named)
    if indices.get(query.interface or "") == links.LOOPBACK:
        indices = {name: _index(query) for name in indices}
    on = arriving(query.interface, indices, links.above(named))
    names = {sock.interface: links.name_of(sock.interface)} if sock.interface else {}
    wrong = unanswered(sock.interface, {at: name for at, name in names.items() if name}, on)
    ask = "" if query.interface else "; 'dev INTERFACE' asks about one"
    return [f"the socket is {wrong}{ask}"] if wrong else []


def _arrival(query: Query) -> list[str]:
    if query.interface is None:
        return []
    if not _index(query):
        return [f"there is no interface {query.interface}"]
    own = links.indices_of([query.interface])[query.interface] == links.LOOPBACK
    if own and (holder := _index(query)) != links.LOOPBACK:
        name = links.name_of(holder) or holder
        text = (
            f"{query.address} is an address of {name}: what this host sends to it arrives from "
            f"{name} for rules and sockets"
        )
        return [text]
    return [above.sentence for above in links.above([query.interface]).values()]


def _choices(
    outcome: Outcome,
    members: list[Member],
    found: sockdiag.DiagSocket | None,
    there: Sequence[sockdiag.DiagSocket],
) -> list[str]:
    """If several sockets share the traffic: what the choice depends on."""
    notes = []
    if outcome is Outcome.SOCKET and sum(share > 0 for share in shares_of(members).values()) > 1:
        notes.append(
            f"{len(members)} sockets share the flows of the label; the addresses and ports of a "
            "flow determine its socket: 'from ADDR:PORT' gives those of a client"
        )
    group = sum(same_address(found, sock) for sock in there) if found is not None else 1
    if group > 1 and outcome is Outcome.SOCKET and any(member.exact for member in members):
        notes.append(
            f"{group} sockets are bound to this address with SO_REUSEPORT; only the one shown gets "
            "what rules send to it (Reuseport=no)"
        )
    elif group > 1:
        notes.append(
            f"{group} sockets are bound to this address with SO_REUSEPORT; the kernel spreads "
            "traffic over them, and the one shown represents all"
        )
    return notes


def refused_how(protocol: str) -> str:
    """What the client of a refused packet sees; ``protocol`` is ``tcp`` or ``udp``."""
    return "RST" if protocol == PROTOCOL_NAMES[TCP] else "ICMP port unreachable"

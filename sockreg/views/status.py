"""What is attached, which labels have sockets, and what the counters say."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sockreg.context import Context
from sockreg.errors import SockregError
from sockreg.host import cgroup, queues
from sockreg.host.listener import cookie_text
from sockreg.host.queues import Queue as Queue
from sockreg.host.queues import full_text as full_text
from sockreg.host.queues import queue_of
from sockreg.host.queues import queue_text as queue_text
from sockreg.host.sockdiag import DiagSocket
from sockreg.model import FAMILY_NAMES, PROTOCOL_NAMES, Binding, LeftOut
from sockreg.registry import (
    attachment,
    generation_record,
    generations,
    members,
    published,
    sockops,
    trial,
)
from sockreg.registry.counters import Counters as Counters
from sockreg.registry.counters import read_counters
from sockreg.registry.destinations import Key, read_destinations
from sockreg.registry.directory import FLOWS
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of
from sockreg.registry.units import read_units
from sockreg.rules.listener import unclear_text as unclear_text
from sockreg.terms import ONLY, SLOT_REJECT


@dataclass(frozen=True, kw_only=True)
class Member:
    """A registered socket. ``registered`` is ns since the epoch.

    ``flows`` is how many UDP flows stay with it and with those that it has replaced; None unless
    its pool is sticky. ``queue`` is what waits there, and in its SO_REUSEPORT group; None if the
    kernel does not tell. ``stalled`` is whether it gets nothing new because its unit says
    Drain=stalled.
    """

    cookie: str
    address: str
    unit: str
    weight: int
    registered: int
    slot: int
    flows: int | None = None
    queue: Queue | None = None
    stalled: bool = False


@dataclass(frozen=True, kw_only=True)
class DestinationStatus:
    """One label in one family and protocol. Several members are a pool.

    ``listener`` is the port of the listener that rules mean; 0 is the only listener of each unit.
    ``unclear`` are the listeners of units that have several, if rules do not say which they mean.
    """

    label: str
    listener: int = ONLY
    protocol: str
    family: str
    rules: int
    members: list[Member]
    counters: Counters
    slot: int
    unclear: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """``mail``, or ``mail:8143`` for a single listener: no label contains a colon."""
        return f"{self.label}:{self.listener}" if self.listener else self.label


@dataclass(frozen=True)
class ExpectedUnit:
    """A unit whose listener the sock_ops program will register. ``port`` 0 is the first one.

    ``failed`` counts the sockets that were refused: by the kernel, or because another unit has the
    label.
    """

    unit: str
    label: str
    port: int
    failed: int


@dataclass(frozen=True)
class LastApply:
    """The end of the last apply: its exit status and time. Times are ns since the epoch.

    ``succeeded`` is the time of the last successful apply, or 0.
    """

    status: int
    attempted: int
    succeeded: int


@dataclass(frozen=True)
class Trial:
    """A trial that waits for ``sockreg confirm``: which generation comes back, and when."""

    generation: int
    seconds_left: int


@dataclass(frozen=True)
class FlowCounts:
    """The flows of all sticky pools: how many are noted now, how many can be, and how many had to
    give way to others.
    """

    noted: int
    room: int
    evicted: int


@dataclass(frozen=True)
class Ending:
    """A rule in force that ends by itself, at ``until``, in seconds since the epoch."""

    rule: Binding
    until: int


@dataclass(frozen=True, kw_only=True)
class Status:
    """``generation`` and ``header`` are None while nothing is in force.

    ``program`` is also None if it cannot be opened, which takes root. ``expected`` is None unless
    the sock_ops program is attached. ``others`` is None without permission. ``trial`` is None
    unless apply --confirm put the current generation in force. ``traced`` is whether a program
    tells its decisions in the place of the one in force. ``flows`` is None unless a unit has said
    Flows=sticky. ``ending`` are the rules that end by themselves, the next one first.
    """

    registry: str
    netns: int
    program: generations.ProgramInfo | None
    generation: int | None
    header: generation_record.Header | None
    applied: LastApply | None
    destinations: list[DestinationStatus]
    rejected: int
    units: list[str]
    expected: list[ExpectedUnit] | None
    others: list[attachment.Other] | None
    trial: Trial | None = None
    traced: bool = False
    flows: FlowCounts | None = None
    ending: list[Ending] = field(default_factory=list)

    @property
    def left_out(self) -> list[LeftOut]:
        """The units and files that are not in force as they are written."""
        return self.header.left_out if self.header else []


_NOTHING = (None, None, None, False)


def read(context: Context) -> Status:
    """Read the registry. Raises SockregError if there is none or it cannot be read."""
    registry = context.loaded_registry()
    with Maps(registry, read_only=True) as maps:
        number, program, header, traced = (
            generations.read_in_force(registry, _generation) or _NOTHING
        )
        rules = (
            {(*key, listener): count for *key, listener, count in header.destinations}
            if header
            else {}
        )
        slots = read_destinations(maps)
        noted, of_member = _flows(registry)
        counters = read_counters(registry, [*slots.values(), SLOT_REJECT])
        beside = _Beside(of_member, _sockets({protocol for _, _, protocol, _ in slots}))
        destinations = [
            _destination(maps, counters[slot], key, slot, rules.get(key, 0), beside)
            for key, slot in sorted(slots.items())
        ]
        return Status(
            registry=registry,
            netns=context.netns.cookie,
            program=program,
            generation=number,
            header=header,
            applied=_applied(registry),
            destinations=_worth_showing(_with_unclear(destinations)),
            rejected=counters[SLOT_REJECT].lookups,
            units=sorted(read_units(maps)),
            expected=_expected(registry, maps),
            others=attachment.others(registry, context.netns) if os.geteuid() == 0 else None,
            trial=_trial(registry),
            traced=traced,
            flows=noted,
            ending=_ending(registry) if header and header.ends else [],
        )


def _ending(registry: str) -> list[Ending]:
    content = generations.read_in_force(registry, generations.read_rules)
    if content is None:
        return []
    ends = generation_record.decode_header(content).end_of
    found = generation_record.ending(generation_record.decode(content), ends)
    return sorted((Ending(rule, ends[rule.place]) for rule in found), key=lambda it: it.until)


def _flows(registry: str) -> tuple[FlowCounts | None, Mapping[tuple[int, int], int]]:
    """The counts, and the flows of each member by slot of the destination and cookie."""
    if not os.path.exists(f"{registry}/{FLOWS}"):
        return None, {}
    from sockreg.registry.flows import read_flows

    found = read_flows(registry)
    if found is None:
        return None, {}
    return FlowCounts(len(found.flows), found.room, found.evicted), found.by_member()


def _generation(
    current: generations.Generation,
) -> tuple[int, generations.ProgramInfo | None, generation_record.Header, bool]:
    program = generations.program_of(current)
    traced = generations.is_traced(current)
    return current.number, program, generations.read_header(current), traced


def _trial(registry: str) -> Trial | None:
    for waiting in trial.running(registry):
        return Trial(waiting.base, max(0, round(waiting.seconds_left)))
    return None


def _applied(registry: str) -> LastApply | None:
    found = published.read(registry)
    if not found.attempted:
        return None
    return LastApply(found.status, found.attempted, found.succeeded)


def expected_units(context: Context) -> list[ExpectedUnit]:
    """The units whose listener the sock_ops program will register; none without the program."""
    if not context.is_loaded:
        return []
    with Maps(context.registry, read_only=True) as maps:
        return _expected(context.registry, maps) or []


def _expected(registry: str, maps: Maps) -> list[ExpectedUnit] | None:
    if not sockops.is_loaded(registry):
        return None
    alive = cgroup.all_ids()
    with sockops.expectations(registry, read_only=True) as entries:
        expected = entries.read()
    # Read afterwards: a command adds destinations before it expects a unit there.
    labels = {slot: key[0] for key, slot in read_destinations(maps).items()}
    return sorted(
        (
            ExpectedUnit(entry.unit, labels[min(known)], entry.port, entry.failed)
            for entry in expected
            if entry.cgroup in alive and (known := entry.slots & labels.keys())
        ),
        key=lambda unit: (unit.unit, unit.port),
    )


def _worth_showing(destinations: list[DestinationStatus]) -> list[DestinationStatus]:
    """Those with rules, sockets or counts, if no other one shows the same sockets."""
    only: dict[tuple[str, str], set[str]] = {}
    for each in destinations:
        cookies = only.setdefault((each.label, each.protocol), set())
        if each.listener == ONLY:
            cookies.update(member.cookie for member in each.members)
    return [
        each
        for each in destinations
        if each.rules
        or each.counters.lookups
        or (each.members if each.listener == ONLY else _is_news(each, only))
    ]


def _is_news(listener: DestinationStatus, only: dict[tuple[str, str], set[str]]) -> bool:
    """Whether no destination for the only listeners of units shows these sockets."""
    shown = only[listener.label, listener.protocol]
    return any(member.cookie not in shown for member in listener.members)


class _Beside(NamedTuple):
    """What is not in a member's record: the flows by slot and cookie, its socket by cookie."""

    flows: Mapping[tuple[int, int], int]
    sockets: Mapping[int, DiagSocket]


def _sockets(protocols: set[int]) -> Mapping[int, DiagSocket]:
    """The sockets as the kernel lists them, by cookie; none where it may not be asked."""
    try:
        return queues.by_cookie(protocols)
    except SockregError:
        return {}


def _destination(
    maps: Maps,
    counters: Counters,
    key: Key,
    slot: int,
    rules: int,
    beside: _Beside,
) -> DestinationStatus:
    label, family, protocol, listener = key
    return DestinationStatus(
        label=label,
        listener=listener,
        protocol=PROTOCOL_NAMES[protocol],
        family=FAMILY_NAMES[family],
        rules=rules,
        members=sorted(
            (_member(member, slot, beside) for member in members_of(maps, slot)),
            key=lambda member: member.unit,
        ),
        counters=counters,
        slot=slot,
    )


def _with_unclear(destinations: list[DestinationStatus]) -> list[DestinationStatus]:
    """The same, with what their rules do not tell apart."""
    several: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for each in destinations:
        if each.listener != ONLY:
            listeners = several.setdefault((each.label, each.protocol, each.family), [])
            listeners += [(member.unit, member.address) for member in each.members]
    found = []
    for each in destinations:
        clear = {member.unit for member in each.members}
        listeners = several.get((each.label, each.protocol, each.family), [])
        if each.rules and each.listener == ONLY and listeners:
            names = [f"{unit} {address}" for unit, address in listeners if unit not in clear]
            found.append(replace(each, unclear=names))
        else:
            found.append(each)
    return found


def _member(member: members.Member, slot: int, beside: _Beside) -> Member:
    flows, sockets = beside
    group = [member.cookie, *(mate.cookie for mate in member.mates if not mate.replaced)]
    cookies = [member.cookie, *(mate.cookie for mate in member.mates)]
    return Member(
        cookie=cookie_text(member.cookie),
        address=member.address,
        unit=member.unit,
        weight=member.weight,
        registered=member.registered,
        slot=member.slot,
        flows=sum(flows.get((slot, one), 0) for one in cookies) if member.sticky else None,
        queue=queue_of([sockets[one] for one in group if one in sockets]),
        stalled=member.stalled,
    )


def latest_entries(count: int) -> list[str]:
    """The latest lines that sockreg wrote to the journal, oldest first; at most ``count``."""
    if count <= 0:
        return []
    from sockreg.systemd import journal_reader

    return journal_reader.latest(count)

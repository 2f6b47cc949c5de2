"""What is attached, which labels have sockets, and what the counters say."""

import os
from dataclasses import dataclass

from sockreg.context import Context
from sockreg.host import cgroup
from sockreg.host.listener import cookie_text
from sockreg.model import FAMILY_NAMES, PROTOCOL_NAMES, LeftOut
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
from sockreg.registry.destinations import read_destinations
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of
from sockreg.registry.units import read_units
from sockreg.terms import SLOT_REJECT


@dataclass(frozen=True, kw_only=True)
class Member:
    """A registered socket. ``registered`` is ns since the epoch."""

    cookie: str
    address: str
    unit: str
    weight: int
    registered: int
    slot: int


@dataclass(frozen=True, kw_only=True)
class DestinationStatus:
    """One label in one family and protocol. Several members are a pool."""

    label: str
    protocol: str
    family: str
    rules: int
    members: list[Member]
    counters: Counters
    slot: int


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


@dataclass(frozen=True, kw_only=True)
class Status:
    """``generation`` and ``header`` are None while nothing is in force.

    ``program`` is also None if it cannot be opened, which takes root. ``expected`` is None unless
    the sock_ops program is attached. ``others`` is None without permission. ``trial`` is None
    unless apply --confirm put the current generation in force.
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

    @property
    def left_out(self) -> list[LeftOut]:
        """The units and files that are not in force as they are written."""
        return self.header.left_out if self.header else []


_NOTHING = (None, None, None)


def read(context: Context) -> Status:
    """Read the registry. Raises SockregError if there is none or it cannot be read."""
    registry = context.loaded_registry()
    with Maps(registry, read_only=True) as maps:
        number, program, header = generations.read_in_force(registry, _generation) or _NOTHING
        rules = (
            {(label, f, p): count for label, f, p, count in header.destinations} if header else {}
        )
        slots = read_destinations(maps)
        counters = read_counters(registry, [*slots.values(), SLOT_REJECT])
        destinations = [
            _destination(maps, counters[slot], key, slot, rules.get(key, 0))
            for key, slot in sorted(slots.items())
        ]
        return Status(
            registry=registry,
            netns=context.netns.cookie,
            program=program,
            generation=number,
            header=header,
            applied=_applied(registry),
            destinations=[d for d in destinations if d.rules or d.members or d.counters.lookups],
            rejected=counters[SLOT_REJECT].lookups,
            units=sorted(read_units(maps)),
            expected=_expected(registry, maps),
            others=attachment.others(registry, context.netns) if os.geteuid() == 0 else None,
            trial=_trial(registry),
        )


def _generation(
    current: generations.Generation,
) -> tuple[int, generations.ProgramInfo | None, generation_record.Header]:
    program = generations.program_of(current)
    return current.number, program, generations.read_header(current)


def _trial(registry: str) -> Trial | None:
    for waiting in trial.read(registry):
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
    labels = {slot: label for (label, _, _), slot in read_destinations(maps).items()}
    alive = cgroup.all_ids()
    with sockops.expectations(registry, read_only=True) as entries:
        return sorted(
            (
                ExpectedUnit(entry.unit, labels[entry.slot_ipv4], entry.port, entry.failed)
                for entry in entries.read()
                if entry.cgroup in alive
            ),
            key=lambda unit: (unit.unit, unit.port),
        )


def _destination(
    maps: Maps, counters: Counters, key: tuple[str, int, int], slot: int, rules: int
) -> DestinationStatus:
    label, family, protocol = key
    return DestinationStatus(
        label=label,
        protocol=PROTOCOL_NAMES[protocol],
        family=FAMILY_NAMES[family],
        rules=rules,
        members=sorted(map(_member, members_of(maps, slot)), key=lambda member: member.unit),
        counters=counters,
        slot=slot,
    )


def _member(member: members.Member) -> Member:
    return Member(
        cookie=cookie_text(member.cookie),
        address=member.address,
        unit=member.unit,
        weight=member.weight,
        registered=member.registered,
        slot=member.slot,
    )


def latest_entries(count: int) -> list[str]:
    """The latest lines that sockreg wrote to the journal, oldest first; at most ``count``."""
    if count <= 0:
        return []
    from sockreg.systemd import journal_reader

    return journal_reader.latest(count)

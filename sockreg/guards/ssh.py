"""Keeping operators from locking themselves out: rules that would take the port of ssh."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from sockreg.config.report import Notice
from sockreg.errors import RefusedError, SockregError
from sockreg.guards.ssh_doors import Door
from sockreg.host.listener import address_text
from sockreg.model import FAMILY_BITS, TCP, Action, Binding
from sockreg.registry.destinations import Key, find_slot, read_destinations
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of
from sockreg.rules.byport import ByPort
from sockreg.rules.prefixes import format_prefix
from sockreg.rules.syntax import format_line
from sockreg.rules.taken import pass_line, takers
from sockreg.terms import NO_UNIT

OPTION = "TakeSsh"  # of section [:registry]
_SHOWN = 5


class Taken(NamedTuple):
    """A door, and a binding that wins packets to it."""

    door: Door
    binding: Binding


class TakenError(RefusedError):
    """Rules newly take a door; ``taken`` says which."""

    def __init__(self, message: list[str], hint: str, taken: Collection[Taken]) -> None:
        super().__init__(message, hint)
        self.taken = taken


def taken(
    through: Iterable[Door],
    bindings: Iterable[Binding],
    maps: Maps | None,
    moves: Mapping[str, str] = MappingProxyType({}),
) -> list[Taken]:
    """Which bindings of a rule set win packets to these doors.

    A binding that points to the very socket that listens there takes nothing. ``maps`` None is a
    registry that does not exist yet. ``moves`` is as in guard().
    """
    return _winning(through, bindings, lambda door, binding: _leads_to(door, maps, binding, moves))


def _winning(
    through: Iterable[Door],
    bindings: Iterable[Binding],
    leaves: Callable[[Door, Binding], bool],
) -> list[Taken]:
    """The bindings that win packets to these doors; ``leaves`` are those that do not count."""
    ports = {door.endpoint.port for door in through}
    rules = ByPort(
        b for b in bindings if b.protocol == TCP and any(b.first <= p <= b.last for p in ports)
    )
    return [
        Taken(door, binding)
        for door in through
        for binding, _ in takers(rules, door.endpoint, partial(leaves, door))
        # Without an address, only rules for all addresses take a door for certain.
        if door.endpoint.address is not None or binding.length == 0
    ]


class WayIn(NamedTuple):
    """A label by which a rule leads ``port`` of ssh to ssh's own socket, which is of ``unit``."""

    label: str
    slot: int
    port: int
    unit: str


def ways_in(
    through: Iterable[Door],
    bindings: Iterable[Binding],
    maps: Maps,
    units: Mapping[str, Collection[str]],
) -> list[WayIn]:
    """Where rules lead packets to the socket of the very door.

    ``units`` are those that will register sockets under a label.
    """
    found = set()
    for door, binding in _winning(through, bindings, lambda _door, _binding: False):
        if binding.action is Action.BIND and _leads_to(door, maps, binding, {}):
            slot = find_slot(maps, *binding.destination)
            if slot is not None:
                registrants = {member.unit for member in members_of(maps, slot)}
                if binding.label in door.labels:
                    registrants |= set(units.get(binding.label, [NO_UNIT]))
                port = door.endpoint.port
                found |= {WayIn(binding.label, slot, port, unit) for unit in registrants}
    return sorted(found)


def guard(
    before: Callable[[], Iterable[Binding]],
    after: Collection[Binding],
    maps: Maps | None,
    find_doors: Callable[[Collection[Binding]], list[Door]],
    *,
    force: bool,
    moves: Mapping[str, str] | None = None,
) -> list[Notice]:
    """Raise TakenError if ``after`` takes a door that ``before`` did not.

    ``find_doors`` is a function of guards/ssh_doors.py. ``moves`` are units whose sockets get
    another label with the rules, and that label. With ``force``, this is only a notice. Returns
    notices, also if the doors cannot be found out.
    """
    try:
        through = find_doors(after)
    except SockregError as error:
        text = f"rules that take the ssh port cannot be detected: {error.message}"
        return [Notice(None, text)]
    newly = taken(through, after, maps, moves or {}) if through else []
    if newly:
        lost = {_loss(it) for it in taken(through, before(), maps)}
        newly = [it for it in newly if not lost & {_loss(it), (it.door, None, None)}]
    if newly and not force:
        raise _refusal(newly)
    lasting = f"units refuse this, unless section [:registry] has {OPTION}=yes"
    return [Notice(loss.binding.place, f"{sentence(loss)}; {lasting}") for loss in newly]


def _loss(loss: Taken) -> tuple[object, ...]:
    """What is lost: a door to all clients, or to some."""
    return loss.door, loss.binding.source, loss.binding.interface


def sentence(loss: Taken) -> str:
    """``RULE takes 192.0.2.1:2222, which ssh listens on (ssh.service)``."""
    door = loss.door
    known = f" ({door.known})" if door.known else ""
    why = "which ssh listens on" if door.cookie else "where ssh will listen"
    return f"{format_line(loss.binding)} takes {door_text(door)}, {why}{known}"


def door_text(door: Door) -> str:
    """``192.0.2.1:22``."""
    _, family, address, port = door.endpoint
    if address is None:
        return f"port {port}"
    return address_text(family, format_prefix(family, address or 0, FAMILY_BITS[family]), port)


def way_out(loss: Taken) -> str:
    """What keeps a door open: a rule to add, or what to change in the one that takes it."""
    line = pass_line(loss.door.endpoint, loss.binding)
    return line or f"take port {loss.door.endpoint.port} out of the rule, or remove it"


def keeping_open(loss: Taken) -> str:
    """The same as a sentence: ``'Pass=tcp 192.0.2.1 22' keeps the port open``."""
    line = pass_line(loss.door.endpoint, loss.binding)
    if line:
        return f"'{line}' keeps the port open"
    return f"to keep the port open, {way_out(loss)}"


def _refusal(newly: Collection[Taken]) -> SockregError:
    lines = list(dict.fromkeys(f"{loss.binding.place}: {sentence(loss)}" for loss in newly))
    if len(lines) > _SHOWN:
        lines = [*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more"]
    first = next(iter(newly))
    return TakenError(
        lines,
        f"nothing was changed; {keeping_open(first)}; 'sockreg apply --confirm 60' tries the rules "
        f"out, --force applies them anyway; {OPTION}=yes in section [:registry] of a file in "
        "/etc/sockreg allows them for units, too",
        newly,
    )


def _leads_to(door: Door, maps: Maps | None, binding: Binding, moves: Mapping[str, str]) -> bool:
    """Whether the label's only sockets are the one that listens at the door, or will."""
    if binding.label in door.labels:
        return True
    if maps is None:
        return False
    found = []
    for (label, *rest), slot in _destinations(maps, binding, moves).items():
        if rest == list(binding.destination[1:]):
            found += [
                member.cookie
                for member in members_of(maps, slot)
                if moves.get(member.unit, label) == binding.label
            ]
    return bool(found) and all(cookie == door.cookie for cookie in found)


def _destinations(maps: Maps, binding: Binding, moves: Mapping[str, str]) -> dict[Key, int]:
    """The destinations whose sockets may be those of the binding: its own, unless some move."""
    if moves:
        return read_destinations(maps)
    slot = find_slot(maps, *binding.destination)
    return {} if slot is None else {binding.destination: slot}

"""Sockets follow the label in their unit's files, when the rules of the unit do.

The sockets are put under the new label before its rules come into force, and taken from the old one
afterwards, so no packet meets an empty slot. Callers hold the lock of the registry's directory.
"""

from collections.abc import Iterable, Mapping

from sockreg.registry import pools
from sockreg.registry.claims import Registrant, foreign_members, refuse_foreign
from sockreg.registry.destinations import Key, add_destinations, of_label, read_destinations
from sockreg.registry.maps import Maps
from sockreg.registry.members import Member, members_of
from sockreg.rules.listener import Listening, Port
from sockreg.terms import DEFAULT_WEIGHT, ONLY

Labels = Mapping[str, tuple[str, str]]  # unit -> label before, label after


def refuse_taken(
    maps: Maps,
    units: Mapping[str, tuple[str, bool]],
    leaving: frozenset[str] = frozenset(),
    weighted: frozenset[str] = frozenset(),
) -> None:
    """Raises RefusedError if others have a socket under a label and do not share it.

    ``units`` are the units that get a label, with it and whether their files say a weight.
    ``leaving`` are units whose sockets will get another label together with this, and ``weighted``
    those whose files say a weight, which their sockets will get.
    """
    for unit, (label, weight_said) in units.items():
        who = Registrant(unit, DEFAULT_WEIGHT, weight_said=weight_said)
        slots = list(of_label(maps, label).values())
        refuse_foreign(maps, who, label, slots, set(), leaving, weighted)


def take_from_others(
    maps: Maps, units: Mapping[str, tuple[str, bool]], leaving: frozenset[str]
) -> list[tuple[Key, Member]]:
    """Take out the sockets for which refuse_taken() would refuse. Returns them."""
    taken = []
    for unit, (label, weight_said) in units.items():
        who = Registrant(unit, DEFAULT_WEIGHT, weight_said=weight_said)
        for key, slot in of_label(maps, label).items():
            for _, member in foreign_members(maps, who, [slot], set()):
                if member.unit not in leaving:
                    pools.leave(maps, slot, member)
                    taken.append((key, member))
    return taken


def enter_new(maps: Maps, labels: Labels) -> None:
    """Register the sockets of these units under their new labels, too."""
    for (label, family, protocol, listener), slot in _ours(maps, labels):
        for member in members_of(maps, slot):
            before, after = labels.get(member.unit, ("", ""))
            if before == label:
                key = (after, family, protocol, listener)
                pools.copy_in(maps, add_destinations(maps, [key])[key], member)


def leave_old(maps: Maps, labels: Labels) -> None:
    """Take the sockets of these units from their old labels."""
    for (label, *_), slot in _ours(maps, labels):
        for member in members_of(maps, slot):
            if labels.get(member.unit, ("", ""))[0] == label:
                pools.leave(maps, slot, member)


def _ours(maps: Maps, labels: Labels) -> list[tuple[Key, int]]:
    """The destinations of the old labels."""
    old = {before for before, _ in labels.values()}
    return [(key, slot) for key, slot in read_destinations(maps).items() if key[0] in old]


def fill_listeners(maps: Maps, wanted: Iterable[Key]) -> None:
    """Put the only listeners of units into the destinations that mean them by their ports, too.

    ``wanted`` are destinations that rules will point to.
    """
    there: dict[Key, int] = {}
    for key in wanted:
        if key[3] == ONLY:
            continue
        there = there or read_destinations(maps)
        known = {member.unit for member in members_of(maps, there[key])}
        for member in members_of(maps, there[(*key[:3], ONLY)]):
            if member.port == key[3] and member.unit not in known:
                pools.copy_in(maps, there[key], member)


def listening(maps: Maps) -> Listening:
    """The listeners of units that have several under one label."""
    found: dict[tuple[str, int, int], dict[str, dict[int, Port]]] = {}
    for (label, family, protocol, listener), slot in read_destinations(maps).items():
        if listener == ONLY:
            continue
        for member in members_of(maps, slot):
            units = found.setdefault((label, family, protocol), {})
            port = Port([member.address], native=member.family == family)
            units.setdefault(member.unit, {})[listener] = port
    several = {
        key: {unit: ports for unit, ports in units.items() if len(ports) > 1}
        for key, units in found.items()
    }
    return {key: units for key, units in several.items() if units}

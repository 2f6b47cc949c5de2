"""Destinations: (label, address family, protocol, listener), each of which owns a slot.

A destination for listener 0 has the only listener of each unit. A unit with several listeners has
them in destinations of their ports instead. Those exist only if they are needed: the destination
for listener 0, which then exists, too, says whether there are any.

Callers hold the lock of the registry's directory for everything that writes.
On the companion's start-up path.
"""

from sockreg.kernel import bpf
from sockreg.registry import layout
from sockreg.registry.maps import Maps
from sockreg.registry.slots import free_for_destinations
from sockreg.terms import FAMILY_TITLES, ONLY, PROTOCOL_NAMES, label_problem

Key = tuple[str, int, int, int]  # label, family, protocol, listener


def destination_name(label: str, family: int, protocol: int, listener: int = ONLY) -> str:
    """For messages: ``web (tcp, IPv4)`` or ``web (tcp, IPv4, listener 8080)``."""
    which = f", listener {listener}" if listener else ""
    return f"{label} ({PROTOCOL_NAMES[protocol]}, {FAMILY_TITLES[family]}{which})"


def find_slot(
    maps: Maps, label: str, family: int, protocol: int, listener: int = ONLY
) -> int | None:
    """The slot of a destination, or None if it has none."""
    place = _find(maps, (label, family, protocol, listener))
    return None if place is None else place[0]


def _key(key: Key) -> bytes:
    label, family, protocol, listener = key
    return layout.DESTINATION.pack(label.encode("ascii"), family, protocol, listener, 0)


def _find(maps: Maps, key: Key) -> tuple[int, int] | None:
    """The slot of a destination, and whether there are some of single listeners beside it."""
    if label_problem(key[0]):
        return None  # asked for by a name that no label can have
    value = bpf.map_lookup(maps.destinations, _key(key), layout.PLACE.size)
    if value is None:
        return None
    slot, listeners = layout.PLACE.unpack(value)
    return slot, listeners


def of_label(maps: Maps, label: str) -> dict[Key, int]:
    """All destinations of a label, with their slots."""
    found: dict[Key, int] = {}
    several = False
    for family in FAMILY_TITLES:
        for protocol in PROTOCOL_NAMES:
            place = _find(maps, (label, family, protocol, ONLY))
            if place is not None:
                found[label, family, protocol, ONLY] = place[0]
                several = several or bool(place[1])
    if several:
        found |= {key: slot for key, slot in read_destinations(maps).items() if key[0] == label}
    return found


def read_destinations(maps: Maps) -> dict[Key, int]:
    """All destinations, with their slots."""
    found = {}
    for key in bpf.map_keys(maps.destinations, layout.DESTINATION.size):
        value = bpf.map_lookup(maps.destinations, key, layout.PLACE.size)
        if value is not None:
            label, family, protocol, listener, _ = layout.DESTINATION.unpack(key)
            found[layout.text(label), family, protocol, listener] = layout.PLACE.unpack(value)[0]
    return found


def add_destinations(maps: Maps, wanted: list[Key]) -> dict[Key, int]:
    """Give every wanted destination a slot. Returns all destinations.

    Raises RefusedError if the registry has no slot left. Destinations that were added before that
    do no harm, because a destination without sockets and rules does nothing.
    """
    known = read_destinations(maps)
    missing: dict[Key, None] = {}
    several = set()
    for key in wanted:
        if key[3] != ONLY:
            only = (*key[:3], ONLY)
            several.add(only)
            missing.setdefault(only)
        missing.setdefault(key)
    new = [key for key in missing if key not in known]
    if new:
        free = free_for_destinations(maps, known, len(new), destination_name(*new[0]))
        for key, slot in zip(new, free, strict=True):
            place = layout.PLACE.pack(slot, key in several)
            bpf.map_update(maps.destinations, _key(key), place, bpf.NOEXIST)
            known[key] = slot
    for key in several.difference(new):
        bpf.map_update(maps.destinations, _key(key), layout.PLACE.pack(known[key], 1))
    return known


def drop_destination(maps: Maps, key: Key) -> None:
    """Free the slot of a destination."""
    bpf.map_delete(maps.destinations, _key(key))

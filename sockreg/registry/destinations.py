"""Destinations: (label, address family, protocol), each of which owns a slot.

Callers hold the lock of the registry's directory for everything that writes.
On the companion's start-up path.
"""

from sockreg.kernel import bpf
from sockreg.registry import layout
from sockreg.registry.maps import Maps
from sockreg.registry.slots import free_for_destinations
from sockreg.terms import FAMILY_TITLES, PROTOCOL_NAMES


def destination_name(label: str, family: int, protocol: int) -> str:
    """For messages: ``web (tcp, IPv4)``."""
    return f"{label} ({PROTOCOL_NAMES[protocol]}, {FAMILY_TITLES[family]})"


def find_slot(maps: Maps, label: str, family: int, protocol: int) -> int | None:
    """The slot of a destination, or None if it has none."""
    key = layout.DESTINATION.pack(label.encode("ascii"), family, protocol)
    value = bpf.map_lookup(maps.destinations, key, layout.SLOT.size)
    return None if value is None else int(layout.SLOT.unpack(value)[0])


def label_slots(maps: Maps, label: str) -> list[int]:
    """The slots of all destinations of a label."""
    slots = [
        find_slot(maps, label, family, protocol)
        for family in FAMILY_TITLES
        for protocol in PROTOCOL_NAMES
    ]
    return [slot for slot in slots if slot is not None]


def read_destinations(maps: Maps) -> dict[tuple[str, int, int], int]:
    """All destinations, (label, family, protocol) -> slot."""
    found = {}
    for key in bpf.map_keys(maps.destinations, layout.DESTINATION.size):
        value = bpf.map_lookup(maps.destinations, key, layout.SLOT.size)
        if value is not None:
            label, family, protocol = layout.DESTINATION.unpack(key)
            found[layout.text(label), family, protocol] = layout.SLOT.unpack(value)[0]
    return found


def add_destinations(
    maps: Maps, wanted: list[tuple[str, int, int]]
) -> dict[tuple[str, int, int], int]:
    """Give every wanted destination a slot. Returns all destinations.

    Raises RefusedError if the registry has no slot left. Destinations that were added before that
    do no harm, because a destination without sockets and rules does nothing.
    """
    known = read_destinations(maps)
    missing = [destination for destination in wanted if destination not in known]
    if missing:
        free = free_for_destinations(maps, known, len(missing), destination_name(*missing[0]))
        for destination, slot in zip(missing, free, strict=True):
            label, family, protocol = destination
            key = layout.DESTINATION.pack(label.encode("ascii"), family, protocol)
            bpf.map_update(maps.destinations, key, layout.SLOT.pack(slot), bpf.NOEXIST)
            known[destination] = slot
    return known


def drop_destination(maps: Maps, label: str, family: int, protocol: int) -> None:
    """Free the slot of a destination."""
    key = layout.DESTINATION.pack(label.encode("ascii"), family, protocol)
    bpf.map_delete(maps.destinations, key)

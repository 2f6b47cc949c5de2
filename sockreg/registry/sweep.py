"""Removing generations and slots that are no longer needed, after a swap."""

from collections.abc import Collection

from sockreg.registry import generations, sockops, trial
from sockreg.registry.counters import reset_counters
from sockreg.registry.destinations import drop_destination, read_destinations
from sockreg.registry.locks import Lock
from sockreg.registry.maps import Maps
from sockreg.registry.members import drop_stale_members, members_of


def sweep(registry: str, maps: Maps, numbers: Collection[int | None]) -> None:
    """Keep the generations with these numbers, and the slots that generations or sockets use.

    The generation that an unconfirmed trial would return to is also kept.

    A destination that lost its last rule and its socket frees its slot and resets its counters.
    """
    generations.keep(registry, {*numbers, *(change.base for change in trial.read(registry))})
    used = {
        (label, family, protocol)
        for generation in generations.generations(registry)
        for label, family, protocol, _ in generations.read_header(generation).destinations
    }
    with Lock(registry):
        drop_stale_members(maps)
        expected = sockops.expected_slots(registry)
        unused = {
            destination: slot
            for destination, slot in read_destinations(maps).items()
            if destination not in used and slot not in expected and not members_of(maps, slot)
        }
        reset_counters(registry, unused.values())
        for destination in unused:
            drop_destination(maps, *destination)

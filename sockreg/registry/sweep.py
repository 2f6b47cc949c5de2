"""Removing generations and slots that are no longer needed, after a swap."""

from collections.abc import Collection

from sockreg.registry import generations, pools, sockops, trial
from sockreg.registry.counters import reset_counters
from sockreg.registry.destinations import Key, drop_destination, read_destinations
from sockreg.registry.locks import Lock
from sockreg.registry.maps import Maps
from sockreg.registry.members import drop_stale_members, members_of
from sockreg.terms import ONLY


def sweep(registry: str, maps: Maps, numbers: Collection[int | None]) -> None:
    """Keep the generations with these numbers, and the slots that generations or sockets use.

    The generation that an unconfirmed trial would return to is also kept.

    A destination that lost its last rule and its socket frees its slot and resets its counters. So
    does one of a single listener that lost its last rule, if it is the only one of its unit.
    """
    generations.keep(registry, {*numbers, *(change.base for change in trial.read(registry))})
    used = {
        (label, family, protocol, listener)
        for generation in generations.generations(registry)
        for label, family, protocol, listener, _ in generations.read_header(generation).destinations
    }
    with Lock(registry):
        drop_stale_members(maps)
        expected = sockops.expected_slots(registry)
        there = read_destinations(maps)
        # A destination for the only listeners tells that there are others beside it.
        used |= {(*key[:3], ONLY) for key in there if key[3] != ONLY}
        unused = {
            key: slot
            for key, slot in there.items()
            if key not in used and slot not in expected and not _is_needed(maps, there, key)
        }
        reset_counters(registry, unused.values())
        for key, slot in unused.items():
            if members_of(maps, slot):
                pools.arrange(maps, slot, [])
            drop_destination(maps, key)


def _is_needed(maps: Maps, there: dict[Key, int], key: Key) -> bool:
    """Whether a destination without rules has sockets that are in no other one."""
    members = members_of(maps, there[key])
    if key[3] != ONLY and members:
        only = members_of(maps, there[(*key[:3], ONLY)])
        return not {member.cookie for member in members} <= {member.cookie for member in only}
    return bool(members)

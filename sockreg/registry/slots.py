"""Slots: which socket is in a slot, which slots belong to a pool, and which are free.

A lone member is in its destination's own slot. The members of a pool have their own slots
(registry/pools.py), and the destination's slot is empty.

Callers hold the lock of the registry's directory for everything that writes.

On the companion's start-up path.
"""

from sockreg.errors import RefusedError
from sockreg.kernel import bpf
from sockreg.registry import layout
from sockreg.registry.maps import Maps
from sockreg.terms import DESTINATION_SLOTS, FIRST_SLOT, SLOTS


def cookie_in(maps: Maps, slot: int) -> int | None:
    """The cookie of the socket in a slot, or None if the slot is empty."""
    value = bpf.map_lookup(maps.sockets, layout.SLOT.pack(slot), layout.COOKIE.size)
    return None if value is None else int(layout.COOKIE.unpack(value)[0])


def pool_slots(maps: Maps, slot: int) -> list[int]:
    """The slots of the members of a destination's pool; none without a pool."""
    value = bpf.map_lookup(maps.pools, layout.SLOT.pack(slot), layout.POOL.size)
    if value is None:
        return []
    members, _, _, _, *rest = layout.POOL.unpack(value)
    return [int(slot) for slot in rest[:members]]


def free_for_destinations(
    maps: Maps, destinations: dict[tuple[str, int, int, int], int], count: int, what: str
) -> list[int]:
    """The lowest free slots that destinations may use, emptied.

    ``what`` they are for is named in the RefusedError if there are too few.
    """
    return _free(maps, destinations, [range(FIRST_SLOT, DESTINATION_SLOTS)], count, what)


def free_for_members(
    maps: Maps, destinations: dict[tuple[str, int, int, int], int], count: int, what: str
) -> list[int]:
    """As free_for_destinations(), for members of a pool: they leave low slots to destinations."""
    ranges = [range(DESTINATION_SLOTS, SLOTS), range(FIRST_SLOT, DESTINATION_SLOTS)]
    return _free(maps, destinations, ranges, count, what)


def _free(
    maps: Maps,
    destinations: dict[tuple[str, int, int, int], int],
    candidates: list[range],
    count: int,
    what: str,
) -> list[int]:
    used = set(destinations.values())
    for key in bpf.map_keys(maps.pools, layout.SLOT.size):
        (slot,) = layout.SLOT.unpack(key)
        if slot in used:  # else the pool of a destination that is gone
            used.update(pool_slots(maps, slot))
    free: list[int] = []
    for part in candidates:
        for slot in part:
            if len(free) == count:
                break
            if slot not in used:
                free.append(slot)
    if len(free) < count:
        raise RefusedError(
            f"no slot left for {what}: {sum(map(len, candidates))} are taken, which is the most",
            "unregister sockets or remove rules that you no longer need; 'sockreg status' lists "
            "them",
        )
    for slot in free:
        # An interrupted registration may have left a socket in the slot, and a removed destination
        # its pool. The new owner of the slot must not receive for them.
        bpf.map_delete(maps.sockets, layout.SLOT.pack(slot))
        bpf.map_delete(maps.pools, layout.SLOT.pack(slot))
    return free

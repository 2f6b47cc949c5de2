"""Slots: which socket is in one, which belong to a pool, and which are free.

A lone member sits in its destination's own slot. The members of a pool have slots of
their own (registry/pools.py), and the destination's is empty.

Callers hold the lock of the registry's directory for everything that writes.
On the companion's start-up path.
"""

from sockreg.errors import RefusedError
from sockreg.kernel import bpf
from sockreg.registry import layout
from sockreg.registry.maps import Maps
from sockreg.terms import FIRST_SLOT


def cookie_in(maps: Maps, slot: int) -> int | None:
    """The cookie of the socket in a slot, or None if the slot is empty."""
    value = bpf.map_lookup(maps.sockets, layout.SLOT.pack(slot), layout.COOKIE.size)
    return None if value is None else int(layout.COOKIE.unpack(value)[0])


def pool_slots(maps: Maps, slot: int) -> list[int]:
    """The slots of the members of a destination's pool; none if it has no pool."""
    value = bpf.map_lookup(maps.pools, layout.SLOT.pack(slot), layout.POOL.size)
    if value is None:
        return []
    members, _, *rest = layout.POOL.unpack(value)
    return [int(slot) for slot in rest[:members]]


def free_slots(
    maps: Maps, destinations: dict[tuple[str, int, int], int], count: int, what: str
) -> list[int]:
    """The lowest slots that neither a destination nor a member of a pool has, made empty.

    ``what`` they are for is said by the SockregError (EXIT_REFUSED) if there are too few.
    """
    used = set(destinations.values())
    for slot in destinations.values():
        used.update(pool_slots(maps, slot))
    capacity = bpf.map_capacity(maps.sockets)
    free = [slot for slot in range(FIRST_SLOT, capacity) if slot not in used][:count]
    if len(free) < count:
        raise RefusedError(
            f"no slot left for {what}: {len(used)} of {capacity - FIRST_SLOT} are taken",
            "raise Slots= in section [:registry] of /etc/sockreg/*.conf, then "
            "'systemctl restart sockreg.service'",
        )
    for slot in free:
        # A registration that died may have left a socket there, and a destination that is
        # gone its pool: whoever gets the slot must not receive for them.
        bpf.map_delete(maps.sockets, layout.SLOT.pack(slot))
        bpf.map_delete(maps.pools, layout.SLOT.pack(slot))
    return free

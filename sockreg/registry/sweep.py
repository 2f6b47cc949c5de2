"""Removing what nobody needs any more, after a swap."""

from collections.abc import Collection

from sockreg.kernel import layout, libbpf, syscall
from sockreg.registry import generations, sockets, sockops, state, unconfirmed
from sockreg.registry.directory import Lock


def sweep(registry: str, maps: sockets.Maps, numbers: Collection[int | None]) -> None:
    """Keep the generations of these numbers, and the slots that generations or sockets use.

    What an unconfirmed change would come back to is kept as well.

    A destination that lost its last rule and its socket gives its slot back, with its
    counters at zero.
    """
    generations.keep(registry, {*numbers, *(it.base for it in unconfirmed.read(registry))})
    used = {
        (label, family, protocol)
        for generation in generations.generations(registry)
        for label, family, protocol, _ in generations.read_header(generation).destinations
    }
    zero = bytes(layout.COUNTERS.size * libbpf.possible_cpus())
    with (
        Lock(registry, state.LOCK_TIMEOUT),
        generations.pinned(f"{registry}/counters") as counters,
    ):
        sockets.drop_stale_members(maps)
        expected = sockops.expected_slots(registry)
        for destination, slot in sockets.read_destinations(maps).items():
            needed = destination in used or slot in expected
            if not needed and not sockets.members_of(maps, slot):
                syscall.map_update(counters, layout.SLOT.pack(slot), zero)
                sockets.drop_destination(maps, *destination)

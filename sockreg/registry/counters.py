"""Packets that the program counts, by slot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sockreg.kernel import bpf
from sockreg.registry import layout
from sockreg.registry.counter_growth import value_size
from sockreg.registry.directory import COUNTERS
from sockreg.registry.maps import refuse_other_layout
from sockreg.registry.pins import pinned


@dataclass(frozen=True)
class Causes:
    """Why the kernel refused sockets, in packets.

    The socket was ``closed``: shut down, or connected to one peer. It is of another address
    ``family`` or ``protocol``, which takes a foreign writer. ``other`` has all other reasons.
    """

    closed: int = 0
    family: int = 0
    protocol: int = 0
    other: int = 0


@dataclass(frozen=True)
class Counters:
    """Packets: sent to a destination; of these, without a socket; of these, those whose socket
    the kernel refused, also by cause.
    """

    lookups: int
    misses: int
    errors: int
    causes: Causes = field(default_factory=Causes)


def read_counters(registry: str, slots: Iterable[int]) -> dict[int, Counters]:
    """The counters of these slots, summed over the CPUs.

    Raises SockregError if they are unreadable, or another version of sockreg created them.

    A slot that no rule has ever pointed to may be beyond the map: nothing is counted there.
    """
    size = value_size()
    with pinned(f"{registry}/{COUNTERS}", read_only=True) as fd:
        refuse_other_layout(registry, COUNTERS, fd)
        found = {slot: bpf.map_lookup(fd, layout.SLOT.pack(slot), size) for slot in slots}
    return {slot: _summed(value or bytes(size)) for slot, value in found.items()}


def reset_counters(registry: str, slots: Iterable[int]) -> None:
    """Start at zero."""
    zero = bytes(value_size())
    with pinned(f"{registry}/{COUNTERS}") as fd:
        end = bpf.map_capacity(fd)
        for slot in slots:
            if slot < end:
                bpf.map_update(fd, layout.SLOT.pack(slot), zero)


def _summed(value: bytes) -> Counters:
    columns = zip(*layout.COUNTERS.iter_unpack(value), strict=True)
    lookups, misses, *refused = (sum(column) for column in columns)
    return Counters(lookups, misses, sum(refused), Causes(*refused))

"""Packets that the program counts, by slot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sockreg.kernel import bpf
from sockreg.registry import layout
from sockreg.registry.counter_growth import value_size
from sockreg.registry.directory import COUNTERS
from sockreg.registry.pins import pinned


@dataclass(frozen=True)
class Counters:
    """Packets: sent to a destination; of these, without a socket; of these, those whose socket
    the kernel refused.
    """

    lookups: int
    misses: int
    errors: int


def read_counters(registry: str, slots: Iterable[int]) -> dict[int, Counters]:
    """The counters of these slots, summed over the CPUs. Raises SockregError if unreadable.

    A slot that no rule has ever pointed to may be beyond the map: nothing is counted there.
    """
    size = value_size()
    with pinned(f"{registry}/{COUNTERS}", read_only=True) as fd:
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
    return Counters(*(sum(column) for column in columns))

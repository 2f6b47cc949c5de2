"""Flows of sticky pools: which member got their first datagram.

The program notes them in the map ``flows`` (bpf/pool.h), by slot and cookie of the member, so they
outlive generations. A flow counts as long as ``owners`` has that cookie for that slot. Both maps
are made when a unit first says Flows=sticky, and stay until the registry is removed.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from sockreg.kernel import bpf, libbpf
from sockreg.registry import layout, loading
from sockreg.registry.destinations import read_destinations
from sockreg.registry.directory import FLOWS, OWNERS, UNFINISHED
from sockreg.registry.maps import Maps
from sockreg.registry.pins import closing, pin, pinned
from sockreg.registry.pools import own_slot
from sockreg.registry.slots import cookie_in, pool_slots
from sockreg.terms import SLOT_PASS, SLOTS


class Flow(NamedTuple):
    """A flow, and the member that it stays with.

    Addresses are packed, IPv4 in the first four bytes. ``slot`` is that of the destination.
    ``since`` is CLOCK_MONOTONIC in ns. ``is_alive`` is whether the member's socket is there.
    """

    slot: int
    local: bytes
    local_port: int
    remote: bytes
    remote_port: int
    cookie: int
    since: int
    is_alive: bool


class Flows(NamedTuple):
    """All flows. ``room`` is how many there can be.

    ``noted`` is how many were ever noted. Those that are not there any more had to give way.
    """

    flows: list[Flow]
    room: int
    noted: int

    @property
    def evicted(self) -> int:
        return max(self.noted - len(self.flows), 0)

    def by_member(self) -> Counter[tuple[int, int]]:
        """How many flows stay with each member: by slot of the destination and cookie."""
        return Counter((flow.slot, flow.cookie) for flow in self.flows if flow.is_alive)


def provide(maps: Maps, count: int) -> None:
    """Make room for so many flows, and say whose the slots of all pools are.

    Callers hold the lock of the registry's directory. Flows that are noted while a bigger map
    replaces the present one go by their hash, until they are noted there.
    """
    registry = Path(maps.registry)
    if not (registry / OWNERS).exists():
        owners = libbpf.create_array(OWNERS, layout.COOKIE.size, SLOTS, flags=0)
        _replace(registry / OWNERS, owners)
    for slot in read_destinations(maps).values():
        for place in pool_slots(maps, slot):
            own_slot(maps, place, cookie_in(maps, place) or 0)
    room = 0
    if (registry / FLOWS).exists():
        with pinned(registry / FLOWS) as flows:
            room = bpf.map_capacity(flows)
    if room >= count:
        return
    try:
        bigger = libbpf.create_map(
            libbpf.MAP_TYPE_LRU_HASH, FLOWS, layout.FLOW.size, count, key_size=layout.FLOW_KEY.size
        )
    except OSError as error:
        raise loading.refusal(error, 0) from None
    if room:
        with pinned(registry / FLOWS) as flows:
            for key, value in libbpf.read_hash(flows, layout.FLOW_KEY.size, layout.FLOW.size):
                bpf.map_update(bigger, key, value)
    _replace(registry / FLOWS, bigger)


def _replace(path: Path, made: int) -> None:
    unfinished = path.with_name(f"{UNFINISHED}{path.name}")
    unfinished.unlink(missing_ok=True)
    with closing(made) as fd:
        pin(fd, unfinished)
    unfinished.rename(path)


def read_flows(registry: str) -> Flows | None:
    """The flows that are noted now; None if no unit has ever said Flows=sticky."""
    if not Path(registry, FLOWS).exists():
        return None
    found: list[Flow] = []
    with (
        pinned(f"{registry}/{FLOWS}", read_only=True) as flows,
        pinned(f"{registry}/{OWNERS}", read_only=True) as owners,
        pinned(f"{registry}/sockets", read_only=True) as sockets,
    ):
        there: dict[int, tuple[int | None, int | None]] = {}
        for key, value in libbpf.read_hash(flows, layout.FLOW_KEY.size, layout.FLOW.size):
            slot, local_port, remote_port, local, remote = layout.FLOW_KEY.unpack(key)
            cookie, since, member, _ = layout.FLOW.unpack(value)
            if member not in there:
                there[member] = (_number(owners, member), _number(sockets, member))
            found.append(
                Flow(
                    slot,
                    local,
                    local_port,
                    remote,
                    int.from_bytes(remote_port, "big"),
                    cookie,
                    since,
                    there[member] == (cookie, cookie),
                )
            )
        return Flows(found, bpf.map_capacity(flows), _number(owners, SLOT_PASS) or 0)


def _number(fd: int, slot: int) -> int | None:
    value = bpf.map_lookup(fd, layout.SLOT.pack(slot), layout.COOKIE.size)
    return None if value is None else int(layout.COOKIE.unpack(value)[0])

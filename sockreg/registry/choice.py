"""Which socket of a destination a packet goes to, where the program cannot be asked.

The same as pick() in bpf/pool.h. tests/truth compares the two.
"""

import socket
import sys

from sockreg.kernel import bpf
from sockreg.kernel.testrun import Question
from sockreg.model import INET
from sockreg.registry import layout
from sockreg.registry.directory import FLOWS
from sockreg.registry.maps import Maps
from sockreg.registry.slots import cookie_in

_MASK = (1 << 64) - 1
_ORDER = sys.byteorder


def chosen(maps: Maps, slot: int, question: Question) -> int | None:
    """The cookie of the socket that the program finds, open or shut down; None if there is none."""
    lone = cookie_in(maps, slot)
    if lone is not None:
        return lone
    value = bpf.map_lookup(maps.pools, layout.SLOT.pack(slot), layout.POOL.size)
    if value is None:
        return None
    _, _, sticky, active, *rest = layout.POOL.unpack(value)
    noted = _noted(maps, slot, question) if sticky else None
    if noted is not None:
        return noted
    members, entries = rest[: layout.POOL_MEMBERS], rest[layout.POOL_MEMBERS :]
    flow = _hash(question)
    parts = [entries[flow >> shift & layout.POOL_ENTRIES - 1] for shift in range(0, 64, 16)]
    found = (cookie_in(maps, place) for place in (*parts, *members[:active]))
    return next((cookie for cookie in found if cookie is not None), None)


def _noted(maps: Maps, slot: int, question: Question) -> int | None:
    """The cookie of the socket that this flow stays with, if that is still there."""
    here, there = (
        socket.inet_pton(question.family, address).ljust(16, b"\0")
        for address, _ in (question.local, question.remote)
    )
    port = question.remote[1].to_bytes(2, "big")
    key = layout.FLOW_KEY.pack(slot, question.local[1], port, here, there)
    try:
        with bpf.Pinned(f"{maps.registry}/{FLOWS}", bpf.READ_ONLY) as flows:
            value = bpf.map_lookup(flows, key, layout.FLOW.size)
    except FileNotFoundError:
        return None
    if value is None:
        return None
    cookie, _, member, _ = layout.FLOW.unpack(value)
    return int(cookie) if cookie_in(maps, member) == cookie else None


def _hash(question: Question) -> int:
    """flow_hash() in bpf/pool.h: a context has ports of the host, all else is in network order."""
    local, remote = (
        socket.inet_pton(question.family, address)
        for address, _ in (question.local, question.remote)
    )
    here, there = (
        [int.from_bytes(packed[at : at + 4], _ORDER) for at in range(0, len(packed), 4)]
        for packed in (local, remote)
    )
    port = int.from_bytes(question.remote[1].to_bytes(2, "big"), _ORDER)
    mixed = port << 32 | question.local[1]
    if question.family == INET:
        mixed ^= there[0] << 16 ^ here[0] << 24
    else:
        mixed ^= there[0] << 32 | there[1]
        mixed = mixed * 0x9E3779B97F4A7C15 & _MASK
        mixed ^= there[2] << 32 | there[3]
        mixed = mixed * 0x9E3779B97F4A7C15 & _MASK
        mixed ^= here[2] << 32 | here[3]
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
    return mixed ^ mixed >> 31

"""Who is expected to listen: what bpf/sockops.h says, in Python.

An entry names a unit by its cgroup. The sock_ops program puts the first TCP socket that
listens in this cgroup, or the one on the port given, into the label's slots.
"""

import errno
import struct
from dataclasses import dataclass

from sockreg.host import cgroup
from sockreg.kernel import bpf
from sockreg.label import DEFAULT_WEIGHT
from sockreg.registry import layout

ANY_PORT = 0
EXPECTED_KEY = struct.Struct("=QII")  # cgroup, port, zero
# netns, clock, slot_ipv4, slot_ipv6, port, own_ipv4, weight, failed, unit
EXPECTED = struct.Struct(f"=QQIIIIII{layout.UNIT_SIZE}s")

# C structure and member names in order, for the comparison with BTF.
STRUCTURES = {
    "expected_key": (EXPECTED_KEY, ("cgroup", "port", "zero")),
    "expected": (
        EXPECTED,
        (
            "netns",
            "clock",
            "slot_ipv4",
            "slot_ipv6",
            "port",
            "own_ipv4",
            "weight",
            "failed",
            "unit",
        ),
    ),
}


@dataclass(frozen=True)
class Expected:
    """``port`` is the one asked for, or ANY_PORT. ``netns`` is the registry's cookie.

    ``clock`` is CLOCK_REALTIME minus CLOCK_MONOTONIC in ns: programs have the latter only.
    ``failed`` counts sockets that the kernel did not take.
    """

    cgroup: int
    port: int
    netns: int
    clock: int
    slot_ipv4: int
    slot_ipv6: int
    unit: str
    failed: int = 0


def write(map_fd: int, entry: Expected) -> None:
    """Expect a unit, instead of what was expected of it in an earlier life.

    What a unit has expected in the same cgroup for other ports stays. OSError: E2BIG if
    there is no room.
    """
    key = EXPECTED_KEY.pack(entry.cgroup, entry.port, 0)
    value = EXPECTED.pack(
        entry.netns,
        entry.clock,
        entry.slot_ipv4,
        entry.slot_ipv6,
        0,
        0,
        DEFAULT_WEIGHT,
        0,
        entry.unit.encode("ascii"),
    )
    for other in read(map_fd):
        if other.unit == entry.unit and other.cgroup != entry.cgroup:
            _delete(map_fd, other)
    try:
        bpf.map_update(map_fd, key, value)
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        _drop_stale(map_fd)
        bpf.map_update(map_fd, key, value)


def read(map_fd: int) -> list[Expected]:
    """All entries, also those of units that have ended since."""
    found = []
    for key in bpf.map_keys(map_fd, EXPECTED_KEY.size):
        value = bpf.map_lookup(map_fd, key, EXPECTED.size)
        if value is not None:
            cgroup_id, port, _ = EXPECTED_KEY.unpack(key)
            netns, clock, ipv4, ipv6, _, _, _, failed, unit = EXPECTED.unpack(value)
            found.append(
                Expected(cgroup_id, port, netns, clock, ipv4, ipv6, layout.text(unit), failed)
            )
    return found


def _drop_stale(map_fd: int) -> None:
    """Delete the entries whose cgroup is gone; the kernel never gives an id to another one."""
    alive = cgroup.all_ids()
    for entry in read(map_fd):
        if entry.cgroup not in alive:
            _delete(map_fd, entry)


def _delete(map_fd: int, entry: Expected) -> None:
    bpf.map_delete(map_fd, EXPECTED_KEY.pack(entry.cgroup, entry.port, 0))

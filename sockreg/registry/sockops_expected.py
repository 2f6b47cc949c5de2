"""Units that are expected to listen: the structures of bpf/sockops.h in Python.

An entry names a unit by its cgroup. The sock_ops program puts the first TCP socket that listens in
this cgroup, or the one on the given port, into the label's slots.
"""

import errno
import struct
from dataclasses import dataclass

from sockreg.host import cgroup
from sockreg.kernel import bpf
from sockreg.registry import layout
from sockreg.terms import DEFAULT_WEIGHT

ANY_PORT = 0
EXPECTED_KEY = struct.Struct("=QII")  # cgroup, port, zero
# netns, clock, only_ipv4, only_ipv6, this_ipv4, this_ipv6, held_ipv4, held_ipv6, port, own_ipv4,
# weight, failed, unit
EXPECTED = struct.Struct(f"=QQIIIIQQIIII{layout.UNIT_SIZE}s")

# C structure and member names in order, for the comparison with BTF.
STRUCTURES = {
    "expected_key": (EXPECTED_KEY, ("cgroup", "port", "zero")),
    "expected": (
        EXPECTED,
        (
            "netns",
            "clock",
            "only_ipv4",
            "only_ipv6",
            "this_ipv4",
            "this_ipv6",
            "held_ipv4",
            "held_ipv6",
            "port",
            "own_ipv4",
            "weight",
            "failed",
            "unit",
        ),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Expected:
    """``port`` is the expected port, or ANY_PORT. ``netns`` is the registry's cookie.

    ``only_`` slots are of the label's destinations for the only listener of a unit, and ``this_``
    slots of those for the listener on ``port``; 0 is none.

    ``clock`` is CLOCK_REALTIME minus CLOCK_MONOTONIC in ns, because programs only have the latter.
    ``held_ipv4`` and ``held_ipv6`` are cookies of sockets of the unit that are in the slots; 0 is
    none. ``failed`` counts sockets that were refused: by the kernel, or because others have the
    slot.
    """

    cgroup: int
    port: int
    netns: int
    clock: int
    unit: str
    only_ipv4: int = 0
    only_ipv6: int = 0
    this_ipv4: int = 0
    this_ipv6: int = 0
    held_ipv4: int = 0
    held_ipv6: int = 0
    failed: int = 0

    @property
    def slots(self) -> set[int]:
        """The slots that the listener will enter."""
        return {self.only_ipv4, self.only_ipv6, self.this_ipv4, self.this_ipv6} - {0}


class Expectations:
    """The pinned map of expected units. It does not own its descriptor, ``fd``."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def expect(self, entry: Expected) -> None:
        """Expect a unit, in place of entries from an earlier start of the unit.

        Entries of the same cgroup for other ports stay. Raises OSError: E2BIG if there is no room.
        """
        for other in self.read():
            if other.unit == entry.unit and other.cgroup != entry.cgroup:
                self._delete(other)
        try:
            self._write(entry)
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            self._drop_stale()
            self._write(entry)

    def read(self) -> list[Expected]:
        """All entries, including those of units that have ended."""
        found = []
        for key in bpf.map_keys(self._fd, EXPECTED_KEY.size):
            value = bpf.map_lookup(self._fd, key, EXPECTED.size)
            if value is not None:
                found.append(_unpacked(key, value))
        return found

    def _write(self, entry: Expected) -> None:
        bpf.map_update(self._fd, _key(entry), _packed(entry))

    def _drop_stale(self) -> None:
        """Delete the entries whose cgroup is gone; the kernel never reuses the id."""
        alive = cgroup.all_ids()
        for entry in self.read():
            if entry.cgroup not in alive:
                self._delete(entry)

    def _delete(self, entry: Expected) -> None:
        bpf.map_delete(self._fd, _key(entry))


def _key(entry: Expected) -> bytes:
    return EXPECTED_KEY.pack(entry.cgroup, entry.port, 0)


def _packed(entry: Expected) -> bytes:
    return EXPECTED.pack(
        entry.netns,
        entry.clock,
        entry.only_ipv4,
        entry.only_ipv6,
        entry.this_ipv4,
        entry.this_ipv6,
        entry.held_ipv4,
        entry.held_ipv6,
        0,
        0,
        DEFAULT_WEIGHT,
        0,
        entry.unit.encode("ascii"),
    )


def _unpacked(key: bytes, value: bytes) -> Expected:
    cgroup_id, port, _ = EXPECTED_KEY.unpack(key)
    netns, clock, *slots, held_ipv4, held_ipv6, _, _, _, failed, unit = EXPECTED.unpack(value)
    only_ipv4, only_ipv6, this_ipv4, this_ipv6 = slots
    return Expected(
        cgroup=cgroup_id,
        port=port,
        netns=netns,
        clock=clock,
        only_ipv4=only_ipv4,
        only_ipv6=only_ipv6,
        this_ipv4=this_ipv4,
        this_ipv6=this_ipv6,
        unit=layout.text(unit),
        held_ipv4=held_ipv4,
        held_ipv6=held_ipv6,
        failed=failed,
    )

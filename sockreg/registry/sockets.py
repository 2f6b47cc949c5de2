"""The sockets of a registry: destinations own slots, members sit in them.

A registration first writes the member's record under (cookie, slot), then puts the
socket into its slot in one step, then drops the record of the one before. A reader that
takes the cookie from the slot therefore always finds the record that belongs to it, and
a crash at any point leaves at most a record that nobody looks up.

Callers hold the lock of the registry's directory for everything that writes.
On the companion's start-up path.
"""

import _socket
import errno
import posix
import sys

from sockreg.errors import EXIT_REFUSED, SockregError
from sockreg.kernel import layout, syscall
from sockreg.kernel.listener import Listener, address_text
from sockreg.registry.directory import denied, not_loaded

_ORDER = sys.byteorder
_NAMES = {2: "IPv4", 10: "IPv6", 6: "tcp", 17: "udp"}
NO_UNIT = "-"


class Maps:
    """Descriptors of the pinned maps that registrations write; ``close`` them."""

    def __init__(self, registry: str, flags: int = syscall.READ_WRITE) -> None:
        self.registry = registry
        opened: list[int] = []
        try:
            for pin in ("sockets", "destinations", "members", "units"):
                opened.append(syscall.obj_get(f"{registry}/{pin}", flags))
        except OSError as error:
            for fd in opened:
                posix.close(fd)
            if error.errno == errno.ENOENT:
                raise not_loaded(registry) from None
            if error.errno in (errno.EACCES, errno.EPERM):
                raise denied(registry, error) from None
            raise
        self.sockets, self.destinations, self.members, self.units = opened

    def close(self) -> None:
        for fd in (self.sockets, self.destinations, self.members, self.units):
            posix.close(fd)


class Member:
    """A registered socket as its record tells: see struct member in bpf/registry.h."""

    def __init__(self, cookie: int, slot: int, record: bytes) -> None:
        self.cookie = cookie
        self.slot = slot
        fields = layout.MEMBER.unpack(record)
        self.registered: int = fields[0]
        self.family: int = fields[1]
        self.port: int = fields[2]
        self.weight: int = fields[3]
        self.packed_address: bytes = fields[4]
        self.unit = layout.text(fields[5])

    @property
    def address(self) -> str:
        """The local address, ``[::]:80``; empty if the record is missing."""
        if not self.family:
            return ""
        packed = self.packed_address if self.family == _socket.AF_INET6 else self.packed_address[:4]
        return address_text(self.family, _socket.inet_ntop(self.family, packed), self.port)


def destination_name(label: str, family: int, protocol: int) -> str:
    """For messages: ``web (tcp, IPv4)``."""
    return f"{label} ({_NAMES[protocol]}, {_NAMES[family]})"


def find_slot(maps: Maps, label: str, family: int, protocol: int) -> int | None:
    """The slot of a destination, or None if it has none yet."""
    key = layout.DESTINATION.pack(label.encode("ascii"), family, protocol)
    value = syscall.map_lookup(maps.destinations, key, layout.SLOT.size)
    return None if value is None else int(layout.SLOT.unpack(value)[0])


def read_destinations(maps: Maps) -> dict[tuple[str, int, int], int]:
    """All destinations, (label, family, protocol) -> slot."""
    found = {}
    for key in syscall.map_keys(maps.destinations, layout.DESTINATION.size):
        value = syscall.map_lookup(maps.destinations, key, layout.SLOT.size)
        if value is not None:
            label, family, protocol = layout.DESTINATION.unpack(key)
            found[layout.text(label), family, protocol] = layout.SLOT.unpack(value)[0]
    return found


def add_destinations(
    maps: Maps, wanted: list[tuple[str, int, int]]
) -> dict[tuple[str, int, int], int]:
    """Give every wanted destination a slot; returns all destinations.

    SockregError (EXIT_REFUSED) when the registry has no slot left: nothing is added then
    that would be in anybody's way, as a destination without socket or rule does nothing.
    """
    known = read_destinations(maps)
    used = set(known.values())
    free = layout.FIRST_SLOT
    for destination in wanted:
        if destination in known:
            continue
        while free in used:
            free += 1
        label, family, protocol = destination
        key = layout.DESTINATION.pack(label.encode("ascii"), family, protocol)
        try:
            syscall.map_update(maps.destinations, key, layout.SLOT.pack(free), syscall.NOEXIST)
        except OSError as error:
            if error.errno == errno.E2BIG:
                raise SockregError(
                    f"no slot left for {destination_name(*destination)}: "
                    f"all {len(known)} are taken",
                    "raise Slots= in section [:registry] of /etc/sockreg/*.conf, then "
                    "'systemctl restart sockreg.service'",
                    EXIT_REFUSED,
                ) from None
            raise
        known[destination] = free
        used.add(free)
    return known


def drop_destination(maps: Maps, label: str, family: int, protocol: int) -> None:
    """Give the slot of a destination back."""
    key = layout.DESTINATION.pack(label.encode("ascii"), family, protocol)
    syscall.map_delete(maps.destinations, key)


def cookie_in(maps: Maps, slot: int) -> int | None:
    """The cookie of the socket in a slot, or None if the slot is empty."""
    value = syscall.map_lookup(maps.sockets, layout.SLOT.pack(slot), layout.COOKIE.size)
    return None if value is None else int(layout.COOKIE.unpack(value)[0])


def member_in(maps: Maps, slot: int) -> Member | None:
    """The member in a slot; one without a record (a foreign writer) has unit ``-``."""
    cookie = cookie_in(maps, slot)
    if cookie is None:
        return None
    record = syscall.map_lookup(
        maps.members, layout.MEMBER_KEY.pack(cookie, slot, 0), layout.MEMBER.size
    )
    if record is None:
        record = layout.MEMBER.pack(0, 0, 0, 0, b"", NO_UNIT.encode())
    return Member(cookie, slot, record)


def put(maps: Maps, slot: int, listener: Listener, unit: str, now: int) -> int | None:
    """Put a socket into a slot in place of whatever is there; returns the cookie it replaced.

    ``now`` is CLOCK_REALTIME in ns. None when the slot was empty.
    """
    previous = cookie_in(maps, slot)
    record = layout.MEMBER.pack(
        now, listener.family, listener.port, 1, listener.packed_address(), unit.encode("ascii")
    )
    key = layout.MEMBER_KEY.pack(listener.cookie, slot, 0)
    try:
        syscall.map_update(maps.members, key, record)
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        drop_stale_members(maps)
        syscall.map_update(maps.members, key, record)
    try:
        syscall.map_update(maps.sockets, layout.SLOT.pack(slot), listener.fd.to_bytes(8, _ORDER))
    except OSError as error:
        if previous != listener.cookie:
            syscall.map_delete(maps.members, key)
        raise _refused(listener, error) from None
    if previous is not None and previous != listener.cookie:
        syscall.map_delete(maps.members, layout.MEMBER_KEY.pack(previous, slot, 0))
    return previous


def _refused(listener: Listener, error: OSError) -> SockregError:
    where = address_text(listener.family, listener.address, listener.port)
    if error.errno == errno.EPERM:
        return SockregError(
            f"the kernel does not let this process register {where}: {error.strerror}",
            "before Linux 5.19 that needs CAP_BPF and CAP_NET_ADMIN: add them to the unit",
            EXIT_REFUSED,
        )
    return SockregError(
        f"the kernel refuses to register {where}: {error.strerror}", "", EXIT_REFUSED
    )


def remove(maps: Maps, member: Member) -> None:
    """Take a member out of its slot, if it is still the one there."""
    if cookie_in(maps, member.slot) == member.cookie:
        syscall.map_delete(maps.sockets, layout.SLOT.pack(member.slot))
    syscall.map_delete(maps.members, layout.MEMBER_KEY.pack(member.cookie, member.slot, 0))


def read_members(maps: Maps) -> list[Member]:
    """All records, also of sockets that are gone since."""
    found = []
    for key in syscall.map_keys(maps.members, layout.MEMBER_KEY.size):
        record = syscall.map_lookup(maps.members, key, layout.MEMBER.size)
        if record is not None:
            cookie, slot, _ = layout.MEMBER_KEY.unpack(key)
            found.append(Member(cookie, slot, record))
    return found


def drop_stale_members(maps: Maps) -> int:
    """Delete the records whose socket is no longer in its slot; returns how many."""
    dropped = 0
    for member in read_members(maps):
        if cookie_in(maps, member.slot) != member.cookie:
            syscall.map_delete(maps.members, layout.MEMBER_KEY.pack(member.cookie, member.slot, 0))
            dropped += 1
    return dropped


def read_units(maps: Maps) -> dict[str, tuple[int, ...]]:
    """The units that count, with their struct unit_state."""
    found = {}
    for key in syscall.map_keys(maps.units, layout.UNIT_NAME.size):
        value = syscall.map_lookup(maps.units, key, layout.UNIT_STATE.size)
        if value is not None:
            found[layout.text(key)] = layout.UNIT_STATE.unpack(value)
    return found


def write_unit(maps: Maps, unit: str, active: bool, files: tuple[int, int, int, int]) -> None:
    """Let a unit count; ``files`` are the last four members of struct unit_state."""
    syscall.map_update(
        maps.units,
        layout.UNIT_NAME.pack(unit.encode("ascii")),
        layout.UNIT_STATE.pack(active, *files),
    )

"""The sockets of a registry: destinations own slots, members sit in them.

A lone member sits in its destination's own slot. The members of a pool have slots of
their own (registry/pools.py), and the destination's is empty.

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
DEFAULT_WEIGHT = 100


class Maps:
    """Descriptors of the pinned maps that registrations write; ``close`` them."""

    def __init__(self, registry: str, flags: int = syscall.READ_WRITE) -> None:
        self.registry = registry
        opened: list[int] = []
        try:
            for pin in ("sockets", "pools", "destinations", "members", "units"):
                opened.append(syscall.obj_get(f"{registry}/{pin}", flags))
        except OSError as error:
            for fd in opened:
                posix.close(fd)
            if error.errno == errno.ENOENT:
                raise not_loaded(registry) from None
            if error.errno in (errno.EACCES, errno.EPERM):
                raise denied(registry, error) from None
            raise
        self.sockets, self.pools, self.destinations, self.members, self.units = opened

    def close(self) -> None:
        for fd in (self.sockets, self.pools, self.destinations, self.members, self.units):
            posix.close(fd)


class Member:
    """A registered socket as its record tells: see struct member in bpf/registry.h."""

    def __init__(self, cookie: int, slot: int, record: bytes) -> None:
        self.cookie = cookie
        self.slot = slot
        self.record = record
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
    missing = [destination for destination in wanted if destination not in known]
    if missing:
        free = free_slots(maps, known, len(missing), destination_name(*missing[0]))
        for destination, slot in zip(missing, free, strict=True):
            label, family, protocol = destination
            key = layout.DESTINATION.pack(label.encode("ascii"), family, protocol)
            syscall.map_update(maps.destinations, key, layout.SLOT.pack(slot), syscall.NOEXIST)
            known[destination] = slot
    return known


def free_slots(
    maps: Maps, destinations: dict[tuple[str, int, int], int], count: int, what: str
) -> list[int]:
    """The lowest slots that neither a destination nor a member of a pool has, made empty.

    ``what`` they are for is said by the SockregError (EXIT_REFUSED) if there are too few.
    """
    used = set(destinations.values())
    for slot in destinations.values():
        used.update(pool_slots(maps, slot))
    capacity = syscall.map_capacity(maps.sockets)
    free = [slot for slot in range(layout.FIRST_SLOT, capacity) if slot not in used][:count]
    if len(free) < count:
        raise SockregError(
            f"no slot left for {what}: {len(used)} of {capacity - layout.FIRST_SLOT} are taken",
            "raise Slots= in section [:registry] of /etc/sockreg/*.conf, then "
            "'systemctl restart sockreg.service'",
            EXIT_REFUSED,
        )
    for slot in free:
        # A registration that died may have left a socket there, and a destination that is
        # gone its pool: whoever gets the slot must not receive for them.
        syscall.map_delete(maps.sockets, layout.SLOT.pack(slot))
        syscall.map_delete(maps.pools, layout.SLOT.pack(slot))
    return free


def pool_slots(maps: Maps, slot: int) -> list[int]:
    """The slots of the members of a destination's pool; none if it has no pool."""
    value = syscall.map_lookup(maps.pools, layout.SLOT.pack(slot), layout.POOL.size)
    if value is None:
        return []
    members, _, *rest = layout.POOL.unpack(value)
    return [int(slot) for slot in rest[:members]]


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
        record = layout.MEMBER.pack(0, 0, 0, DEFAULT_WEIGHT, b"", NO_UNIT.encode())
    return Member(cookie, slot, record)


def members_of(maps: Maps, slot: int) -> list[Member]:
    """The members of a destination that have a socket, one a unit: of its pool, or the lone one.

    Between the steps of a change the lone one and a pool can be there together.
    """
    members: dict[str, Member] = {}
    for place in (*pool_slots(maps, slot), slot):
        member = member_in(maps, place)
        if member is not None:
            members.setdefault(member.unit, member)
    return list(members.values())


def enter(
    maps: Maps, slot: int, listener: Listener, unit: str, weight: int, now: int
) -> int | None:
    """Register a socket for a destination, in place of the unit's own one if it has one.

    With sockets of other units it forms a pool. ``weight`` is its share of new flows
    there; 0 keeps new flows away. Returns the cookie that it replaced, or None. A socket
    that is there already for another unit goes over to this one.
    """
    if weight > 0 and not pool_slots(maps, slot):
        member = member_in(maps, slot)
        if member is None or member.unit == unit or member.cookie == listener.cookie:
            return put(maps, slot, listener, unit, weight, now)
    from sockreg.registry import pools

    return pools.join(maps, slot, listener, unit, weight, now)


def put(maps: Maps, slot: int, listener: Listener, unit: str, weight: int, now: int) -> int | None:
    """Put a socket into a slot in place of whatever is there; returns the cookie it replaced.

    ``now`` is CLOCK_REALTIME in ns. None when the slot was empty.
    """
    previous = cookie_in(maps, slot)
    record = layout.MEMBER.pack(
        now,
        listener.family,
        listener.port,
        weight,
        listener.packed_address(),
        unit.encode("ascii"),
    )
    key = layout.MEMBER_KEY.pack(listener.cookie, slot, 0)
    write_record(maps, key, record)
    try:
        syscall.map_update(maps.sockets, layout.SLOT.pack(slot), listener.fd.to_bytes(8, _ORDER))
    except OSError as error:
        if previous != listener.cookie:
            syscall.map_delete(maps.members, key)
        raise _refused(listener, error) from None
    if previous is not None and previous != listener.cookie:
        syscall.map_delete(maps.members, layout.MEMBER_KEY.pack(previous, slot, 0))
    return previous


def write_record(maps: Maps, key: bytes, record: bytes) -> None:
    """Write a member's record, making room if those of sockets long gone fill the map."""
    try:
        syscall.map_update(maps.members, key, record)
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        drop_stale_members(maps)
        syscall.map_update(maps.members, key, record)


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


def remove(maps: Maps, slot: int, member: Member) -> None:
    """Take a member of a destination out, if it is still there."""
    if pool_slots(maps, slot):
        from sockreg.registry import pools

        pools.leave(maps, slot, member)
        return
    if cookie_in(maps, slot) == member.cookie:
        syscall.map_delete(maps.sockets, layout.SLOT.pack(slot))
    syscall.map_delete(maps.members, layout.MEMBER_KEY.pack(member.cookie, slot, 0))


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
    """The units that count, with the members of their struct unit_state."""
    found = {}
    for key in syscall.map_keys(maps.units, layout.UNIT_NAME.size):
        value = syscall.map_lookup(maps.units, key, layout.UNIT_STATE.size)
        if value is not None:
            found[layout.text(key)] = layout.UNIT_STATE.unpack(value)
    return found


def write_unit(
    maps: Maps, unit: str, active: bool, files: tuple[int, int, int, int], weight: int
) -> None:
    """Let a unit count; ``files`` are files_state() of its files."""
    syscall.map_update(
        maps.units,
        layout.UNIT_NAME.pack(unit.encode("ascii")),
        layout.UNIT_STATE.pack(active, *files, weight, 0),
    )


def unit_weight(maps: Maps, unit: str) -> int:
    """The weight that the unit's files give its sockets, as the loader read them."""
    key = layout.UNIT_NAME.pack(unit.encode("ascii"))
    value = syscall.map_lookup(maps.units, key, layout.UNIT_STATE.size)
    return DEFAULT_WEIGHT if value is None else int(layout.UNIT_STATE.unpack(value)[5])

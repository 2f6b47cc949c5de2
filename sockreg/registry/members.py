"""Members: the sockets in the slots, and their records.

A registration first writes the member's record under (cookie, slot), then puts the socket into its
slot in one step, then drops the previous record. A reader that takes the cookie from the slot
therefore always finds the right record, and a crash leaves at most a record that nothing refers to.

Callers hold the lock of the registry's directory for everything that writes.

On the companion's start-up path.
"""

import _socket
import errno
import sys

from sockreg.errors import RefusedError, SockregError
from sockreg.host.listener import Listener, address_text
from sockreg.kernel import bpf
from sockreg.registry import layout
from sockreg.registry.directory import DENIED
from sockreg.registry.maps import Maps
from sockreg.registry.slots import cookie_in, pool_slots
from sockreg.systemd.unit_of import NO_UNIT
from sockreg.terms import DEFAULT_WEIGHT

_ORDER = sys.byteorder


class Member:
    """A registered socket: see struct member in bpf/registry.h.

    ``packed_address`` is in network order, IPv4 in its first four bytes. ``family`` is 0 if there
    is no record. ``weight_said`` is whether its unit's files or its registration said a weight.
    ``exact`` is whether packets are for it without its SO_REUSEPORT group. ``mates`` are further
    sockets of this group: they serve once it is closed. ``sticky`` is whether flows stay with it;
    then earlier sockets of its unit are among the mates, too: they are ``replaced``. ``stalled`` is
    whether it gets no new flows until its server accepts (Drain=stalled); see shares_of().
    """

    def __init__(
        self,
        cookie: int,
        slot: int,
        *,
        registered: int = 0,
        family: int = 0,
        port: int = 0,
        weight: int = DEFAULT_WEIGHT,
        weight_said: bool = False,
        exact: bool = False,
        sticky: bool = False,
        replaced: bool = False,
        stalled: bool = False,
        packed_address: bytes = b"",
        unit: str = NO_UNIT,
    ) -> None:
        self.cookie = cookie
        self.slot = slot
        self.registered = registered
        self.family = family
        self.port = port
        self.weight = weight
        self.weight_said = weight_said
        self.exact = exact
        self.sticky = sticky
        self.replaced = replaced
        self.stalled = stalled
        self.packed_address = packed_address
        self.unit = unit
        self.mates: list[Member] = []

    def is_bound_like(self, family: int, packed_address: bytes, port: int) -> bool:
        """Whether it has this local address, given without padding."""
        return (self.family, self.port, self.packed_address[: len(packed_address)]) == (
            family,
            port,
            packed_address,
        )

    def is_mate_of(self, listener: Listener) -> bool:
        """Whether it is in the SO_REUSEPORT group of another socket."""
        return listener.in_group and self.is_bound_like(
            listener.family, listener.packed_address(), listener.port
        )

    def packed(self) -> bytes:
        """The record of the member, as struct member."""
        return layout.MEMBER.pack(
            self.registered,
            self.family,
            self.port,
            self.weight,
            layout.MEMBER_WEIGHT_SAID * self.weight_said
            | layout.MEMBER_EXACT * self.exact
            | layout.MEMBER_STICKY * self.sticky
            | layout.MEMBER_REPLACED * self.replaced
            | layout.MEMBER_STALLED * self.stalled,
            self.packed_address,
            self.unit.encode("ascii"),
        )

    @property
    def address(self) -> str:
        """The local address, ``[::]:80``; empty if the record is missing."""
        if not self.family:
            return ""
        packed = self.packed_address if self.family == _socket.AF_INET6 else self.packed_address[:4]
        return address_text(self.family, _socket.inet_ntop(self.family, packed), self.port)


def _unpacked(cookie: int, slot: int, record: bytes) -> Member:
    registered, family, port, weight, flags, packed_address, unit = layout.MEMBER.unpack(record)
    return Member(
        cookie,
        slot,
        registered=registered,
        family=family,
        port=port,
        weight=weight,
        weight_said=bool(flags & layout.MEMBER_WEIGHT_SAID),
        exact=bool(flags & layout.MEMBER_EXACT),
        sticky=bool(flags & layout.MEMBER_STICKY),
        replaced=bool(flags & layout.MEMBER_REPLACED),
        stalled=bool(flags & layout.MEMBER_STALLED),
        packed_address=packed_address,
        unit=layout.text(unit),
    )


def member_in(maps: Maps, slot: int) -> Member | None:
    """The member in a slot. Without a record (a foreign writer), its unit is ``-``."""
    cookie = cookie_in(maps, slot)
    if cookie is None:
        return None
    record = bpf.map_lookup(
        maps.members, layout.MEMBER_KEY.pack(cookie, slot, 0), layout.MEMBER.size
    )
    return Member(cookie, slot) if record is None else _unpacked(cookie, slot, record)


def shares_of(members: list[Member]) -> dict[str, int]:
    """The weight that counts, by unit: 0 for members that are stalled, unless all others are
    drained. Then the weights are as if none was.
    """
    shares = {member.unit: 0 if member.stalled else member.weight for member in members}
    return shares if any(shares.values()) else {member.unit: member.weight for member in members}


def members_of(maps: Maps, slot: int) -> list[Member]:
    """The members of a destination that have a socket, one per unit: of its pool, or the lone one.

    During a change, the lone member and a pool can exist together.
    """
    members: dict[str, Member] = {}
    for place in (slot, *pool_slots(maps, slot)):
        member = member_in(maps, place)
        if member is None:
            continue
        first = members.setdefault(member.unit, member)
        if member.replaced or first.is_bound_like(
            member.family, member.packed_address, member.port
        ):
            known = [first.cookie, *(mate.cookie for mate in first.mates)]
            if member.cookie not in known:
                first.mates.append(member)
    return list(members.values())


def put(
    maps: Maps,
    slot: int,
    listener: Listener,
    *,
    unit: str,
    weight: int,
    weight_said: bool,
    now: int,
    exact: bool = False,
    sticky: bool = False,
) -> int | None:
    """Put a socket into a slot, replacing any other. Returns the replaced cookie, or None.

    ``now`` is CLOCK_REALTIME in ns. Raises RefusedError if another socket enters an empty slot at
    the same moment, which only the sock_ops program does.
    """
    previous = cookie_in(maps, slot)
    member = Member(
        listener.cookie,
        slot,
        registered=now,
        family=listener.family,
        port=listener.port,
        weight=weight,
        weight_said=weight_said,
        exact=exact,
        sticky=sticky,
        packed_address=listener.packed_address(),
        unit=unit,
    )
    key = write_record(maps, member, slot)
    try:
        flags = bpf.NOEXIST if previous is None else bpf.ANY
        fd = listener.fd.to_bytes(8, _ORDER)
        bpf.map_update(maps.sockets, layout.SLOT.pack(slot), fd, flags)
    except OSError as error:
        if previous != listener.cookie:
            _forget(maps, key)
        raise _refused(listener, error) from None
    if previous is not None and previous != listener.cookie:
        _forget(maps, layout.MEMBER_KEY.pack(previous, slot, 0))
    return previous


def _forget(maps: Maps, key: bytes) -> None:
    """Drop the record of a socket that is not in its slot any more."""
    try:
        bpf.map_delete(maps.members, key)
    except OSError:
        return  # its cookie says that it is stale, and drop_stale_members() comes again


def write_record(maps: Maps, member: Member, slot: int) -> bytes:
    """Write the record of a member for ``slot``. Returns its key.

    If the map is full, removes records of closed sockets first.
    """
    key, record = layout.MEMBER_KEY.pack(member.cookie, slot, 0), member.packed()
    try:
        bpf.map_update(maps.members, key, record)
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        drop_stale_members(maps)
        bpf.map_update(maps.members, key, record)
    return key


def _refused(listener: Listener, error: OSError) -> SockregError:
    where = address_text(listener.family, listener.address, listener.port)
    if error.errno in DENIED:
        from sockreg.host import bpf_access  # only after a refusal

        return RefusedError(
            f"the kernel does not let this process register {where}: {error.strerror}",
            bpf_access.remedy(),
        )
    if error.errno == errno.EEXIST:
        return RefusedError(
            f"another socket took the slot of {where} at the same moment",
            "'sockreg status' shows whose it is",
        )
    return RefusedError(f"the kernel refuses to register {where}: {error.strerror}", "")


def take_out(maps: Maps, slot: int, cookie: int) -> None:
    """Empty a slot if it has this socket, and drop its record."""
    if cookie_in(maps, slot) == cookie:
        bpf.map_delete(maps.sockets, layout.SLOT.pack(slot))
    _forget(maps, layout.MEMBER_KEY.pack(cookie, slot, 0))


def read_members(maps: Maps) -> list[Member]:
    """All records, including those of closed sockets."""
    found = []
    for key in bpf.map_keys(maps.members, layout.MEMBER_KEY.size):
        record = bpf.map_lookup(maps.members, key, layout.MEMBER.size)
        if record is not None:
            cookie, slot, _ = layout.MEMBER_KEY.unpack(key)
            found.append(_unpacked(cookie, slot, record))
    return found


def drop_stale_members(maps: Maps) -> int:
    """Delete the records whose socket is no longer in its slot. Returns how many."""
    dropped = 0
    for member in read_members(maps):
        if cookie_in(maps, member.slot) != member.cookie:
            _forget(maps, layout.MEMBER_KEY.pack(member.cookie, member.slot, 0))
            dropped += 1
    return dropped

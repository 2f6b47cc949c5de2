"""Pools: several members of one destination share its flows.

Every change is made so that a flow meets either the old pool or the new one. The program looks at a
pool only if the destination's own slot is empty. So a pool starts to work when that slot is
emptied, as the last step, and ends when its last member is put there, as the first step.

User space has no descriptor of a socket that another process registered. The registry's program
copy_socket moves such sockets between slots. Callers hold the registry's lock. The companion
imports this module only if a label has more than one socket.
"""

from collections.abc import Collection

from sockreg.errors import RefusedError, SockregError
from sockreg.host.listener import Listener, cookie_text
from sockreg.kernel import bpf
from sockreg.registry import layout
from sockreg.registry.destinations import read_destinations
from sockreg.registry.directory import COPY
from sockreg.registry.maps import Maps
from sockreg.registry.members import (
    Member,
    drop_stale_members,
    member_in,
    members_of,
    put,
    take_out,
    write_record,
)
from sockreg.registry.shares import MEMBERS_MAX, share
from sockreg.registry.slots import free_for_members, pool_slots


def join(
    maps: Maps,
    slot: int,
    listener: Listener,
    *,
    unit: str,
    weight: int,
    weight_said: bool,
    now: int,
    instead_of: Collection[str] = (),
) -> int | None:
    """Register a socket beside those of other units. Returns the cookie that it replaced.

    It replaces the sockets of the units in ``instead_of``, too. Raises RefusedError if the pool is
    full or no slot is left; nothing changes then.
    """
    members = members_of(maps, slot)
    mine = [member for member in members if member.unit == unit]
    mine += [
        m
        for m in members
        if m.unit != unit and (m.cookie == listener.cookie or m.unit in instead_of)
    ]
    others = [member for member in members if member not in mine]
    spare: list[int] = []
    own_place = None
    if not others and weight > 0:
        place = slot
    else:
        if len(others) >= MEMBERS_MAX:
            raise RefusedError(
                f"{unit}: its pool has {MEMBERS_MAX} members already, which is the maximum",
                "stop one of them; 'sockreg status' shows them",
            )
        own_place = next((member.slot for member in mine if member.slot != slot), None)
        lone = any(member.slot == slot for member in others)
        spare = _free(maps, (own_place is None) + lone, unit)
        place = spare.pop() if own_place is None else own_place
    put(maps, place, listener, unit=unit, weight=weight, weight_said=weight_said, now=now)
    own = member_in(maps, place)
    try:
        arrange(maps, slot, others if own is None else [*others, own], spare)
    except (SockregError, OSError):
        if own_place is None and place != slot:  # no pool names the place yet
            take_out(maps, place, listener.cookie)
        raise
    return mine[0].cookie if mine else None


def leave(maps: Maps, slot: int, leaving: Member) -> None:
    """Remove a member. Its flows go to the other members."""
    members = members_of(maps, slot)
    arrange(maps, slot, [member for member in members if member.unit != leaving.unit])


def weigh(maps: Maps, slot: int, member: Member, weight: int, *, said: bool | None = None) -> None:
    """Change the weight of a member. 0 drains it: nothing new arrives there.

    ``said`` is whether its unit's files now say the weight; None leaves that as it is.
    """
    members = members_of(maps, slot)
    for one in members:
        if one.unit == member.unit:
            one.weight = weight
            one.weight_said = one.weight_said if said is None else said
    arrange(maps, slot, members)


def weigh_units(maps: Maps, weights: dict[str, tuple[int, bool]]) -> None:
    """Set the weights of these units' sockets, and whether their files say them."""
    for slot in read_destinations(maps).values():
        for member in members_of(maps, slot):
            before = (member.weight, member.weight_said)
            weight, said = weights.get(member.unit, before)
            if (weight, said) != before:
                weigh(maps, slot, member, weight, said=said)


def copy_in(maps: Maps, slot: int, member: Member) -> None:
    """Make a member of another destination one of this destination, too.

    It replaces the socket of its unit there.
    """
    others = [other for other in members_of(maps, slot) if other.unit != member.unit]
    arrange(maps, slot, [*others, member], copied=member)


def arrange(
    maps: Maps,
    slot: int,
    members: list[Member],
    spare: list[int] | None = None,
    *,
    copied: Member | None = None,
) -> None:
    """Make ``members`` all members of a destination, wherever they are now.

    ``spare`` are free slots for those that cannot stay in the destination's own slot. Without them,
    free slots are searched for. ``copied`` is a member that also stays where it is.
    """
    before = {*pool_slots(maps, slot), slot}
    if len(members) == 1 and members[0].weight > 0:
        _move(maps, members[0], slot)
        bpf.map_delete(maps.pools, layout.SLOT.pack(slot))
        kept = {slot}
    elif not members:
        bpf.map_delete(maps.sockets, layout.SLOT.pack(slot))
        bpf.map_delete(maps.pools, layout.SLOT.pack(slot))
        kept = set()
    else:
        places = {member.unit: member.slot for member in members}
        moving = [member for member in members if member.slot == slot or member is copied]
        free = spare or _free(maps, len(moving), members[0].unit)
        places.update({member.unit: free[at] for at, member in enumerate(moving)})
        for member in members:
            _move(maps, member, places[member.unit])
        _write(maps, slot, members, places)
        kept = set(places.values())
    for place in before - kept:
        bpf.map_delete(maps.sockets, layout.SLOT.pack(place))
    drop_stale_members(maps)


def _write(maps: Maps, slot: int, members: list[Member], places: dict[str, int]) -> None:
    """Write the pool of a destination, in one step; ``places`` are the slots by unit."""
    owners = share({member.unit: member.weight for member in members})
    entries = [places[unit] for unit in owners] or [0] * layout.POOL_ENTRIES
    ordered = sorted(members, key=lambda member: member.weight == 0)
    places_in_order = [places[member.unit] for member in ordered]
    places_in_order += [0] * (layout.POOL_MEMBERS - len(members))
    active = sum(member.weight > 0 for member in members)
    value = layout.POOL.pack(len(members), active, *places_in_order, *entries)
    bpf.map_update(maps.pools, layout.SLOT.pack(slot), value)


def _free(maps: Maps, count: int, unit: str) -> list[int]:
    return free_for_members(maps, read_destinations(maps), count, unit)


def _move(maps: Maps, member: Member, slot: int) -> None:
    """Put a member into ``slot``, too, with its record."""
    write_record(maps, member, slot)
    if member.slot == slot:
        return
    with bpf.Pinned(f"{maps.registry}/{COPY}") as program:
        # A socket that was just closed is no error: its slot is empty, as before.
        try:
            moved = bpf.run_sk_lookup(program, member.slot, slot)
        except OSError as error:
            raise RefusedError(
                f"the kernel cannot copy {cookie_text(member.cookie)} of {member.unit} "
                f"to another slot: {error.strerror}",
                "several sockets under one label need Linux 5.13",
            ) from None
    if not moved:
        raise RefusedError(
            f"the kernel refuses to move {cookie_text(member.cookie)} of {member.unit} "
            "to another slot",
            "restart that unit's sockreg@ instance and try again",
        )

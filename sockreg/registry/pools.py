"""Pools: several members of one destination share its flows.

Every change is made so that a flow meets either the old pool or the new one. The program looks at a
pool only if the destination's own slot is empty. So a pool starts to work when that slot is
emptied, as the last step, and ends when its last member is put there, as the first step.

User space has no descriptor of a socket that another process registered. The registry's program
copy_socket moves such sockets between slots. Callers hold the registry's lock. The companion
imports this module only if a label has more than one socket.
"""

import errno
from _socket import IPPROTO_UDP
from collections.abc import Collection, Iterable, Sequence
from itertools import cycle

from sockreg.errors import RefusedError, SockregError
from sockreg.host.listener import Listener, cookie_text
from sockreg.kernel import bpf
from sockreg.registry import layout
from sockreg.registry.destinations import read_destinations
from sockreg.registry.directory import COPY, OWNERS
from sockreg.registry.maps import Maps
from sockreg.registry.members import (
    Member,
    drop_stale_members,
    member_in,
    members_of,
    put,
    shares_of,
    take_out,
    write_record,
)
from sockreg.registry.shares import MEMBERS_MAX, share
from sockreg.registry.slots import cookie_in, free_for_members, pool_slots


def join(
    maps: Maps,
    slot: int,
    listener: Listener,
    *,
    unit: str,
    weight: int,
    weight_said: bool,
    exact: bool,
    sticky: bool = False,
    now: int,
    instead_of: Collection[str] = (),
    mates: Sequence[Listener] = (),
) -> int | None:
    """Register a socket beside those of other units, or of its group. Returns what it replaced.

    It replaces the sockets of the units in ``instead_of``, too. ``mates`` are as in
    registration.enter(). If ``sticky``, what it replaces of its own unit stays behind it
    for the flows that it has. Raises RefusedError if the pool is full or no slot is left; nothing
    changes then.
    """
    members = members_of(maps, slot)
    mine = [member for member in members if member.unit == unit]
    mine += [
        m
        for m in members
        if m.unit != unit and (m.cookie == listener.cookie or m.unit in instead_of)
    ]
    others = [member for member in members if member not in mine]
    if len(others) >= MEMBERS_MAX:
        raise RefusedError(
            f"{unit}: its pool has {MEMBERS_MAX} members already, which is the maximum",
            "stop one of them; 'sockreg status' shows them",
        )
    group = [
        one
        for member in mine
        if member.unit == unit
        for one in (member, *member.mates)
        if one.cookie == listener.cookie or one.is_mate_of(listener)
    ]
    known = {one.cookie for one in group}
    new = [one for one in (listener, *mates) if one.cookie not in known]
    new = new[: max(MEMBERS_MAX - len(group), 0 if group else 1)]
    kept = [] if group or not sticky else _replaced(mine, unit, listener.cookie)
    is_lone = not others and weight > 0 and not exact and not sticky
    # A socket that replaces another one takes its place, so that its flows move at once.
    own_place = None
    if not group and not sticky:
        own_place = next((one.slot for one in mine if one.slot != slot), None)
    places: list[int] = []
    if new and not group and (is_lone or own_place is not None):
        places = [slot if is_lone else own_place or slot]
    moving = sum(one.slot == slot for one in _everyone(others))
    moving += sum(one.slot == slot for one in [*group, *kept]) if not is_lone else 0
    spare = _free(maps, len(new) - len(places) + moving, unit)
    fresh_places = [*places, *(spare.pop() for _ in new[len(places) :])]
    own = list(group)
    try:
        for one, place in zip(new, fresh_places, strict=True):
            own_slot(maps, place, one.cookie)
            put(
                maps,
                place,
                one,
                unit=unit,
                weight=weight,
                weight_said=weight_said,
                exact=exact,
                sticky=sticky,
                now=now,
            )
            there = member_in(maps, place)
            if there is not None:
                own.append(there)
        if exact:  # this socket, and no earlier one of its group
            own.sort(key=lambda one: one.cookie != listener.cookie)
        if own:
            own[0].weight, own[0].weight_said, own[0].exact = weight, weight_said, exact
            own[0].sticky, own[0].replaced, own[0].stalled = sticky, False, False
            own[0].mates = [*own[1:], *kept]
        arrange(maps, slot, [*others, *own[:1]], spare)
    except (SockregError, OSError):
        for one, place in zip(new, fresh_places, strict=True):
            if place not in (slot, own_place):  # no pool names the place yet
                take_out(maps, place, one.cookie)
        raise
    if listener.cookie in known:
        return listener.cookie
    return mine[0].cookie if mine and not group else None


def leave(maps: Maps, slot: int, leaving: Member) -> None:
    """Remove a member. Its flows go to the other members."""
    members = members_of(maps, slot)
    arrange(maps, slot, [member for member in members if member.unit != leaving.unit])


def weigh(
    maps: Maps,
    slot: int,
    member: Member,
    weight: int,
    *,
    said: bool | None = None,
    exact: bool | None = None,
    sticky: bool | None = None,
    stalled: bool | None = None,
) -> None:
    """Change the weight of a member. 0 drains it: nothing new arrives there.

    ``said`` is whether its unit's files now say the weight, and ``exact`` whether packets are for
    it without its group, and ``sticky`` whether its flows stay with it, and ``stalled`` whether it
    gets nothing new for now; None leaves that as it is.
    """
    members = members_of(maps, slot)
    for one in members:
        if one.unit == member.unit:
            one.weight = weight
            one.weight_said = one.weight_said if said is None else said
            one.exact = one.exact if exact is None else exact
            one.sticky = one.sticky if sticky is None else sticky
            one.stalled = one.stalled if stalled is None else stalled
    arrange(maps, slot, members)


def weigh_units(maps: Maps, weights: dict[str, tuple[int | None, bool, bool, bool]]) -> None:
    """Set the weights of these units' sockets, whether their files say them, ``exact`` and
    ``sticky``. Weight None leaves what each has.
    """
    for (_, _, protocol, _), slot in read_destinations(maps).items():
        for member in members_of(maps, slot):
            before = (member.weight, member.weight_said, member.exact, member.sticky)
            weight, said, exact, sticky = weights.get(member.unit, before)
            weight = member.weight if weight is None else weight
            sticky = sticky and protocol == IPPROTO_UDP
            if (weight, said, exact, sticky) != before:
                weigh(maps, slot, member, weight, said=said, exact=exact, sticky=sticky)


def is_arranged(maps: Maps, slot: int, members: list[Member]) -> bool:
    """Whether the pool of a destination gives flows to those of its members that have a share.

    It does not if a command died between the records and the pool.
    """
    value = bpf.map_lookup(maps.pools, layout.SLOT.pack(slot), layout.POOL.size)
    if value is None or any(member.slot == slot for member in members):
        return True  # a lone one
    _, _, _, active, *places = layout.POOL.unpack(value)
    shares = shares_of(members)
    wanted = _everyone(member for member in members if shares[member.unit] > 0)
    return {*places[:active]} == {one.slot for one in wanted if not one.replaced}


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

    A lone member is in the destination's own slot. Its mates are a pool, which the program looks at
    once the member is closed. Mates for whom a pool has no room are dropped. A member
    without its group is in a pool, too, as a pool says that, and so is one whose flows stay.
    """
    had_pool = pool_slots(maps, slot)
    before = {*had_pool, slot}
    exact = any(member.exact for member in members)
    sticky = any(member.sticky for member in members)
    in_pool = exact or sticky
    shares = shares_of(members)
    lone = members[0] if len(members) == 1 and any(shares.values()) and not in_pool else None
    if not sticky:  # no flow is noted for them
        for member in members:
            member.mates = [mate for mate in member.mates if not mate.replaced]
    _drop_mates(members, layout.POOL_MEMBERS - (0 if lone else len(members)))
    if lone is not None and not lone.mates:
        _move(maps, lone, slot)
        if had_pool:
            bpf.map_delete(maps.pools, layout.SLOT.pack(slot))
        kept = {slot}
    elif not members:
        bpf.map_delete(maps.sockets, layout.SLOT.pack(slot))
        bpf.map_delete(maps.pools, layout.SLOT.pack(slot))
        kept = set()
    else:
        pooled = [one for one in _everyone(members) if one is not lone]
        places = {one.cookie: one.slot for one in pooled}
        copies = [] if copied is None else [copied, *copied.mates]
        moving = [one for one in pooled if one.slot == slot or one in copies]
        free = spare or _free(maps, len(moving), members[0].unit)
        places.update({one.cookie: free[at] for at, one in enumerate(moving)})
        moves = [] if lone is None else [(lone, slot)]
        moves += [(one, places[one.cookie]) for one in pooled]
        records = _records(maps, moves)
        try:
            for one, place in moves:
                _move(maps, one, place)
            _write(maps, slot, members, places, lone)
        except (SockregError, OSError):
            _put_back(maps, records)
            raise
        kept = set(places.values()) | ({slot} if lone is not None else set())
    if slot in before - kept and cookie_in(maps, slot) is not None:
        bpf.map_delete(maps.sockets, layout.SLOT.pack(slot))
    for place in before - kept - {slot}:
        _empty(maps, place)
    drop_stale_members(maps)


def _empty(maps: Maps, place: int) -> None:
    """Empty a slot that no pool names any more: the change is made, whatever comes of this.

    A slot that keeps its socket is emptied before it is used again (registry/slots.py).
    """
    try:
        own_slot(maps, place, 0)
        bpf.map_delete(maps.sockets, layout.SLOT.pack(place))
    except OSError:
        return


def _records(maps: Maps, moves: Iterable[tuple[Member, int]]) -> dict[bytes, bytes]:
    """The records that members have in these slots, by their keys."""
    keys = [layout.MEMBER_KEY.pack(member.cookie, place, 0) for member, place in moves]
    found = {key: bpf.map_lookup(maps.members, key, layout.MEMBER.size) for key in keys}
    return {key: record for key, record in found.items() if record is not None}


def _put_back(maps: Maps, records: dict[bytes, bytes]) -> None:
    """Let records say again what the pool does, after a change that failed."""
    for key, record in records.items():
        try:
            bpf.map_update(maps.members, key, record)
        except OSError:
            continue  # the next change of the pool writes it


def _everyone(members: Iterable[Member]) -> list[Member]:
    return [one for member in members for one in (member, *member.mates)]


def _drop_mates(members: Iterable[Member], room: int) -> None:
    """Leave mates out for whom there is no room, and give the others the weight of their member."""
    for member in members:
        member.mates = member.mates[:room]
        room -= len(member.mates)
        for mate in member.mates:
            mate.weight, mate.weight_said = member.weight, member.weight_said
            mate.exact, mate.sticky = member.exact, member.sticky
            mate.stalled = member.stalled


def _write(
    maps: Maps, slot: int, members: list[Member], places: dict[int, int], lone: Member | None
) -> None:
    """Write the pool of a destination, in one step; ``places`` are the slots by cookie.

    It has the mates of ``lone``, or else all members, and after them their mates.
    """
    if lone is not None:
        exact = sticky = False
        active = lone.mates
        entries = [places[active[0].cookie]] * layout.POOL_ENTRIES
        drained = []
    else:
        exact = any(member.exact for member in members)
        sticky = any(member.sticky for member in members)
        shares = shares_of(members)
        ordered = sorted(members, key=lambda member: shares[member.unit] == 0)
        # The kernel spreads over a group whichever socket of it is selected. So entries name them
        # in turn: if one is closed, the group keeps most of its share.
        of_unit = {
            member.unit: cycle(
                places[one.cookie]
                for one in (member, *([] if exact else member.mates))
                if one is member or not one.replaced
            )
            for member in members
        }
        owners = share(shares)
        entries = [next(of_unit[unit]) for unit in owners] or [0] * layout.POOL_ENTRIES
        active = [one for one in ordered if shares[one.unit] > 0]
        active += [mate for one in active for mate in one.mates if not mate.replaced]
        drained = [one for one in _everyone(ordered) if one not in active]
    in_order = [places[one.cookie] for one in (*active, *drained)]
    padding = [0] * (layout.POOL_MEMBERS - len(in_order))
    value = layout.POOL.pack(
        len(in_order), exact, sticky, len(active), *in_order, *padding, *entries
    )
    bpf.map_update(maps.pools, layout.SLOT.pack(slot), value)


def _replaced(mine: Iterable[Member], unit: str, cookie: int) -> list[Member]:
    """The sockets of a unit that another one takes the place of, for the flows that they have."""
    kept = [one for one in _everyone(mine) if one.unit == unit and one.cookie != cookie]
    for one in kept:
        one.replaced, one.mates = True, []
    return kept


def own_slot(maps: Maps, slot: int, cookie: int) -> None:
    """Say whose a slot is, before its socket changes; 0 for nobody's.

    Otherwise, flows noted for an earlier socket would go to the new one.
    """
    try:
        with bpf.Pinned(f"{maps.registry}/{OWNERS}") as owners:
            bpf.map_update(owners, layout.SLOT.pack(slot), layout.COOKIE.pack(cookie))
    except OSError as error:
        if error.errno != errno.ENOENT:  # no unit says Flows=sticky
            raise


def _free(maps: Maps, count: int, unit: str) -> list[int]:
    return free_for_members(maps, read_destinations(maps), count, unit)


def _move(maps: Maps, member: Member, slot: int) -> None:
    """Put a member into ``slot``, too, with its record."""
    own_slot(maps, slot, member.cookie)
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

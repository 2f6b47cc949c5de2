"""Adding sockets to the registry and removing them: what the companion does.

On its start-up path: this module knows nothing of rules.
"""

import _socket
import posix
import time

from sockreg.errors import RefusedError, SockregError
from sockreg.host.listener import Listener, address_text, cookie_text
from sockreg.registry import ssh_labels
from sockreg.registry.claims import Registrant, foreign_members, identify, refuse_foreign
from sockreg.registry.destinations import (
    Key,
    add_destinations,
    destination_name,
    of_label,
    read_destinations,
)
from sockreg.registry.directory import SOCKOPS, netns_name, registry_path
from sockreg.registry.locks import REGISTRATION_PATIENCE, Lock
from sockreg.registry.maps import Maps
from sockreg.registry.members import (
    Member,
    drop_stale_members,
    member_in,
    members_of,
    put,
    take_out,
)
from sockreg.registry.offers import Offer, of_unit, offers_of
from sockreg.registry.slots import pool_slots
from sockreg.systemd import journal
from sockreg.systemd.unit_of import NO_UNIT
from sockreg.terms import FAMILY_TITLES, ONLY, PROTOCOL_NAMES


def register(
    received: list[tuple[int, str]],
    unit: str,
    bpffs: str,
    *,
    netns: int | None = None,
    weight: int | None = None,
    root: str | None = None,
    replace: bool = False,
    exact: bool = False,
    members: int | None = None,
) -> list[str]:
    """Register the sockets of one unit: (descriptor, label) pairs.

    A socket replaces the unit's earlier one. Sockets of other units under the same label share its
    flows by ``weight`` (None: the weight in the unit's files), if these units share it on purpose.
    ``replace`` takes out the sockets of units that do not share it. ``exact`` is whether
    packets are for these sockets without their SO_REUSEPORT groups. ``root`` is given if these are
    the sockets of a .socket unit under the labels that systemd knows: its files, below ``root``,
    may say another one (Label=). Sockets that cannot be registered are skipped with a notice each;
    returns these notices. Raises SockregError if none is left, if another unit has a label and does
    not share it, or if ``netns`` (a SO_NETNS_COOKIE) is given and a socket is of another network
    namespace; nothing has changed then. ``members`` is how many members a label may have with this
    one, None for as many as there is room for.
    """
    skipped: list[str] = []
    offers = offers_of(received, unit, skipped)
    by_netns: dict[int, list[Offer]] = {}
    for offer in offers:
        by_netns.setdefault(offer.listener.netns, []).append(offer)
    for cookie in by_netns:
        if netns is not None and cookie and cookie != netns:
            raise RefusedError(
                f"{by_netns[cookie][0]}{of_unit(unit)} belongs to another network namespace "
                f"(cookie {cookie}, not {netns})",
                "register it with --netns of its own namespace, where it can receive",
            )
    for cookie, some in by_netns.items():
        registry = registry_path(bpffs, _netns(cookie))
        _register(
            registry,
            some,
            unit,
            weight=weight,
            root=root,
            replace=replace,
            exact=exact,
            members=members,
        )
    return skipped


def _from(unit: str) -> str:
    return "from no unit" if unit == NO_UNIT else f"from {unit}"


def _netns(cookie: int) -> str:
    return netns_name(cookie, posix.stat("/proc/thread-self/ns/net").st_ino)


def _register(
    registry: str,
    offers: list[Offer],
    unit: str,
    *,
    weight: int | None,
    root: str | None,
    replace: bool,
    exact: bool,
    members: int | None,
) -> None:
    with Maps(registry) as maps, Lock(registry, REGISTRATION_PATIENCE):
        who = identify(maps, unit, offers, weight, root, exact=exact)
        replaced: list[tuple[int, Member]] = []
        there: dict[Key, int] = {}
        cookies = {one.cookie for offer in offers for one in (offer.listener, *offer.mates)}
        for label in sorted({offer.label for offer in offers}):
            of_this = of_label(maps, label)
            _leave_ssh(maps, offers, of_this, unit)
            if replace:
                replaced += foreign_members(maps, who, list(of_this.values()), cookies)
            else:
                refuse_foreign(maps, who, label, list(of_this.values()), cookies)
            there |= of_this
            if members is not None:
                _require_room(maps, unit, label, list(of_this.values()), members)
        places = _places(maps, offers, there)
        previous = _enter(maps, places, who, {member.unit for _, member in replaced})
        gone = [*replaced, *_left(maps, who, places, there)]
        for slot, member in gone:
            remove(maps, slot, member)
        sizes = {offer: len(members_of(maps, slot)) for offer, slot in places}
    for offer in offers:
        before = [cookie for other, cookie, _ in previous if other is offer]
        joined = any(joins for other, _, joins in previous if other is offer)
        _tell(offer, unit, before, sizes[offer], joined=joined)
        if offer.listener.protocol == _socket.IPPROTO_UDP and not offer.listener.asks_address:
            _warn_of_answers(offer, unit)
        if offer.listener.device:
            _warn_of_device(offer, unit)
    # What a new socket replaces in its own place is said with it. The rest would go unseen.
    said = cookies | {cookie for _, cookie, _ in previous if cookie is not None}
    named = {slot: key for key, slot in there.items()}
    tell_all_removed([(named[slot], member) for slot, member in gone if member.cookie not in said])


def _require_room(maps: Maps, unit: str, label: str, slots: list[int], members: int) -> None:
    """Raises RefusedError if a label has its number of members already without this unit."""
    others = {member.unit for slot in slots for member in members_of(maps, slot)} - {unit}
    if len(others) >= members:
        raise RefusedError(
            f"{unit}: label {label} has {len(others)} of {members} members already",
            f"a number in Register= of section [{label}] allows more: 'Register=user:NAME 4'",
        )


def _places(maps: Maps, offers: list[Offer], there: dict[Key, int]) -> list[tuple[Offer, int]]:
    """(offer, slot) of every destination. ``there`` are those of the labels; others get a slot."""
    keys: list[tuple[Offer, Key]] = []
    for offer in offers:
        for family, listener in offer.places:
            keys.append((offer, (offer.label, family, offer.listener.protocol, listener)))
            by_port = (offer.label, family, offer.listener.protocol, offer.listener.port)
            if listener == ONLY and by_port in there:
                keys.append((offer, by_port))
    missing = [key for _, key in keys if key not in there]
    if missing:
        there |= add_destinations(maps, missing)
    return [(offer, there[key]) for offer, key in keys]


def _left(
    maps: Maps, who: Registrant, places: list[tuple[Offer, int]], there: dict[Key, int]
) -> list[tuple[int, Member]]:
    """(slot, member): sockets of the registrant that it has replaced by those of other listeners.

    These are of the same labels, families and protocols as the new ones.
    """
    entered = {slot for _, slot in places}
    groups = {
        (offer.label, family, offer.listener.protocol)
        for offer, _ in places
        for family in offer.families
    }
    return [
        (slot, member)
        for (label, family, protocol, _), slot in there.items()
        if (label, family, protocol) in groups and slot not in entered
        for member in members_of(maps, slot)
        if member.unit == who.unit
    ]


def _leave_ssh(maps: Maps, offers: list[Offer], there: dict[Key, int], unit: str) -> None:
    """Raise RefusedError if a socket would take a label that carries ssh."""
    if not ssh_labels.marks(maps.registry):
        return
    for offer in offers:
        for key, slot in there.items():
            if (
                key[0] == offer.label
                and key[1] in offer.families
                and key[2] == offer.listener.protocol
                and key[3] in (ONLY, offer.listener.port)
            ):
                ssh_labels.refuse_others(
                    maps.registry,
                    slot,
                    offer.label,
                    unit,
                    offer.listener.port,
                    what=f"{offer}{of_unit(unit)} is not registered",
                )


def _enter(
    maps: Maps, places: list[tuple[Offer, int]], who: Registrant, instead_of: set[str]
) -> list[tuple[Offer, int | None, bool]]:
    """Register every socket in its places, or none that was not registered before.

    They replace the sockets of the units in ``instead_of``, too. Returns the replaced cookies, and
    whether the socket joins others of its SO_REUSEPORT group.
    """
    if any(name.endswith(SOCKOPS) for name in posix.listdir(maps.registry)):
        # The record of a closed socket would let the program replace what enters its slot now.
        drop_stale_members(maps)
    now = time.time_ns()
    entered: list[tuple[Offer, int | None, bool]] = []
    new: list[int] = []  # slots in which the registrant had nothing before
    try:
        for offer, slot in places:
            joined = offer.listener.in_group and any(
                member.unit == who.unit for member in members_of(maps, slot)
            )
            replaced = enter(
                maps,
                slot,
                offer.listener,
                who,
                now=now,
                instead_of=instead_of,
                mates=offer.mates,
            )
            joined = joined and replaced is None
            entered.append((offer, replaced, joined))
            if replaced is None and not joined:
                new.append(slot)
    except (SockregError, OSError):
        for slot in new:
            for member in members_of(maps, slot):
                if member.unit == who.unit:
                    remove(maps, slot, member)
        raise
    return entered


def _tell(
    offer: Offer, unit: str, previous: list[int | None], members: int, *, joined: bool
) -> None:
    listener = offer.listener
    families = " and ".join(FAMILY_TITLES[family] for family in offer.families)
    others = sorted({c for c in previous if c is not None and c != listener.cookie})
    if others:
        before = " and ".join(map(cookie_text, others))
        text, kind = f"label {offer.label}: {offer} replaces {before}", journal.REPLACED
    elif all(cookie == listener.cookie for cookie in previous):
        text, kind = f"label {offer.label}: {offer} is registered already", journal.REGISTERED
    else:
        text, kind = f"label {offer.label}: registered {offer}", journal.REGISTERED
    pooled = f", one of {members} sockets that share its flows" if members > 1 else ""
    if joined:
        pooled += ", beside earlier sockets of its SO_REUSEPORT group"
    journal.say(
        f"{text} for {families}, {_from(unit)}{pooled}",
        kind,
        fields={
            "SOCKREG_LABEL": offer.label,
            "SOCKREG_COOKIE": cookie_text(listener.cookie),
            "SOCKREG_ADDRESS": address_text(listener.family, listener.address, listener.port),
            "SOCKREG_PROTOCOL": PROTOCOL_NAMES[listener.protocol],
            **journal.unit_fields(unit),
        },
    )


def _warn_of_answers(offer: Offer, unit: str) -> None:
    """Warn that a socket replies from its own address, although rules steer other addresses to it.

    Whether the server chooses the address itself cannot be known here: it may not run yet.
    """
    how = "IP_PKTINFO, which it must set itself,"
    if unit.endswith(".socket"):
        how = "PassPacketInfo=yes in the .socket unit"
    journal.say(
        f"label {offer.label}: replies of {offer} carry the socket's own address, not the one "
        f"the client used, unless the server sets it ({how} gives it the address)",
        fields={"SOCKREG_LABEL": offer.label, **journal.unit_fields(unit)},
    )


def _warn_of_device(offer: Offer, unit: str) -> None:
    """Warn that a socket serves packets of one interface, whatever rules steer to it."""
    device = offer.listener.device
    journal.say(
        f"label {offer.label}: {offer} is bound to interface {device}: clients that come by "
        f"another one get no answer. Rules for this label need 'dev {device}', or the socket no "
        "BindToDevice= and no link-local address",
        fields={"SOCKREG_LABEL": offer.label, **journal.unit_fields(unit)},
    )


def unregister(registry: str, *, label: str | None = None, unit: str | None = None) -> int:
    """Remove the members of a label, of a unit, or both. Returns how many."""
    with Maps(registry) as maps, Lock(registry, REGISTRATION_PATIENCE):
        removed = remove_members(maps, label=label, unit=unit)
    return tell_all_removed(removed)


def remove_members(
    maps: Maps, *, label: str | None = None, unit: str | None = None
) -> list[tuple[Key, Member]]:
    """The same for callers that hold the lock of the registry's directory. Returns what it was."""
    removed: list[tuple[Key, Member]] = []
    for key, slot in sorted(read_destinations(maps).items()):
        if label is not None and key[0] != label:
            continue
        for member in members_of(maps, slot):
            if unit is not None and member.unit != unit:
                continue
            remove(maps, slot, member)
            removed.append((key, member))
    return removed


def tell_all_removed(removed: list[tuple[Key, Member]]) -> int:
    """Report what has left the registry. Returns how many lines that took."""
    told = set()
    for key, member in removed:
        # A destination for one listener may have what the one for the only listener has.
        if (*key[:3], member.cookie) not in told:
            told.add((*key[:3], member.cookie))
            tell_removed(key, member)
    return len(told)


def tell_removed(key: Key, member: Member) -> None:
    """Write to the journal that a socket was taken out."""
    cookie = cookie_text(member.cookie)
    journal.say(
        f"label {destination_name(*key)}: unregistered {cookie}, {_from(member.unit)}",
        journal.UNREGISTERED,
        fields={
            "SOCKREG_LABEL": key[0],
            "SOCKREG_COOKIE": cookie,
            **journal.unit_fields(member.unit),
        },
    )


def enter(
    maps: Maps,
    slot: int,
    listener: Listener,
    who: Registrant,
    *,
    now: int,
    instead_of: set[str],
    mates: list[Listener],
) -> int | None:
    """Register a socket for a destination, replacing the unit's own one if there is one.

    It replaces the sockets of the units in ``instead_of``, too. With sockets of other units, it
    forms a pool. Its weight is its share of new flows there; 0 drains it. ``mates`` are further
    sockets of its SO_REUSEPORT group; those that the unit has registered stay. Returns the cookie
    that it replaced, or None. If another unit has registered the socket already, this unit takes it
    over.
    """
    # The kernel keeps the connections of TCP with their sockets.
    sticky = who.sticky and listener.protocol == _socket.IPPROTO_UDP
    if who.weight > 0 and not mates and not who.exact and not sticky and not pool_slots(maps, slot):
        member = member_in(maps, slot)
        if (
            member is None
            or member.cookie == listener.cookie
            or (member.unit == who.unit and not member.is_mate_of(listener))
            or member.unit in instead_of
        ):
            return put(
                maps,
                slot,
                listener,
                unit=who.unit,
                weight=who.weight,
                weight_said=who.weight_said,
                now=now,
            )
    from sockreg.registry import pools  # only if a label has several sockets, slots

    return pools.join(
        maps,
        slot,
        listener,
        unit=who.unit,
        weight=who.weight,
        weight_said=who.weight_said,
        exact=who.exact,
        sticky=sticky,
        now=now,
        instead_of=instead_of,
        mates=mates,
    )


def remove(maps: Maps, slot: int, member: Member) -> None:
    """Remove a member of a destination, if it is still there."""
    if pool_slots(maps, slot):
        from sockreg.registry import pools

        pools.leave(maps, slot, member)
        return
    take_out(maps, slot, member.cookie)

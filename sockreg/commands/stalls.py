"""Members that are stalled get no new flows, if their units say Drain=stalled.

A member is stalled if a queue of its SO_REUSEPORT group stays full for a second and its server
takes nothing out. It keeps its weight, so a weight that an operator sets meanwhile, and a drain,
hold: a mark in its record takes its share. The mark goes when the server accepts again, and at the
next registration or change of the weight. While no other member has a share, marks do not count,
and the next look removes them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sockreg import interrupts
from sockreg.context import Context
from sockreg.host import queues
from sockreg.host.listener import cookie_text
from sockreg.host.queues import Queue, full_text, queue_of
from sockreg.host.sockdiag import DiagSocket
from sockreg.model import PROTOCOL_NAMES
from sockreg.registry import generations, pools, ssh_labels
from sockreg.registry.destinations import Key, destination_name, read_destinations
from sockreg.registry.locks import REGISTRATION_PATIENCE, Lock
from sockreg.registry.maps import Maps
from sockreg.registry.members import Member, members_of
from sockreg.systemd import journal

_BETWEEN = 1.0  # s that a queue stays full


class _Seen(NamedTuple):
    """What a look at the sockets has shown: those whose queue is stuck, and all, by cookie."""

    stuck: Collection[int]
    sockets: Mapping[int, DiagSocket]

    def group(self, member: Member) -> list[int]:
        return [member.cookie, *(mate.cookie for mate in member.mates if not mate.replaced)]

    def is_stuck(self, member: Member) -> bool:
        return any(cookie in self.stuck for cookie in self.group(member))

    def queue(self, member: Member) -> Queue | None:
        return queue_of([self.sockets[c] for c in self.group(member) if c in self.sockets])


def look(context: Context) -> int:
    """Mark members that are stalled, and remove the mark of others. Returns how many changed.

    Raises SockregError if the registry or the sockets cannot be read.
    """
    registry = context.loaded_registry()
    current = generations.in_force(registry)
    if current is None:
        return 0  # nobody gets anything; the next load has the timer look again
    units = set(generations.read_header(current).drains)
    with Maps(registry, read_only=True) as maps:
        watched = [
            member
            for slot in read_destinations(maps).values()
            for member in members_of(maps, slot)
            if member.stalled or member.unit in units
        ]
    if not watched:
        return 0
    seen = _look_at(watched)
    changed: set[tuple[object, ...]] = set()
    with Maps(registry) as maps, Lock(registry, REGISTRATION_PATIENCE), interrupts.dropped():
        # A rule may lead to ssh by a label, which nothing may take away.
        ssh = ssh_labels.marks(registry)
        for key, slot in sorted(read_destinations(maps).items()):
            if slot not in ssh:
                for member in _mark(maps, slot, units, seen):
                    # Destinations of several listeners may have the same socket.
                    if (*key[:3], member.cookie) not in changed:
                        changed.add((*key[:3], member.cookie))
                        _tell(key, member, seen.queue(member))
    return len(changed)


def _look_at(watched: list[Member]) -> _Seen:
    cookies = {one.cookie for member in watched for one in (member, *member.mates)}
    there = queues.by_cookie(PROTOCOL_NAMES)
    jams = queues.staying_full((there[c] for c in cookies if c in there), _BETWEEN)
    stuck = [cookie for cookie, jam in jams.items() if not jam.moves]
    return _Seen(stuck, there | {cookie: jam.socket for cookie, jam in jams.items()})


def _mark(maps: Maps, slot: int, units: Collection[str], seen: _Seen) -> list[Member]:
    """Mark the members of a destination as they are now. Returns those that this changes."""
    members = members_of(maps, slot)
    wanted = {member.unit: _is_stalled(member, units, seen) for member in members}
    if not any(member.weight and not wanted[member.unit] for member in members):
        wanted = dict.fromkeys(wanted, False)
    changed = [member for member in members if member.stalled != wanted[member.unit]]
    for member in changed:
        member.stalled = wanted[member.unit]
        pools.weigh(maps, slot, member, member.weight, stalled=member.stalled)
    # A look that died has left its marks, perhaps without what follows from them.
    if any(unit in units for unit in wanted) and not pools.is_arranged(maps, slot, members):
        pools.arrange(maps, slot, members_of(maps, slot))
    return changed


def _is_stalled(member: Member, units: Collection[str], seen: _Seen) -> bool:
    if member.unit not in units:
        return False
    if not member.stalled:
        # Of a drained one, the operator says what becomes of it.
        return member.weight > 0 and seen.is_stuck(member)
    queue = seen.queue(member)
    return queue is not None and queue.full


def _tell(key: Key, member: Member, queue: Queue | None) -> None:
    cookie, label = cookie_text(member.cookie), key[0]
    text = f"label {destination_name(*key)}: {cookie} of {member.unit}"
    if member.stalled:
        why = full_text(queue, PROTOCOL_NAMES[key[2]]) if queue is not None else "is full"
        text += f" is stalled, and gets nothing new: its queue {why}"
    else:
        text += f" gets new flows again, with weight {member.weight}"
    journal.say(
        text,
        journal.STALLED if member.stalled else journal.ACCEPTS,
        journal.WARNING if member.stalled else journal.NOTABLE,
        {
            "SOCKREG_LABEL": label,
            "SOCKREG_COOKIE": cookie,
            **journal.unit_fields(member.unit),
        },
    )

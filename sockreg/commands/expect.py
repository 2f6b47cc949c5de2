"""Telling the sock_ops program that the unit of this process is about to listen."""

import os
import time
from dataclasses import replace

from sockreg import interrupts
from sockreg.commands.names import check_label
from sockreg.context import Context
from sockreg.errors import RefusedError
from sockreg.host import cgroup
from sockreg.host.listener import cookie_text
from sockreg.model import INET, INET6, TCP
from sockreg.registry import pools, sockops, ssh_labels
from sockreg.registry.destinations import (
    add_destinations,
    destination_name,
    find_slot,
    of_label,
)
from sockreg.registry.locks import Lock
from sockreg.registry.maps import Maps
from sockreg.registry.members import drop_stale_members, members_of
from sockreg.registry.slots import pool_slots
from sockreg.registry.sockops_expected import ANY_PORT, Expectations, Expected
from sockreg.systemd import journal, unit_of
from sockreg.terms import ONLY


def expect(context: Context, label: str, port: int | None) -> None:
    """Register the next TCP socket that this process's cgroup listens on under ``label``.

    ``port`` is its local port; None takes the first one. Raises NotLoadedError without the program,
    and RefusedError if another unit serves the label, or is expected to.
    """
    check_label(label)
    registry = context.loaded_registry()
    unit, group = unit_of.unit_of(os.getpid()), cgroup.own()
    with (
        Maps(registry) as maps,
        sockops.expectations(registry) as entries,
        Lock(registry),
        interrupts.dropped(),
    ):
        drop_stale_members(maps)  # the program itself cannot make room for its records
        for key, slot in of_label(maps, label).items():
            if key[2] == TCP:
                ssh_labels.refuse_others(
                    registry,
                    slot,
                    destination_name(*key),
                    unit,
                    port or 0,
                    what=f"{unit} is not expected",
                )
        _refuse_taken(maps, entries, unit, label)
        mine = [
            entry
            for entry in entries.read()
            if entry.unit == unit and entry.cgroup == group.id and entry.port not in (0, port)
            if entry.slots & set(of_label(maps, label).values())
        ]
        several = bool(mine) and port is not None
        entry = Expected(
            cgroup=group.id,
            port=ANY_PORT if port is None else port,
            netns=context.netns.cookie,
            clock=time.time_ns() - time.monotonic_ns(),
            unit=unit,
        )
        entries.expect(_with_slots(maps, entry, label, several=several))
        for other in mine if several else ():
            entries.expect(_with_slots(maps, other, label, several=True))
        if several:
            _leave_only(maps, unit, label)
    which = "first TCP socket" if port is None else f"TCP socket on port {port}"
    journal.say(
        f"label {label}: the {which} that {unit} listens on will be registered",
        fields={"SOCKREG_LABEL": label, **journal.unit_fields(unit)},
    )


def _refuse_taken(maps: Maps, entries: Expectations, unit: str, label: str) -> None:
    """Raises RefusedError if another unit serves the label, or is expected to and still runs.

    The program knows no pools: it does not matter whether they share the label.
    """
    slots = set(of_label(maps, label).values())
    for slot in slots:
        for member in members_of(maps, slot):
            if member.unit != unit:
                raise _taken(label, unit, member.unit, cookie_text(member.cookie))
    others = [entry for entry in entries.read() if entry.unit != unit and slots & entry.slots]
    alive = cgroup.all_ids() if others else ()
    for entry in others:
        if entry.cgroup in alive:
            raise _taken(label, unit, entry.unit, "expected to listen")


def _with_slots(maps: Maps, entry: Expected, label: str, *, several: bool) -> Expected:
    """The entry with the slots that its listener will enter.

    ``several`` is whether the unit is expected to listen on other ports for this label, too.
    """
    listeners = [] if several else [ONLY]
    listeners += [entry.port] if entry.port != ANY_PORT else []
    keys = [(label, family, TCP, port) for family in (INET, INET6) for port in listeners]
    there = add_destinations(maps, keys)
    slots = {(family, port): there[label, family, TCP, port] for _, family, _, port in keys}
    held = {
        family: max(_held(maps, slot) for (of, _), slot in slots.items() if of == family)
        for family in (INET, INET6)
    }
    this = entry.port or -1
    return replace(
        entry,
        only_ipv4=slots.get((INET, ONLY), 0),
        only_ipv6=slots.get((INET6, ONLY), 0),
        this_ipv4=slots.get((INET, this), 0),
        this_ipv6=slots.get((INET6, this), 0),
        held_ipv4=held[INET],
        held_ipv6=held[INET6],
    )


def _held(maps: Maps, slot: int) -> int:
    """The cookie of the unit's socket in a slot of its own; 0 if there is none."""
    if pool_slots(maps, slot):
        # Only the unit is in it: it was drained, or it is the mates of its socket. The program
        # looks after one socket.
        members = members_of(maps, slot)
        for member in members:
            member.mates = []
        pools.arrange(maps, slot, [member for member in members if member.weight > 0])
    return next((member.cookie for member in members_of(maps, slot)), 0)


def _leave_only(maps: Maps, unit: str, label: str) -> None:
    """Take the unit's socket from the destinations for the only listener of a unit."""
    for family in (INET, INET6):
        slot = find_slot(maps, label, family, TCP)
        for member in [] if slot is None else members_of(maps, slot):
            if member.unit == unit:
                pools.leave(maps, slot or 0, member)


def _taken(label: str, unit: str, holder: str, where: str) -> RefusedError:
    return RefusedError(
        f"{unit}: label {label} belongs to {holder} ({where}), and sock_ops registers one unit "
        "for a label",
        "use another label, or register both with a companion",
    )

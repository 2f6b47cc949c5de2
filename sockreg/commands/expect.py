"""Telling the sock_ops program that the unit of this process is about to listen."""

import os
import time

from sockreg.commands.names import check_label
from sockreg.context import Context
from sockreg.errors import RefusedError
from sockreg.host import cgroup
from sockreg.host.listener import cookie_text
from sockreg.model import INET, INET6, TCP
from sockreg.registry import pools, sockops, ssh_labels
from sockreg.registry.claims import Registrant, foreign_members
from sockreg.registry.destinations import add_destinations, destination_name
from sockreg.registry.locks import Lock
from sockreg.registry.maps import Maps
from sockreg.registry.members import drop_stale_members, members_of
from sockreg.registry.slots import pool_slots
from sockreg.registry.sockops_expected import ANY_PORT, Expectations, Expected
from sockreg.systemd import journal, unit_of
from sockreg.terms import DEFAULT_WEIGHT


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
    ):
        drop_stale_members(maps)  # the program itself cannot make room for its records
        slots = add_destinations(maps, [(label, family, TCP) for family in (INET, INET6)])
        for family in (INET, INET6):
            ssh_labels.refuse_others(
                registry,
                slots[label, family, TCP],
                destination_name(label, family, TCP),
                unit,
                port or 0,
                what=f"{unit} is not expected",
            )
        who = Registrant(unit, DEFAULT_WEIGHT, weight_said=False)
        for _, member in foreign_members(maps, who, label, set()):
            raise _taken(label, unit, member.unit, cookie_text(member.cookie))
        _refuse_expected(entries, unit, label, set(slots.values()))
        held = {
            family: _held(maps, slots[label, family, TCP], unit, label) for family in (INET, INET6)
        }
        entries.expect(
            Expected(
                cgroup=group.id,
                port=ANY_PORT if port is None else port,
                netns=context.netns.cookie,
                clock=time.time_ns() - time.monotonic_ns(),
                slot_ipv4=slots[label, INET, TCP],
                slot_ipv6=slots[label, INET6, TCP],
                unit=unit,
                held_ipv4=held[INET],
                held_ipv6=held[INET6],
            )
        )
    which = "first TCP socket" if port is None else f"TCP socket on port {port}"
    journal.say(
        f"label {label}: the {which} that {unit} listens on will be registered",
        fields={"SOCKREG_LABEL": label, **journal.unit_fields(unit)},
    )


def _refuse_expected(entries: Expectations, unit: str, label: str, slots: set[int]) -> None:
    """Raises RefusedError if another unit is expected in one of the slots, and still runs."""
    others = [
        entry
        for entry in entries.read()
        if entry.unit != unit and slots & {entry.slot_ipv4, entry.slot_ipv6}
    ]
    alive = cgroup.all_ids() if others else ()
    for entry in others:
        if entry.cgroup in alive:
            raise _taken(label, unit, entry.unit, "expected to listen")


def _held(maps: Maps, slot: int, unit: str, label: str) -> int:
    """The cookie of the unit's socket in a slot of its own; 0 if there is none.

    Raises RefusedError if another unit shares the slot: the program knows no pools.
    """
    members = members_of(maps, slot)
    for member in members:
        if member.unit != unit:
            raise _taken(label, unit, member.unit, cookie_text(member.cookie))
    if pool_slots(maps, slot):
        pools.arrange(maps, slot, [])  # only the unit is in it: it was drained
        return 0
    return members[0].cookie if members else 0


def _taken(label: str, unit: str, holder: str, where: str) -> RefusedError:
    return RefusedError(
        f"{unit}: label {label} belongs to {holder} ({where}), and sock_ops registers one unit "
        "for a label",
        "use another label, or register both with a companion",
    )

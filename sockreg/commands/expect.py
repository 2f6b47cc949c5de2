"""Telling the sock_ops program that the unit of this process is about to listen."""

import os
import time

from sockreg.commands.names import check_label
from sockreg.context import Context
from sockreg.errors import RefusedError
from sockreg.host import cgroup
from sockreg.host.listener import cookie_text
from sockreg.model import INET, INET6, TCP
from sockreg.registry import pools, sockops
from sockreg.registry.destinations import add_destinations, destination_name
from sockreg.registry.locks import Lock
from sockreg.registry.maps import Maps
from sockreg.registry.members import drop_stale_members, members_of
from sockreg.registry.slots import pool_slots
from sockreg.registry.sockops_expected import ANY_PORT, Expected
from sockreg.systemd import journal, unit_of


def expect(context: Context, label: str, port: int | None) -> None:
    """Register the next TCP socket that this process's cgroup listens on under ``label``.

    ``port`` is its local port; None takes the first one. Raises NotLoadedError without the program,
    and RefusedError if another unit serves the label.
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
            _clear(maps, slots[label, family, TCP], destination_name(label, family, TCP), unit)
        entries.expect(
            Expected(
                cgroup=group.id,
                port=ANY_PORT if port is None else port,
                netns=context.netns.cookie,
                clock=time.time_ns() - time.monotonic_ns(),
                slot_ipv4=slots[label, INET, TCP],
                slot_ipv6=slots[label, INET6, TCP],
                unit=unit,
            )
        )
    which = "first TCP socket" if port is None else f"TCP socket on port {port}"
    journal.say(
        f"label {label}: the {which} that {unit} listens on will be registered",
        fields={"SOCKREG_LABEL": label, **journal.unit_fields(unit)},
    )


def _clear(maps: Maps, slot: int, destination: str, unit: str) -> None:
    """Make sure that no other unit serves the destination: the program does not support pools."""
    for member in members_of(maps, slot):
        if member.unit != unit:
            raise RefusedError(
                f"{unit}: label {destination} is already served by {member.unit} "
                f"({cookie_text(member.cookie)})",
                "a label that sock_ops registers for has no other member: use another label, or "
                "register both with a companion",
            )
    if pool_slots(maps, slot):
        pools.arrange(maps, slot, [])

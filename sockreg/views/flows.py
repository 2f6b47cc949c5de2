"""The flows of sticky pools, and the member that each stays with."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from sockreg.context import Context
from sockreg.errors import RefusedError
from sockreg.host.listener import address_text, cookie_text
from sockreg.model import FAMILY_NAMES
from sockreg.registry import flows
from sockreg.registry.destinations import read_destinations
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of
from sockreg.terms import INET, NO_UNIT


@dataclass(frozen=True)
class FlowView:
    """A flow from ``remote`` to ``local``, noted ``seconds`` ago.

    ``cookie`` is that of the socket, which may be one that a later socket of ``unit`` has replaced.
    Without ``alive``, the socket is gone: the next datagram goes to another member.
    """

    label: str
    family: str
    remote: str
    local: str
    cookie: str
    unit: str
    seconds: int
    alive: bool


@dataclass(frozen=True)
class FlowTable:
    """``room`` is how many flows of all labels can be noted.

    ``noted`` counts those that were ever noted, ``evicted`` those that had to give way to others.
    """

    room: int
    noted: int
    evicted: int
    flows: list[FlowView]


def read(context: Context, label: str | None = None) -> FlowTable:
    """The flows of a label, or of all, the latest last.

    Raises RefusedError if no unit has ever said Flows=sticky, or none of the label's members, or if
    nothing has the label.
    """
    registry = context.loaded_registry()
    with Maps(registry, read_only=True) as maps:
        keys = {slot: key for key, slot in read_destinations(maps).items()}
        if label is not None and all(key[0] != label for key in keys.values()):
            raise RefusedError(f"there is no label {label}", "'sockreg status' shows the labels")
        found = flows.read_flows(registry)
        if found is None:
            raise _none("no unit says Flows=sticky in section [X-Sockreg]")
        units = {
            (slot, one.cookie): one.unit
            for slot in keys
            for member in members_of(maps, slot)
            for one in (member, *member.mates)
        }
        members = [
            it for slot, key in keys.items() if key[0] == label for it in members_of(maps, slot)
        ]
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    shown = []
    for flow in sorted(found.flows, key=lambda flow: flow.since):
        key = keys.get(flow.slot)
        if key is None or label not in (None, key[0]):
            continue
        shown.append(
            FlowView(
                label=key[0],
                family=FAMILY_NAMES[key[1]],
                remote=_address(key[1], flow.remote, flow.remote_port),
                local=_address(key[1], flow.local, flow.local_port),
                cookie=cookie_text(flow.cookie),
                unit=units.get((flow.slot, flow.cookie), NO_UNIT),
                seconds=max(0, now - flow.since) // 10**9,
                alive=flow.is_alive,
            )
        )
    if not shown and members and not any(it.sticky for it in members):
        raise _none(f"no unit of label {label} says Flows=sticky in section [X-Sockreg]")
    return FlowTable(found.room, found.noted, found.evicted, shown)


def _none(why: str) -> RefusedError:
    return RefusedError(
        f"no flows are noted: {why}",
        "set it in the units of the pool, then run 'systemctl reload sockreg.service'",
    )


def _address(family: int, packed: bytes, port: int) -> str:
    text = socket.inet_ntop(family, packed[:4] if family == INET else packed)
    return address_text(family, text, port)

"""What rules mean, for many packets at once: rule after rule, the preferred one first.

Knows nothing of tables, nor of the order in ``sockreg.rules.precedence``, which it says again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sockreg.model import FAMILY_BITS, Binding, Packet

_HALF = 1 << 64


def winners(bindings: Sequence[Binding], packets: Sequence[Packet]) -> list[Binding | None]:
    """The binding that wins each packet, or None."""
    count = len(packets)
    protocol = np.array([packet.protocol for packet in packets])
    family = np.array([packet.family for packet in packets])
    port = np.array([packet.port for packet in packets])
    interface = np.array([packet.interface or "" for packet in packets])
    address = _halves([packet.address for packet in packets])
    source = _halves([packet.source_address for packet in packets])
    winner = np.full(count, -1)
    ranked = sorted(range(len(bindings)), key=lambda number: _preference(bindings[number]))
    for number in ranked:
        rule = bindings[number]
        found = (
            (winner < 0)
            & (port >= rule.first)
            & (port <= rule.last)
            & (protocol == rule.protocol)
            & (family == rule.family)
        )
        if rule.interface is not None:
            found &= interface == rule.interface
        at = np.flatnonzero(found)
        for halves, prefix in ((address, (rule.address, rule.length)), (source, rule.source)):
            if prefix is not None and len(at):
                at = at[_inside(halves, at, rule.family, *prefix)]
        winner[at] = number
    return [None if number < 0 else bindings[number] for number in winner.tolist()]


def _preference(rule: Binding) -> tuple[int, int, int, int]:
    """Longer prefixes, then narrower ports, then an interface, then longer sources."""
    return (
        -rule.length,
        rule.last - rule.first,
        0 if rule.interface is not None else 1,
        0 if rule.source is None else -rule.source[1],
    )


def _halves(addresses: list[int]) -> tuple[Any, Any]:
    return (
        np.array([address // _HALF for address in addresses], np.uint64),
        np.array([address % _HALF for address in addresses], np.uint64),
    )


def _inside(halves: tuple[Any, Any], at: Any, family: int, prefix: int, length: int) -> Any:
    host = (1 << FAMILY_BITS[family] - length) - 1
    mask = (1 << 128) - 1 - host
    high, low = divmod(mask, _HALF)
    wanted_high, wanted_low = divmod(prefix, _HALF)
    return ((halves[0][at] & np.uint64(high)) == np.uint64(wanted_high)) & (
        (halves[1][at] & np.uint64(low)) == np.uint64(wanted_low)
    )

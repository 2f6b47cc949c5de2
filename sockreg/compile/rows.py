"""The rules of a rule set as columns: one array per part, one row per rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sockreg.compile.arrays import Ints, Words
from sockreg.compile.conditions import Condition
from sockreg.compile.forest import Flags
from sockreg.compile.outcomes import conditions_of, outcomes_of
from sockreg.compile.ports import PortRule
from sockreg.model import INET6, UDP, Binding, Destination

_LOW_64 = (1 << 64) - 1


class Rows(NamedTuple):
    """Sorted by group, prefix and length. ``condition`` is a position in ``conditions`` or -1."""

    group: Ints
    high: Words
    low: Words
    length: Ints
    first: Ints
    last: Ints
    outcome: Ints
    condition: Ints
    conditions: list[Condition]

    def port_rule(self, row: int) -> PortRule:
        first, last = int(self.first[row]), int(self.last[row])
        number = int(self.condition[row])
        condition = self.conditions[number] if number >= 0 else None
        return PortRule.of(first, last, condition, int(self.outcome[row]))


def build_rows(
    bindings: Sequence[Binding],
    slot_of: Callable[[Destination], int],
    interfaces: Mapping[str, int],
) -> Rows:
    """Convert bindings to sorted columns. Raises SockregError for an invalid slot or interface."""
    is_6: Flags = np.array([b.family for b in bindings], np.int64) == INET6
    is_udp: Flags = np.array([b.protocol for b in bindings], np.int64) == UDP
    groups = 2 * is_6 + is_udp  # GROUP_TCP4 and so on of bpf/tables.h
    high, low = _aligned([b.address for b in bindings], is_6)
    length = np.array([b.length for b in bindings], np.int64)
    condition, conditions = conditions_of(bindings, interfaces)
    order = np.lexsort((length, low, high, groups))
    return Rows(
        groups[order],
        high[order],
        low[order],
        length[order],
        np.array([b.first for b in bindings], np.int64)[order],
        np.array([b.last for b in bindings], np.int64)[order],
        np.array(outcomes_of(bindings, slot_of), np.int64)[order],
        np.array(condition, np.int64)[order],
        conditions,
    )


def _aligned(addresses: list[int], is_6: Flags) -> tuple[Words, Words]:
    """The halves of addresses, aligned to the left."""
    high: Words = np.array([address >> 64 for address in addresses], np.uint64)
    low: Words = np.array([address & _LOW_64 for address in addresses], np.uint64)
    return np.where(is_6, high, low << np.uint64(32)), np.where(is_6, low, np.uint64(0))

"""The rules of a rule set as columns: one array per part, one row per rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sockreg.compile.conditions import Condition
from sockreg.compile.forest import Flags
from sockreg.compile.ports import PortRule
from sockreg.compile.words import DESTINATION_MISSING_PASS, SLOTS_MAX, Ints, Words
from sockreg.errors import ConfigError
from sockreg.model import FAMILY_BITS, INET6, UDP, Action, Binding, Destination
from sockreg.terms import FIRST_SLOT, SLOT_PASS, SLOT_REJECT

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
        return PortRule(
            last - first,
            condition is None or condition.interface == 0,
            -condition.length if condition else 0,
            first,
            condition,
            int(self.outcome[row]),
        )


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
    condition, conditions = _conditions(bindings, interfaces)
    order = np.lexsort((length, low, high, groups))
    return Rows(
        groups[order],
        high[order],
        low[order],
        length[order],
        np.array([b.first for b in bindings], np.int64)[order],
        np.array([b.last for b in bindings], np.int64)[order],
        _outcomes(bindings, slot_of)[order],
        condition[order],
        conditions,
    )


def _aligned(addresses: list[int], is_6: Flags) -> tuple[Words, Words]:
    """The halves of addresses, aligned to the left."""
    high: Words = np.array([address >> 64 for address in addresses], np.uint64)
    low: Words = np.array([address & _LOW_64 for address in addresses], np.uint64)
    return np.where(is_6, high, low << np.uint64(32)), np.where(is_6, low, np.uint64(0))


def _outcomes(bindings: Sequence[Binding], slot_of: Callable[[Destination], int]) -> Ints:
    """What a leaf holds for each binding: slot and missing=pass."""
    keys = [(b.action, b.label, b.family, b.protocol, b.listener, b.missing_pass) for b in bindings]
    values: dict[tuple[Action, str, int, int, int, bool], int] = {}
    for key in set(keys):
        action, label, family, protocol, listener, missing_pass = key
        if action is Action.BIND:
            slot = slot_of(Destination(label, family, protocol, listener))
            if not FIRST_SLOT <= slot < SLOTS_MAX:
                raise ConfigError(
                    f"label {label!r}: no slot is left: rules can point to "
                    f"{SLOTS_MAX - FIRST_SLOT} destinations",
                    "a destination is a label with one family, protocol and listener: use fewer "
                    "labels",
                )
            values[key] = slot | DESTINATION_MISSING_PASS * missing_pass
        else:
            values[key] = SLOT_REJECT if action is Action.REJECT else SLOT_PASS
    return np.array([values[key] for key in keys], np.int64)


def _conditions(
    bindings: Sequence[Binding], interfaces: Mapping[str, int]
) -> tuple[Ints, list[Condition]]:
    """The position of each binding's condition, or -1, and the different conditions."""
    numbers: dict[Condition, int] = {}
    column = np.full(len(bindings), -1, np.int64)
    for row, binding in enumerate(bindings):
        if binding.source is None and binding.interface is None:
            continue
        index = 0
        if binding.interface is not None:
            if binding.interface not in interfaces:
                raise ConfigError(
                    f"{binding.place}: there is no interface {binding.interface!r}",
                    "'ip link' lists the interfaces of a network namespace",
                )
            index = interfaces[binding.interface]
        address, length = binding.source or (0, 0)
        aligned = address << (128 - FAMILY_BITS[binding.family])
        wide = binding.family == INET6
        condition = Condition(wide, index, aligned >> 64, aligned & _LOW_64, length)
        column[row] = numbers.setdefault(condition, len(numbers))
    return column, list(numbers)

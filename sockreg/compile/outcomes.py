"""What the leaves of bindings hold, and the conditions of bindings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sockreg.compile.conditions import Condition
from sockreg.compile.words import DESTINATION_MISSING_PASS, SLOTS_MAX
from sockreg.errors import ConfigError
from sockreg.model import FAMILY_BITS, INET6, Action, Binding, Destination
from sockreg.terms import FIRST_SLOT, SLOT_PASS, SLOT_REJECT


def outcomes_of(bindings: Sequence[Binding], slot_of: Callable[[Destination], int]) -> list[int]:
    """What a leaf holds for each binding: slot and missing=pass.

    Raises ConfigError if there is no slot.
    """
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
    return [values[key] for key in keys]


def conditions_of(
    bindings: Sequence[Binding], interfaces: Mapping[str, int]
) -> tuple[list[int], list[Condition]]:
    """The position of each binding's condition, or -1, and the different conditions.

    Raises ConfigError for an unknown interface.
    """
    numbers: dict[Condition, int] = {}
    column = [-1] * len(bindings)
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
        condition = Condition(wide, index, aligned >> 64, aligned & (1 << 64) - 1, length)
        column[row] = numbers.setdefault(condition, len(numbers))
    return column, list(numbers)

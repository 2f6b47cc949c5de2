"""The words of a table and the configuration of a program, as bpf/tables.h has them.

A test compares the structures here with the BTF of the object. Change both or none.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

# Fields of a packet, in the order in which a lookup reads them; the node bit is included.
HIGH = 8
LOW = 9
PORT = 10
INTERFACE = 11
SOURCE_HIGH = 12
SOURCE_LOW = 13

FIELD_SHIFT = 60
MASK_SHIFT = 38
SHIFT_SHIFT = 32
STRIDE_MAX = 22  # bits of a node's mask

# Destinations: what the halves of a leaf hold.
DESTINATION_SLOT = 0x1FFF
DESTINATION_MISSING_PASS = 0x2000
SLOTS_MAX = DESTINATION_SLOT + 1

WORD_SIZE = 8
BRANCH_WORDS = 4  # key, match, miss, shift
BRANCH_SIZE = BRANCH_WORDS * WORD_SIZE

GROUPS = 4
CONFIG = struct.Struct("=4QI7B5x")
CONFIG_MEMBERS = (
    "roots",
    "branches",
    "steps_high",
    "steps_low",
    "steps_port",
    "steps_interface",
    "steps_source_high",
    "steps_source_low",
    "counters",
    "zero",
)


def leaf(first: int, last: int, inside: int, outside: int) -> int:
    """A leaf: ports first..last go to one destination, all others to another."""
    if inside == outside:
        return always(inside)
    return outside << 48 | inside << 32 | first << 16 | (last - first)


def always(destination: int) -> int:
    """The leaf that gives every port to one destination; 0 for no destination."""
    return destination << 32 | 0xFFFF if destination else 0


def port_node(base: int, stride: int, shift: int) -> int:
    """A node with 2**stride words from word ``base`` on."""
    return (
        PORT << FIELD_SHIFT | ((1 << stride) - 1) << MASK_SHIFT | shift << SHIFT_SHIFT | base
    )


def pack_config(
    roots: Sequence[int], branches: int, steps: dict[int, int], counters: bool
) -> bytes:
    """struct config. ``steps`` is by field; absent means that no node reads the field."""
    fields = (HIGH, LOW, PORT, INTERFACE, SOURCE_HIGH, SOURCE_LOW)
    return CONFIG.pack(*roots, branches, *(steps.get(field, 0) for field in fields), counters)

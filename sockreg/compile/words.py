"""The words of a table and the configuration of a program, as in bpf/tables.h.

A test compares the structures here with the BTF of the object. Change both or none.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

WORD_SIZE = 8
# What nodes choose from, in words: struct branch4, branch6 and wide_pair.
BRANCH4_WORDS = 2
BRANCH6_WORDS = 4
WIDE_PAIR_WORDS = 2

# Everything in a table starts at a multiple of the largest element, so that no element
# lies across two cache lines.
ALIGNMENT = 4

# Classes of nodes, in the order in which a lookup visits them.
ADDRESS = 7
PORT = 6
INTERFACE = 5
SOURCE = 4

CLASS_SHIFT = 61
LOW_SHIFT = 60
MASK_SHIFT = 38
MASK_BITS = 0x3FFFFF
SHIFT_SHIFT = 32
STRIDE_MAX = 22  # bits of a node's mask

# Of a pair: what tells it from a leaf, and what it goes on with, a number below ELSEWHERE_MAX.
PAIR = 1 << 62
ELSEWHERE_SHIFT = 47
ELSEWHERE_MAX = 1 << 15

# In a wide pair's range where a leaf has a destination: 31 bits are the position of a word.
WIDE_PAIR_POSITION = 1 << 31

# A leaf holds two destinations.
INSIDE_SHIFT = 32
OUTSIDE_SHIFT = 47
DESTINATION_BITS = 0x7FFF
DESTINATION_SLOT_BITS = 0x3FFF
DESTINATION_MISSING_PASS = 0x4000
SLOTS_MAX = DESTINATION_SLOT_BITS + 1

# The last word of a branch.
MISS_SHIFT = 6
MISS_BITS = 0x3FFFFFF
ADDRESS4_SHIFT = 32
FIRST6_SHIFT = 32
SECOND6_SHIFT = 38

# The table starts with a head for each of these, in this order: struct head.
HEADS = 4  # TCP and UDP over IPv4, then over IPv6
SHORTCUTS_MAX = 8
HEAD_WORDS = BRANCH6_WORDS * (1 + SHORTCUTS_MAX)
# Where the words that pairs go on with begin.
ELSEWHERE = HEADS * HEAD_WORDS

# The most nodes of one class on a path that the program follows.
STEPS4_MAX = 12
STEPS6_MAX = 28
STEPS_PORT_MAX = 16

CONFIG = struct.Struct("=IBBBBB4sB2s")

# C structures and member names in order, for the comparison with BTF. Everything that struct
# does not pack is arrays of 64-bit words.
CONFIG_MEMBERS = (
    "words",
    "steps_address",
    "steps_port",
    "steps_interface",
    "steps_source",
    "counters",
    "shortcuts",
    "flows",
    "zero",
)
WORD_STRUCTURES = {
    "branch4": (BRANCH4_WORDS, ("match", "rest")),
    "branch6": (BRANCH6_WORDS, ("high", "low", "match", "rest")),
    "wide_pair": (WIDE_PAIR_WORDS, ("range", "elsewhere")),
    "head": (HEAD_WORDS, ("otherwise", "zero", "shortcuts")),
}


def leaf(first: int, last: int, inside: int, outside: int) -> int:
    """A leaf: ports first..last go to one destination, all others to another."""
    if inside == outside:
        return always(inside)
    return outside << OUTSIDE_SHIFT | inside << INSIDE_SHIFT | first << 16 | (last - first)


def always(destination: int) -> int:
    """The leaf that gives every port to one destination; 0 for no destination."""
    return destination << INSIDE_SHIFT | 0xFFFF if destination else 0


def port_node(base: int, stride: int, shift: int) -> int:
    """A node with 2**stride words from word ``base`` on."""
    mask = (1 << stride) - 1
    return PORT << CLASS_SHIFT | mask << MASK_SHIFT | shift << SHIFT_SHIFT | base


def pair(own: int, elsewhere: int) -> int:
    """A pair: inside as this leaf, then word number ``elsewhere`` of those behind the heads."""
    return own | elsewhere << ELSEWHERE_SHIFT | PAIR


def wide_pair_node(pair: int) -> int:
    """A node with one wide pair, number ``pair`` from the start of the table."""
    return PORT << CLASS_SHIFT | 1 << LOW_SHIFT | pair


def pack_config(
    words: int, steps: dict[int, int], counters: bool, shortcuts: Sequence[int], flows: bool
) -> bytes:
    """struct config. ``steps`` is by class: nodes on the longest path."""
    classes = (ADDRESS, PORT, INTERFACE, SOURCE)
    nodes = (steps.get(c, 0) for c in classes)
    return CONFIG.pack(words, *nodes, counters, bytes(shortcuts), flows, b"")


def padding(words: int) -> int:
    """How many zeros follow so many words, up to a multiple of ALIGNMENT."""
    return -words % ALIGNMENT


def branch4(high: int, length: int, match: int, miss: int) -> tuple[int, int]:
    """struct branch4 of one prefix, aligned to the left of ``high``; ``miss`` is a position."""
    return match, high | miss << MISS_SHIFT | (32 - length)


def branch6(high: int, low: int, length: int, match: int, miss: int) -> tuple[int, int, int, int]:
    """struct branch6 of one prefix; ``miss`` is a position in the table."""
    # A shift by 64 is none, so ignoring a whole half takes two shifts by 32.
    first, second = (128 - length, 0) if length > 64 else (32, 32)
    shift = 64 - min(length, 64)
    rest = second << SECOND6_SHIFT | first << FIRST6_SHIFT | miss << MISS_SHIFT | shift
    return high, low, match, rest

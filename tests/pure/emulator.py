"""The program's walk through a table, word by word, in Python: see bpf/sockreg.bpf.c."""

from __future__ import annotations

from sockreg.compile import Tables, words
from sockreg.model import INET6, UDP, Packet

ONES_32 = (1 << 32) - 1
ONES_64 = (1 << 64) - 1


def look_up(tables: Tables, packet: Packet, interface: int = 0) -> int:
    """The destination that the program finds: slot and missing=pass; 0 to pass."""
    size, address, port, interfaces, source, _ = words.CONFIG.unpack(tables.config)
    assert size * words.WORD_SIZE == len(tables.table_bytes())
    wide = packet.family == INET6
    word = int(tables.words[2 * wide + (packet.protocol == UDP)])
    word = follow(tables, word, words.ADDRESS, packet.address, wide, address)
    for _ in range(port):
        if word >> words.CLASS_SHIFT != words.PORT:
            break
        word = int(tables.words[element(word, packet.port)])
    word = follow(tables, word, words.INTERFACE, interface, False, interfaces)
    word = follow(tables, word, words.SOURCE, packet.source_address, wide, source)
    assert word >> 63 == 0, f"no leaf after all steps: {word:#x}"
    first, span = word >> 16 & 0xFFFF, word & 0xFFFF
    inside = (packet.port - first) & 0xFFFF <= span
    return word >> 32 & 0xFFFF if inside else word >> 48


def element(node: int, field: int) -> int:
    index = field >> (node >> words.SHIFT_SHIFT & 63) & node >> words.MASK_SHIFT & words.MASK_BITS
    return (node & ONES_32) + index


def follow(tables: Tables, word: int, node_class: int, field: int, wide: bool, steps: int) -> int:
    """The nodes of one class over an address of 128 (``wide``) or 32 bits."""
    for _ in range(steps):
        if word >> words.CLASS_SHIFT != node_class:
            break
        if wide:
            half = field & ONES_64 if word >> words.LOW_SHIFT & 1 else field >> 64
            at = 4 * element(word, half)
            high, low, match, rest = tables.words[at : at + 4].tolist()
            first, second = rest >> words.FIRST6_SHIFT & 63, rest >> words.SECOND6_SHIFT & 63
            differs = (field & ONES_64 ^ low) >> first >> second
            differs |= (field >> 64 ^ high) >> (rest & 63)
        else:
            at = 2 * element(word, field)
            match, rest = tables.words[at : at + 2].tolist()
            differs = (field ^ rest >> words.ADDRESS4_SHIFT) >> (rest & 63)
        miss = rest >> words.MISS_SHIFT & words.MISS_BITS
        word = int(tables.words[miss]) if differs else match
    return word

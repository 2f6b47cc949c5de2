"""The program's walk through a table, word by word, in Python: see bpf/sockreg.bpf.c."""

from __future__ import annotations

from sockreg.compile import Tables, words
from sockreg.model import FAMILY_BITS, INET6, UDP, Packet

ONES_32 = (1 << 32) - 1
ONES_64 = (1 << 64) - 1


def look_up(tables: Tables, packet: Packet, interface: int = 0) -> int:
    """The destination that the program finds: slot and missing=pass; 0 to pass."""
    size, address, port, interfaces, source, _, used, _, _ = words.CONFIG.unpack(tables.config)
    assert size * words.WORD_SIZE == len(tables.table_bytes())
    wide = packet.family == INET6
    word = start(tables, packet, used)
    word = follow(tables, word, words.ADDRESS, packet.address, wide, address)
    for _ in range(port):
        if not needs_step_port(word, packet.port):
            break
        word = follow_port(tables, word, packet.port)
    word = follow(tables, word, words.INTERFACE, interface, False, interfaces)
    word = follow(tables, word, words.SOURCE, packet.source_address, wide, source)
    assert word >> 63 == 0, f"no leaf after all steps: {word:#x}"
    assert not needs_step_port(word, packet.port), f"a pair after all steps: {word:#x}"
    inside = is_inside(word, packet.port)
    return word >> (words.INSIDE_SHIFT if inside else words.OUTSIDE_SHIFT) & words.DESTINATION_BITS


def is_inside(leaf: int, port: int) -> bool:
    first, span = leaf >> 16 & 0xFFFF, leaf & 0xFFFF
    return (port - first) & 0xFFFF <= span


def needs_step_port(word: int, port: int) -> bool:
    if word >> 63:
        return word >> words.CLASS_SHIFT == words.PORT
    return bool(word & words.PAIR) and not is_inside(word, port)


def follow_port(tables: Tables, node: int, port: int) -> int:
    if not node >> 63:
        return int(tables.words[words.ELSEWHERE + (node >> words.ELSEWHERE_SHIFT & 0x7FFF)])
    at = element(node, port)
    if not node >> words.LOW_SHIFT & 1:
        return int(tables.words[at])
    span, elsewhere = tables.words[2 * at : 2 * at + 2].tolist()
    if not is_inside(span, port):
        return int(elsewhere)
    return int(tables.words[span >> 32 & 0x7FFFFFFF]) if span >> 63 else int(span)


def start(tables: Tables, packet: Packet, used: bytes) -> int:
    """The word of the first shortcut that fits, or the one for all others."""
    root = 2 * (packet.family == INET6) + (packet.protocol == UDP)
    head = tables.words[root * words.HEAD_WORDS :][: words.HEAD_WORDS].tolist()
    aligned = packet.address << (128 - FAMILY_BITS[packet.family])
    for number in range(used[root]):
        high, low, match, rest = head[4 * (1 + number) :][:4]
        if not differs6(aligned, high, low, rest):
            return int(match)
    return int(head[0])


def differs6(address: int, high: int, low: int, rest: int) -> bool:
    """Whether an address is outside the prefix of a struct branch6."""
    first, second = rest >> words.FIRST6_SHIFT & 63, rest >> words.SECOND6_SHIFT & 63
    outside = (address & ONES_64 ^ low) >> first >> second
    return bool(outside | (address >> 64 ^ high) >> (rest & 63))


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
            differs = differs6(field, high, low, rest)
        else:
            at = 2 * element(word, field)
            match, rest = tables.words[at : at + 2].tolist()
            differs = bool((field ^ rest >> words.ADDRESS4_SHIFT) >> (rest & 63))
        miss = rest >> words.MISS_SHIFT & words.MISS_BITS
        word = int(tables.words[miss]) if differs else match
    return word

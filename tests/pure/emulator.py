"""The program's walk through a table, word by word, in Python: see bpf/sockreg.bpf.c."""

from __future__ import annotations

from sockreg.compile import Tables, words
from sockreg.model import FAMILY_BITS, INET6, UDP, Packet

ALL_ONES = (1 << 64) - 1


def look_up(tables: Tables, packet: Packet, interface: int = 0) -> int:
    """The destination that the program finds: slot and missing=pass; 0 to pass."""
    config = dict(
        zip(
            ("tcp4", "udp4", "tcp6", "udp6", "branches", *range(words.HIGH, words.SOURCE_LOW + 1)),
            words.CONFIG.unpack(tables.config),
        )
    )
    family = "6" if packet.family == INET6 else "4"
    word = config[("udp" if packet.protocol == UDP else "tcp") + family]
    high, low = aligned(packet.family, packet.address)
    source_high, source_low = aligned(packet.family, packet.source_address)
    fields = {
        words.HIGH: high,
        words.LOW: low,
        words.PORT: packet.port,
        words.INTERFACE: interface << 32,
        words.SOURCE_HIGH: source_high,
        words.SOURCE_LOW: source_low,
    }
    for field, value in fields.items():
        for _ in range(config[field]):
            if word >> words.FIELD_SHIFT != field:
                break
            word = follow(tables, word, value)
    assert word >> 63 == 0, f"no leaf after all steps: {word:#x}"
    first, span = word >> 16 & 0xFFFF, word & 0xFFFF
    inside = (packet.port - first) & 0xFFFF <= span
    return word >> 32 & 0xFFFF if inside else word >> 48


def follow(tables: Tables, word: int, value: int) -> int:
    """One step: from a node to the next word."""
    base, shift = word & 0xFFFFFFFF, word >> words.SHIFT_SHIFT & 63
    mask = word >> words.MASK_SHIFT & ((1 << words.STRIDE_MAX) - 1)
    at = base + (value >> shift & mask)
    if word >> words.FIELD_SHIFT == words.PORT:
        return int(tables.words[at])
    assert (at + 1) * words.BRANCH_WORDS <= len(tables.words)
    key, match, miss, shift = tables.words[at * words.BRANCH_WORDS :][: words.BRANCH_WORDS].tolist()
    return match if (value ^ key) >> (shift & 63) == 0 else miss


def aligned(family: int, address: int) -> tuple[int, int]:
    left = address << (128 - FAMILY_BITS[family])
    return left >> 64, left & ALL_ONES

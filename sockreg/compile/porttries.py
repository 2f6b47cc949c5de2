"""Port functions as tries over the 16 bits of a port.

A word of a port node represents a block of ports. The word is a leaf, or leads to a pair, as soon
as the block contains one range of ports that differs from the rest, the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from sockreg.compile.budget import Budget
from sockreg.compile.conditions import CELLS
from sockreg.compile.ports import PORTS, Steps
from sockreg.compile.words import (
    INSIDE_SHIFT,
    WIDE_PAIR_POSITION,
    WIDE_PAIR_WORDS,
    always,
    leaf,
    port_node,
    wide_pair_node,
)

# A node may have this many words per range in it, to resolve them all in one step. So two
# ranges get up to three bits, and a path ends after six nodes and a pair.
WORDS_PER_RANGE = 4


class _Range(NamedTuple):
    """Ports first..last that do not get the background's outcome."""

    first: int
    last: int
    outcome: int


class Tries:
    """Port functions as words, starting in the table at word ``base``."""

    def __init__(
        self, pair_words: Sequence[int], cell_words: Sequence[int], base: int, budget: Budget
    ) -> None:
        self.words: list[int] = []
        self.function_words: list[int] = []  # first word of each port function
        self._pair_words = pair_words
        self._cell_words = cell_words
        self._base = base
        self._budget = budget

    def add(self, steps: Steps) -> None:
        """Create the words of the next port function. Those that it refers to exist already."""
        ends = [port for port, _ in steps[1:]] + [PORTS]
        covered: dict[int, int] = {}
        for (port, outcome), end in zip(steps, ends, strict=True):
            covered[outcome] = covered.get(outcome, 0) + end - port
        # The most common outcome; of equals the smallest, so that the result is deterministic.
        background = min(covered, key=lambda outcome: (-covered[outcome], outcome))
        ranges = [
            _Range(port, end - 1, outcome)
            for (port, outcome), end in zip(steps, ends, strict=True)
            if outcome != background
        ]
        self.function_words.append(self._word(ranges, background))

    def _word(self, ranges: list[_Range], background: int) -> int:
        """The word for ports where these ranges differ from the background's outcome."""
        if not ranges:
            return self._outcome_word(background)
        if len(ranges) == 1:
            first, last, outcome = ranges[0]
            if 0 <= background < CELLS and 0 <= outcome < CELLS:
                return leaf(first, last, outcome, background)
            return self._wide_pair(ranges[0], background)
        return self._node(ranges, background)

    def _node(self, ranges: list[_Range], background: int) -> int:
        # Leaves and pairs compare the whole port, so bits that all ranges share are skipped.
        bits = (ranges[0].first ^ ranges[-1].last).bit_length()
        nearest = min((a.last ^ b.first).bit_length() for a, b in pairwise(ranges))
        affordable = (WORDS_PER_RANGE * len(ranges)).bit_length() - 1
        stride = min(bits - nearest + 1, affordable)
        below = bits - stride
        start = ranges[0].first >> bits << bits
        inside: list[list[_Range]] = [[] for _ in range(1 << stride)]
        for first, last, outcome in ranges:
            for block in range(first - start >> below, (last - start >> below) + 1):
                low = start + (block << below)
                part = _Range(max(first, low), min(last, low + (1 << below) - 1), outcome)
                inside[block].append(part)
        at = self._reserve(1 << stride)
        empty = self._outcome_word(background)
        for position, parts in enumerate(inside, at):
            self.words[position] = self._word(parts, background) if parts else empty
        return port_node(self._base + at, stride, below)

    def _wide_pair(self, only: _Range, background: int) -> int:
        value = only.outcome
        if not 0 <= value < CELLS:
            at = self._reserve(1)
            self.words[at] = self._outcome_word(value)
            value = WIDE_PAIR_POSITION | self._base + at
        at = self._reserve(WIDE_PAIR_WORDS, WIDE_PAIR_WORDS)
        self.words[at] = value << INSIDE_SHIFT | only.first << 16 | only.last - only.first
        self.words[at + 1] = self._outcome_word(background)
        return wide_pair_node((self._base + at) // WIDE_PAIR_WORDS)

    def _outcome_word(self, outcome: int) -> int:
        if outcome >= CELLS:
            return self._cell_words[outcome - CELLS]
        if outcome >= 0:
            return always(outcome)
        number = -1 - outcome
        prefixes = len(self._pair_words)
        if number < prefixes:
            return int(self._pair_words[number])
        return self.function_words[number - prefixes]

    def _reserve(self, count: int, alignment: int = 1) -> int:
        """The position, in these words, of ``count`` new ones."""
        at = -(-len(self.words) // alignment) * alignment
        self._budget.check(self._base + at + count)
        self.words += [0] * (at + count - len(self.words))
        return at

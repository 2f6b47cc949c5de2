"""Port functions into port nodes: tries over the 16 bits of a port.

A slot of a port node covers a block of ports and holds a leaf as soon as the block has
only one range of ports in it that differs from the rest, the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from sockreg.compile.budget import Budget
from sockreg.compile.conditions import CELLS
from sockreg.compile.ports import LINK, PORTS, Steps
from sockreg.compile.words import STEPS_PORT_MAX, always, leaf, port_node

PORT_BITS = 16

# A node may have this many slots for each range in it, to resolve them all in one step.
SLOTS_PER_RANGE = 4

# Where leaves cannot compare the port, because there is more behind them than a destination,
# nodes have to take all 16 bits; so they take at least this many at once. A lookup goes through
# at most ports.LINKS_MAX functions of such nodes, 4 each, and one without, which takes 3 bits at
# least and so ends after 6: fewer than STEPS_PORT_MAX in all.
STRIDE_MIN = 4


class Range(NamedTuple):
    """Ports first..last that do not get the background's outcome."""

    first: int
    last: int
    outcome: int


class PortNodes:
    """The words of port nodes, to lie in the table from word ``base`` on."""

    def __init__(self, cell_words: Sequence[int], base: int, budget: Budget) -> None:
        self.words: list[int] = []
        self.function_words: list[int] = []  # first word of each port function
        self.depths: list[int] = []  # nodes on the longest path from there
        self._cell_words = cell_words
        self._base = base
        self._budget = budget

    def add(self, steps: Steps) -> None:
        """Make the nodes of the next port function; those it refers to exist already."""
        ends = [port for port, _ in steps[1:]] + [PORTS]
        covered: dict[int, int] = {}
        for (port, outcome), end in zip(steps, ends, strict=True):
            covered[outcome] = covered.get(outcome, 0) + end - port
        # The commonest outcome; of equals the smallest, so that the result is always the same.
        background = min(covered, key=lambda outcome: (-covered[outcome], outcome))
        ranges = [
            Range(port, end - 1, outcome)
            for (port, outcome), end in zip(steps, ends, strict=True)
            if outcome != background
        ]
        function = _Function(self, background, all(0 <= outcome < CELLS for outcome in covered))
        word, depth = function.word(ranges, 0, PORT_BITS)
        self._budget.check_steps(depth, STEPS_PORT_MAX)
        self.function_words.append(word)
        self.depths.append(depth)

    def outcome_word(self, outcome: int) -> tuple[int, int]:
        """The word that leads to an outcome, and how many port nodes are behind it."""
        if outcome < 0:
            return self.function_words[LINK - outcome], self.depths[LINK - outcome]
        if outcome < CELLS:
            return always(outcome), 0
        return self._cell_words[outcome - CELLS], 0

    def reserve(self, count: int) -> int:
        """The position, in these words, of ``count`` new ones."""
        at = len(self.words)
        self._budget.check(self._base + at + count)
        self.words += [0] * count
        return at

    def node(self, at: int, stride: int, shift: int) -> int:
        return port_node(self._base + at, stride, shift)


class _Function(NamedTuple):
    nodes: PortNodes
    background: int
    plain: bool  # every outcome is a destination

    def word(self, ranges: list[Range], start: int, bits: int) -> tuple[int, int]:
        """The word for the block of 2**bits ports from ``start``, and the nodes behind it."""
        if not ranges:
            return self.nodes.outcome_word(self.background)
        if len(ranges) == 1:
            first, last, outcome = ranges[0]
            if 0 <= outcome < CELLS and 0 <= self.background < CELLS:
                return leaf(first, last, outcome, self.background), 0
            if last - first + 1 == 1 << bits:
                return self.nodes.outcome_word(outcome)
        return self._node(ranges, start, bits)

    def _node(self, ranges: list[Range], start: int, bits: int) -> tuple[int, int]:
        if self.plain:
            # Leaves compare the whole port, so bits that all ranges share need no look.
            bits = (ranges[0].first ^ ranges[-1].last).bit_length()
            start = ranges[0].first >> bits << bits
        stride = self._stride(ranges, bits)
        below = bits - stride
        at = self.nodes.reserve(1 << stride)
        depth = 0
        position = 0
        for slot in range(1 << stride):
            first = start + (slot << below)
            last = first + (1 << below) - 1
            inside = []
            while position < len(ranges) and ranges[position].first <= last:
                part = ranges[position]
                inside.append(Range(max(part.first, first), min(part.last, last), part.outcome))
                if part.last > last:
                    break
                position += 1
            self.nodes.words[at + slot], behind = self.word(inside, first, below)
            depth = max(depth, behind)
        return self.nodes.node(at, stride, below), depth + 1

    def _stride(self, ranges: list[Range], bits: int) -> int:
        """Enough bits to part all ranges, if that does not take too many slots."""
        affordable = (SLOTS_PER_RANGE * len(ranges)).bit_length() - 1
        if not self.plain:
            return min(bits, max(affordable, STRIDE_MIN))
        nearest = min((a.last ^ b.first).bit_length() for a, b in pairwise(ranges))
        return min(bits - nearest + 1, affordable)

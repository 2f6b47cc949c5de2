"""Decisions as words: pairs, and port functions as tries over the 16 bits of a port.

A word of a port node represents a block of ports. The word is a leaf, or leads to a pair, as soon
as the block contains one range of ports that differs from the rest, the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sockreg.compile.budget import Budget
from sockreg.compile.conditions import CELLS
from sockreg.compile.decisions import Decisions
from sockreg.compile.forest import Forest
from sockreg.compile.ports import PORTS, Steps
from sockreg.compile.words import (
    ELSEWHERE_MAX,
    INSIDE_SHIFT,
    WIDE_PAIR_POSITION,
    WIDE_PAIR_WORDS,
    Ints,
    Words,
    always,
    leaf,
    padded,
    pairs,
    port_node,
    wide_pair_node,
    wide_pair_nodes,
)

# A node may have this many words per range in it, to resolve them all in one step. So two
# ranges get up to three bits, and a path ends after six nodes and a pair.
WORDS_PER_RANGE = 4


class PortWords(NamedTuple):
    """``outcome`` is the word of each prefix. ``elsewhere`` are the words that pairs refer to.

    ``words`` start in the table at ``base``.
    """

    outcome: Words
    elsewhere: Words
    words: Words


def choose_elsewhere(decisions: Decisions, forest: Forest) -> Ints:
    """The decisions that pairs refer to by number, most used first."""
    inherited = decisions.decision[forest.parent[decisions.pairs()]]
    needed, count = np.unique(inherited, return_counts=True)
    most = np.argsort(-count, kind="stable")[:ELSEWHERE_MAX]
    return np.sort(needed[most])


def build_port_words(
    decisions: Decisions,
    forest: Forest,
    elsewhere: Ints,
    cell_words: Sequence[int],
    base: int,
    budget: Budget,
) -> PortWords:
    """The pairs and port nodes for all decisions, and the word of each prefix."""
    prefix = decisions.pairs()
    own, inherited = decisions.own[prefix], decisions.decision[forest.parent[prefix]]
    number = np.searchsorted(elsewhere, inherited)
    # A decision without a number is larger than all that have one, or less than the one found.
    numbered = np.append(elsewhere, 0)[number] == inherited
    numbered &= number < len(elsewhere)
    wide = ~numbered
    count = int(wide.sum())
    first_pair = base // WIDE_PAIR_WORDS
    pair_words = np.zeros(len(decisions.decision), np.uint64)
    pair_words[prefix[numbered]] = pairs(own[numbered], number[numbered])
    pair_words[prefix[wide]] = wide_pair_nodes(first_pair + np.arange(count))

    tries = _Tries(pair_words, cell_words, base + WIDE_PAIR_WORDS * count, budget)
    for steps in decisions.functions:
        tries.add(steps)
    of_number = np.concatenate((pair_words, np.array(tries.function_words, np.uint64)))

    def words_of(chosen: Ints) -> Words:
        number = np.maximum(-1 - chosen, 0)
        words: Words = np.where(chosen >= 0, chosen.astype(np.uint64), of_number[number])
        return words

    content = np.column_stack((own[wide].astype(np.uint64), words_of(inherited[wide])))
    table = np.concatenate((content.ravel(), np.array(tries.words, np.uint64)))
    return PortWords(words_of(decisions.decision), words_of(elsewhere), padded(table))


class _Range(NamedTuple):
    """Ports first..last that do not get the background's outcome."""

    first: int
    last: int
    outcome: int


class _Tries:
    """Port functions as words, starting in the table at word ``base``."""

    def __init__(
        self, pair_words: Words, cell_words: Sequence[int], base: int, budget: Budget
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

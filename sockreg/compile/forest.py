"""Prefixes in the order of a depth-first walk, and which of them encloses which.

Prefixes of several independent trees are handled at once, because a numpy operation
costs the same for ten of them as for a thousand.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sockreg.compile.arrays import Ints, Words

Flags = np.ndarray[Any, np.dtype[np.bool_]]

ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


class Forest(NamedTuple):
    """Distinct prefixes, sorted by tree, address and length, with an array for each part.

    Addresses are aligned to the left: ``high`` holds bits 0..63, and ``low`` bits 64..127. IPv4
    addresses are the upper half of ``high``. So a prefix comes directly before all prefixes inside
    it. ``parent`` is the position of the longest enclosing prefix of the same tree, or -1.
    """

    tree: Ints
    high: Words
    low: Words
    length: Ints
    parent: Ints


def build_forest(tree: Ints, high: Words, low: Words, length: Ints) -> Forest:
    """The forest of prefixes that are already sorted and distinct."""
    return Forest(tree, high, low, length, _parents(tree, high, low, length))


def part_of(forest: Forest, first_tree: int, trees: int) -> tuple[slice, Forest]:
    """Some of the trees as a separate forest, and the positions of its prefixes in the whole."""
    start, stop = np.searchsorted(forest.tree, (first_tree, first_tree + trees)).tolist()
    run = slice(start, stop)
    parent = np.where(forest.parent[run] < 0, -1, forest.parent[run] - start)
    tree = forest.tree[run] - first_tree
    return run, Forest(tree, forest.high[run], forest.low[run], forest.length[run], parent)


def high_mask(length: Ints) -> Words:
    """The bits of ``high`` that belong to a prefix."""
    return ONES << (64 - np.minimum(length, 64)).astype(np.uint64)


def low_mask(length: Ints) -> Words:
    """The bits of ``low`` that belong to a prefix."""
    return ONES << (128 - np.maximum(length, 64)).astype(np.uint64)


def common_length(forest: Forest, first: Ints, second: Ints) -> Ints:
    """How many leading bits the addresses of prefixes have in common, at most 128."""
    high = forest.high[first] ^ forest.high[second]
    low = forest.low[first] ^ forest.low[second]
    return np.where(high != 0, _leading_zeros(high), 64 + _leading_zeros(low))


def _leading_zeros(values: Words) -> Ints:
    # frexp() of a double gives the bit length exactly for integers below 2**53.
    upper = (values >> np.uint64(32)).astype(np.float64)
    lower = (values & np.uint64(0xFFFFFFFF)).astype(np.float64)
    zeros = np.where(upper != 0, 32 - np.frexp(upper)[1], 64 - np.frexp(lower)[1])
    return zeros.astype(np.int64)


def _parents(tree: Ints, high: Words, low: Words, length: Ints) -> Ints:
    """Find the enclosing prefixes by following candidates.

    The first candidate is the preceding prefix. A candidate that does not enclose is replaced by
    its own candidate, because nothing between these two encloses either. All prefixes move at once,
    so distances double and few rounds are needed.
    """
    count = len(tree)
    parent: Ints = np.arange(-1, count - 1, dtype=np.int64)
    masks_high, masks_low = high_mask(length), low_mask(length)
    pending: Ints = np.arange(1, count, dtype=np.int64)
    while len(pending):
        candidate = parent[pending]
        encloses = (
            (tree[candidate] == tree[pending])
            & (length[candidate] < length[pending])
            & ((high[candidate] ^ high[pending]) & masks_high[candidate] == 0)
            & ((low[candidate] ^ low[pending]) & masks_low[candidate] == 0)
        )
        pending = pending[~encloses]
        following = parent[parent[pending]]
        parent[pending] = following
        pending = pending[following >= 0]
    return parent

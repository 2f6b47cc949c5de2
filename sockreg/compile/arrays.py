"""The words of a table, many at once: the encoders of words.py as array operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from sockreg.compile.words import (
    ALIGNMENT,
    ELSEWHERE_SHIFT,
    FIRST6_SHIFT,
    MISS_SHIFT,
    PAIR,
    SECOND6_SHIFT,
    wide_pair_node,
)

# Like numpy.typing.NDArray, which takes 5 ms to import.
Ints = np.ndarray[Any, np.dtype[np.int64]]
Words = np.ndarray[Any, np.dtype[np.uint64]]


def pairs(leaves: Ints, elsewhere: Ints) -> Words:
    """Pairs: inside as these leaves, then word number ``elsewhere`` of those behind the heads."""
    return (leaves | elsewhere << ELSEWHERE_SHIFT | PAIR).astype(np.uint64)


def wide_pair_nodes(pairs: Ints) -> Words:
    """wide_pair_node() of each."""
    return np.uint64(wide_pair_node(0)) | pairs.astype(np.uint64)


def padded(content: Words) -> Words:
    """With zeros up to a multiple of ALIGNMENT."""
    return np.append(content, np.zeros(-len(content) % ALIGNMENT, np.uint64))


def encode_branches(
    wide: bool, high: Words, low: Words, length: Ints, match: Words, miss: Ints
) -> Words:
    """struct branch6 (``wide``) or struct branch4 of one prefix each, as flat words.

    Addresses are aligned to the left of 128 bits; ``miss`` is a position in the table.
    """
    if not wide:
        rest = miss << MISS_SHIFT | (32 - length)
        return np.column_stack((match, high | rest.astype(np.uint64))).ravel()
    # As in branch6().
    first = np.where(length > 64, 128 - length, 32)
    second = np.where(length > 64, 0, 32)
    shift = 64 - np.minimum(length, 64)
    rest = second << SECOND6_SHIFT | first << FIRST6_SHIFT | miss << MISS_SHIFT | shift
    return np.column_stack((high, low, match, rest.astype(np.uint64))).ravel()

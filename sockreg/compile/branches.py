"""Prefix forests into branch nodes: level-compressed tries whose slots compare.

A branch node looks at a few bits of an address at once, its stride, and has a branch for
each value of them. The branch compares the whole address with one prefix, the longest
that encloses everything below, and goes on to ``match`` or ``miss``. So a lookup
skips bits without reading a word for them, and mostly ends after one or two branches.

All nodes of one depth are made together by array operations; a million prefixes need
about ten rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sockreg.compile import words
from sockreg.compile.forest import ONES, Flags, Forest, Ints, Words, common_length

# A node takes the widest stride at which this share of its branches is in use. Wider
# nodes save steps but take memory, and memory takes time: caches hold less of it.
OCCUPANCY = 0.2


@dataclass(frozen=True)
class Branches:
    roots: Words  # first word of each tree
    branches: Words  # shape (n, 4): key, match, miss, shift
    steps: dict[int, int]  # by field: nodes on the longest path


class _Nodes(NamedTuple):
    """Nodes to be made: prefixes ``start``..``stop`` of the forest, all inside one prefix.

    ``verified`` is the length of that prefix: the bits known to be right when a lookup
    gets here. Addresses in none of the prefixes get the word ``otherwise``. The node's
    own word is to be written at ``target``, an index into the flat output.
    """

    start: Ints
    stop: Ints
    verified: Ints
    otherwise: Words
    target: Ints


class _Placed(NamedTuple):
    """Where nodes came to lie and how they look at their field."""

    low: Flags  # reads the field's second half
    skipped: Ints  # bits before the stride
    stride: Ints
    base: Ints  # of the first branch, counted from the first branch of this round
    size: int  # branches of all nodes


def build_branches(
    forest: Forest, outcome: Words, otherwise: Words, fields: tuple[int, int], base: int
) -> Branches:
    """Make the tries of all trees of a forest.

    ``outcome`` is the word for addresses whose longest prefix is the one at that
    position, ``otherwise`` the word of each tree for addresses in no prefix. ``fields``
    are those that hold the two halves of the address; ``base`` is the position, in
    branches, at which the result will lie in the table.
    """
    # The output starts with the roots, padded to whole branches, and grows by rounds.
    trees = len(otherwise)
    first = -(-trees // words.BRANCH_WORDS)
    roots = np.zeros((first, words.BRANCH_WORDS), np.uint64)
    rounds = [roots]
    roots.reshape(-1)[:trees] = otherwise
    ends = np.searchsorted(forest.tree, np.arange(trees + 1))
    tree = np.flatnonzero(ends[1:] > ends[:-1])
    nodes = _Nodes(ends[tree], ends[tree + 1], np.zeros_like(tree), otherwise[tree], tree)
    nodes = _enter(forest, outcome, nodes)
    # A root that is one word for all addresses needs no node.
    done = nodes.start == nodes.stop
    roots.reshape(-1)[nodes.target[done]] = nodes.otherwise[done]
    nodes = _select(nodes, ~done)
    ...

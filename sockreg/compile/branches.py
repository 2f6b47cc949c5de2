"""Prefix forests as branches: level-compressed tries.

A node looks at a few bits of an address at once, its stride, and has one branch for each value of
them. The branch compares the whole address with one prefix, the longest that encloses everything
below it. So a lookup skips bits without reading a word for them, and usually ends after one or two
branches.

All nodes of one depth are created together by array operations. A million prefixes need about ten
rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sockreg.compile import words
from sockreg.compile.arrays import Ints, Words, encode_branches, padded
from sockreg.compile.budget import Budget
from sockreg.compile.forest import (
    Flags,
    Forest,
    common_length,
    high_mask,
    low_mask,
)
from sockreg.compile.shape import BRANCHES_PER_PREFIX, DEEP, DEEP_STRIDE, OCCUPANCY
from sockreg.compile.shortcuts import Row


class Made(NamedTuple):
    """Branches: the prefix to compare, and the words to continue with."""

    high: Words
    low: Words
    length: Ints
    match: Words
    miss: Words


@dataclass(frozen=True)
class Branches:
    """The branch nodes of all trees, as words of the table."""

    roots: Words  # first word of each tree
    otherwise: Words  # for each tree, the word for addresses in no prefix but /0
    words: Words  # starts in the table at ``base``
    steps: int  # nodes on the longest path
    wide: bool
    first: int  # how nodes refer to the first branch
    made: Made

    def root(self, tree: int) -> int:
        """First word of a tree."""
        return int(self.roots[tree])

    def otherwise_of(self, tree: int) -> int:
        """The word for addresses in no prefix of a tree but /0."""
        return int(self.otherwise[tree])

    def rows(self, first: int, count: int) -> list[Row]:
        """Some branches, as nodes refer to them."""
        start = first - self.first
        columns = (column[start : start + count].tolist() for column in self.made)
        return [Row(*row) for row in zip(*columns, strict=True)]


class _Nodes(NamedTuple):
    """Nodes to create: prefixes ``start``..``stop`` of the forest, all inside one block.

    ``verified`` is the length of that block: the bits that are known to match when a lookup gets
    here. Addresses of the block in none of the prefixes get the word ``otherwise``. The node's own
    word is written at ``target``, a position in the ``match`` of the round before.
    """

    start: Ints
    stop: Ints
    verified: Ints
    otherwise: Words
    target: Ints


class _Layout(NamedTuple):
    """How the nodes of a round read the address, and where their branches are."""

    half: Ints  # 0 or 64: where the half of the address that they read starts
    skipped: Ints  # address bits before the stride
    stride: Ints
    base: Ints  # first branch, counted from the first of the round
    size: int  # branches of all nodes


class _Members(NamedTuple):
    """The prefixes below the nodes of a round, in order: one element for each."""

    prefix: Ints  # position in the forest
    node: Ints
    branch: Ints  # counted from the first of the round


def build_branches(
    forest: Forest,
    outcome: Words,
    otherwise: Words,
    node_class: int,
    wide: bool,
    base: int,
    budget: Budget,
) -> Branches:
    """Create the tries of all trees of a forest.

    ``outcome`` is the word for addresses whose longest prefix is the one at that position.
    ``otherwise`` is the word of each tree for addresses in no prefix. ``wide`` selects struct
    branch6 or branch4. ``base`` is the position in the table, in words.
    """
    size = words.BRANCH6_WORDS if wide else words.BRANCH4_WORDS
    roots = otherwise.copy()
    ends = np.searchsorted(forest.tree, np.arange(len(roots) + 1))
    tree = np.flatnonzero(ends[1:] > ends[:-1])
    nodes = _Nodes(ends[tree], ends[tree + 1], np.zeros_like(tree), otherwise[tree], tree)
    nodes = _enter(forest, outcome, nodes, roots)
    otherwise = roots.copy()
    neighbours = _enclosing_length(forest, *_neighbours(len(forest.tree)))

    rounds = [_no_branches()]
    target = roots
    first = base // size
    while len(nodes.start):
        layout = _lay_out(forest, neighbours, nodes, deep=len(rounds) > DEEP)
        budget.check(size * (first + layout.size))
        target[nodes.target] = _node_words(layout, node_class, wide, first)
        made, nodes = _fill(forest, outcome, nodes, layout)
        nodes = _enter(forest, outcome, nodes, made.match)
        rounds.append(made)
        target = made.match
        first += layout.size

    budget.check_steps(len(rounds) - 1, words.STEPS6_MAX if wide else words.STEPS4_MAX)
    made = Made(*(np.concatenate(parts) for parts in zip(*rounds, strict=True)))
    # The words for a miss are behind the branches, each of them once.
    misses, position = np.unique(made.miss, return_inverse=True)
    position += base + size * len(made.match)
    encoded = encode_branches(wide, made.high, made.low, made.length, made.match, position)
    content = padded(np.concatenate((encoded, misses)))
    return Branches(roots, otherwise, content, len(rounds) - 1, wide, base // size, made)


def _no_branches() -> Made:
    none, no_words = np.zeros(0, np.int64), np.zeros(0, np.uint64)
    return Made(no_words, no_words, none, no_words, no_words)


def _neighbours(count: int) -> tuple[Ints, Ints]:
    """Start and stop of each prefix with the next one."""
    first: Ints = np.arange(max(count - 1, 0), dtype=np.int64)
    return first, first + 2


def _enter(forest: Forest, outcome: Words, nodes: _Nodes, target: Words) -> _Nodes:
    """Remove the prefix that is the node's whole block from the node.

    Nodes that become empty are replaced by the word that they always lead to.
    """
    whole = forest.length[nodes.start] == nodes.verified
    otherwise = np.where(whole, outcome[nodes.start], nodes.otherwise)
    start = nodes.start + whole
    target[nodes.target] = otherwise
    rest = start < nodes.stop
    return _some(nodes._replace(start=start, otherwise=otherwise), rest)


def _some(nodes: _Nodes, which: Ints | Flags) -> _Nodes:
    return _Nodes(
        nodes.start[which],
        nodes.stop[which],
        nodes.verified[which],
        nodes.otherwise[which],
        nodes.target[which],
    )


def _lay_out(forest: Forest, neighbours: Ints, nodes: _Nodes, deep: bool) -> _Layout:
    skipped = _enclosing_length(forest, nodes.start, nodes.stop)
    stride = _strides(neighbours, nodes, skipped, deep)
    # Branches also compare the skipped bits. But a branch that inherits from a short prefix has
    # nothing of its own to compare. Therefore, either nothing is skipped, or a single branch
    # verifies these bits first.
    shortest = np.minimum.reduceat(
        np.append(forest.length, 0), np.stack((nodes.start, nodes.stop), axis=1).ravel()
    )[::2]
    at = np.flatnonzero((skipped > nodes.verified) & (shortest <= skipped + stride))
    unseen = _some(nodes, at)
    wider = _strides(neighbours, unseen, unseen.verified, deep)
    reaches = wider > skipped[at] - unseen.verified
    stride[at] = np.where(reaches, wider, 0)
    skipped[at] = np.where(reaches, unseen.verified, skipped[at])
    ends = np.cumsum(1 << stride)
    half = np.where(skipped >= 64, 64, 0)
    return _Layout(half, skipped, stride, ends - (1 << stride), int(ends[-1]))


def _enclosing_length(forest: Forest, start: Ints, stop: Ints) -> Ints:
    """The length of the longest prefix that encloses prefixes start..stop."""
    return np.minimum(common_length(forest, start, stop - 1), forest.length[start])


def _strides(neighbours: Ints, nodes: _Nodes, skipped: Ints, deep: bool) -> Ints:
    """The stride of each node after the skipped bits. ``deep``: the node has DEEP nodes above it.

    With a stride of b bits, the number of branches in use is one more than the number of neighbours
    that differ within these bits.
    """
    if not len(skipped):
        return skipped
    count = nodes.stop - nodes.start
    room = np.where(skipped >= 64, 128, 64) - skipped
    widest = np.frexp(count * BRANCHES_PER_PREFIX)[1] - 1
    if deep:
        widest = np.maximum(widest, DEEP_STRIDE)
    widest = np.minimum(np.minimum(np.where(count > 1, widest, 0), room), words.STRIDE_MAX)
    columns = int(widest.max()) + 1
    node = np.repeat(np.arange(len(count)), count - 1)
    differ_at = neighbours[_ranges(nodes.start, count - 1)] - skipped[node]
    near = differ_at < columns - 1
    counted = np.bincount(
        node[near] * columns + differ_at[near] + 1, minlength=len(count) * columns
    )
    in_use = 1 + np.cumsum(counted.reshape(-1, columns), axis=1)
    strides = np.arange(columns)
    good = in_use >= OCCUPANCY * (1 << strides)
    if deep:
        good |= strides <= DEEP_STRIDE
    good &= strides <= widest[:, None]
    # argmax() finds the first: the narrowest of the strides that separate as many prefixes.
    stride: Ints = np.argmax(np.where(good, in_use, 0), axis=1)
    return stride


def _ranges(start: Ints, count: Ints) -> Ints:
    """start[0], start[0] + 1, ... (count[0] of them), start[1], ..."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(start - ends + count, count)


def _node_words(layout: _Layout, node_class: int, wide: bool, first: int) -> Words:
    mask = (1 << layout.stride) - 1
    shift = layout.half + (64 if wide else 32) - layout.skipped - layout.stride
    word = mask << words.MASK_SHIFT | (shift & 63) << words.SHIFT_SHIFT | first + layout.base
    word |= (layout.half >> 6) << words.LOW_SHIFT
    return word.astype(np.uint64) | np.uint64(node_class << words.CLASS_SHIFT)


def _fill(forest: Forest, outcome: Words, nodes: _Nodes, layout: _Layout) -> tuple[Made, _Nodes]:
    """The branches of a round, and the nodes below them."""
    members = _members(forest, nodes, layout)
    reach = layout.skipped + layout.stride
    short = (forest.length[members.prefix] <= reach[members.node]) & (
        layout.stride[members.node] > 0
    )
    # At first, every branch compares its own block and leads to what the block inherits.
    inherited = _inherited(forest, outcome, nodes, layout, _select(members, short))
    node: Ints = np.repeat(np.arange(len(nodes.start)), 1 << layout.stride)
    high, low = _blocks(forest, nodes, layout, node)
    made = Made(high, low, reach[node], inherited, nodes.otherwise[node])

    # Longer prefixes are nodes below. Their branch compares all that they have in common.
    inner = _select(members, ~short)
    is_first = np.diff(inner.branch, prepend=-1) > 0
    branch, start = inner.branch[is_first], inner.prefix[is_first]
    stop = inner.prefix[np.roll(is_first, -1)] + 1
    verified = _enclosing_length(forest, start, stop)
    made.high[branch] = forest.high[start] & high_mask(verified)
    made.low[branch] = forest.low[start] & low_mask(verified)
    made.length[branch] = verified
    made.miss[branch] = inherited[branch]
    return made, _Nodes(start, stop, verified, inherited[branch], branch)


def _members(forest: Forest, nodes: _Nodes, layout: _Layout) -> _Members:
    count = nodes.stop - nodes.start
    node = np.repeat(np.arange(len(count)), count)
    prefix = _ranges(nodes.start, count)
    address = np.where(layout.half[node] == 0, forest.high[prefix], forest.low[prefix])
    before = (layout.skipped - layout.half)[node].astype(np.uint64)
    after = (64 - layout.stride)[node].astype(np.uint64)
    index = address << before >> after
    return _Members(prefix, node, layout.base[node] + index.astype(np.int64))


def _select(members: _Members, which: Flags) -> _Members:
    return _Members(*(part[which] for part in members))


def _blocks(forest: Forest, nodes: _Nodes, layout: _Layout, node: Ints) -> tuple[Words, Words]:
    """The address of the block that each branch of a round stands for."""
    index = (np.arange(layout.size) - layout.base[node]).astype(np.uint64)
    after = (layout.half + 64 - layout.skipped - layout.stride).astype(np.uint64)
    value = index << after[node]
    in_low = layout.half[node] > 0
    high = (forest.high[nodes.start] & high_mask(layout.skipped))[node]
    low = (forest.low[nodes.start] & low_mask(layout.skipped))[node]
    return np.where(in_low, high, high | value), np.where(in_low, low | value, low)


def _inherited(
    forest: Forest, outcome: Words, nodes: _Nodes, layout: _Layout, short: _Members
) -> Words:
    """The word for each branch's block as a whole: the word of the longest short prefix.

    Prefixes are written as changes of the word from one branch to the next, at their start and at
    their end. Then the gaps are filled from the left.
    """
    changed = np.zeros(layout.size, np.bool_)
    word = np.zeros(layout.size, np.uint64)
    changed[layout.base] = True
    word[layout.base] = nodes.otherwise

    # If several prefixes end at one branch, the outermost decides. It comes first in the forest,
    # so it is written last.
    prefix, node, start = (part[::-1] for part in short)
    end = start + (1 << (layout.skipped + layout.stride)[node] - forest.length[prefix])
    inside = end < (layout.base + (1 << layout.stride))[node]
    prefix, node, end = prefix[inside], node[inside], end[inside]
    parent = forest.parent[prefix]
    changed[end] = True
    word[end] = np.where(parent >= nodes.start[node], outcome[parent], nodes.otherwise[node])

    # If several prefixes start there, the innermost comes last.
    changed[short.branch] = True
    word[short.branch] = outcome[short.prefix]
    latest = np.maximum.accumulate(np.where(changed, np.arange(layout.size), 0))
    inherited: Words = word[latest]
    return inherited

"""Tries of few prefixes, node by node and without numpy: the same words as those of
``sockreg.compile.branches``, which explains them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sockreg.compile import words
from sockreg.compile.budget import Budget
from sockreg.compile.conditions import Tree
from sockreg.compile.shape import BRANCHES_PER_PREFIX, DEEP, DEEP_STRIDE, OCCUPANCY
from sockreg.compile.shortcuts import Row

_LOW_64 = (1 << 64) - 1


@dataclass(frozen=True)
class FewBranches:
    """The branch nodes of all trees, as Branches of ``sockreg.compile.branches``."""

    roots: list[int]
    otherwise: list[int]
    words: list[int]
    steps: int
    wide: bool
    first: int
    made: list[Row]

    def root(self, tree: int) -> int:
        """First word of a tree."""
        return self.roots[tree]

    def otherwise_of(self, tree: int) -> int:
        """The word for addresses in no prefix of a tree but /0."""
        return self.otherwise[tree]

    def rows(self, first: int, count: int) -> list[Row]:
        """Some branches, as nodes refer to them."""
        return self.made[first - self.first : first - self.first + count]


class _Node(NamedTuple):
    """A node to create: prefixes ``start``..``stop``, all inside one block.

    ``verified`` is the length of that block. Addresses in none of the prefixes get the word
    ``otherwise``. The node's own word is written at ``at`` of ``target``.
    """

    start: int
    stop: int
    verified: int
    otherwise: int
    target: list[int]
    at: int


class _Layout(NamedTuple):
    """How many bits of the address a node skips, and how many select its branch."""

    skipped: int
    stride: int


class _Forest:
    """Prefixes in order, as numbers of 128 bits."""

    def __init__(self, prefixes: Sequence[Tree]) -> None:
        self.address = [it.high << 64 | it.low for it in prefixes]
        self.length = [it.length for it in prefixes]
        # The length of what encloses each prefix and the next one.
        self._neighbours = [self.enclosing(at, at + 2) for at in range(len(prefixes) - 1)]

    def enclosing(self, start: int, stop: int) -> int:
        """The length of the longest prefix that encloses prefixes start..stop."""
        differ = self.address[start] ^ self.address[stop - 1]
        return min(128 - differ.bit_length(), self.length[start])

    def lay_out(self, node: _Node, deep: bool) -> _Layout:
        """How a node reads the address. ``deep``: it has DEEP nodes above it."""
        skipped = self.enclosing(node.start, node.stop)
        stride = self._stride(node, skipped, deep)
        if skipped > node.verified and min(self.length[node.start : node.stop]) <= skipped + stride:
            wider = self._stride(node, node.verified, deep)
            if wider > skipped - node.verified:
                return _Layout(node.verified, wider)
            return _Layout(skipped, 0)
        return _Layout(skipped, stride)

    def _stride(self, node: _Node, skipped: int, deep: bool) -> int:
        count = node.stop - node.start
        if count == 1:
            return 0
        widest = (count * BRANCHES_PER_PREFIX).bit_length() - 1
        if deep:
            widest = max(widest, DEEP_STRIDE)
        widest = min(widest, (128 if skipped >= 64 else 64) - skipped, words.STRIDE_MAX)
        differ = [0] * (widest + 1)
        for length in self._neighbours[node.start : node.stop - 1]:
            if length - skipped < widest:
                differ[length - skipped + 1] += 1
        best, most, in_use = 0, 0, 1
        for stride in range(widest + 1):
            in_use += differ[stride]
            is_good = in_use >= OCCUPANCY * (1 << stride) or (deep and stride <= DEEP_STRIDE)
            if is_good and in_use > most:
                best, most = stride, in_use
        return best


def grow(
    prefixes: Sequence[Tree],
    outcome: Sequence[int],
    otherwise: Sequence[int],
    node_class: int,
    wide: bool,
    base: int,
    budget: Budget,
) -> FewBranches:
    """Create the tries of all trees; the arguments are as in build_branches()."""
    size = words.BRANCH6_WORDS if wide else words.BRANCH4_WORDS
    forest = _Forest(prefixes)
    roots = list(otherwise)
    nodes: list[_Node] = []
    start = 0
    while start < len(prefixes):
        tree, stop = prefixes[start].tree, start
        while stop < len(prefixes) and prefixes[stop].tree == tree:
            stop += 1
        _enter(_Node(start, stop, 0, otherwise[tree], roots, tree), forest, outcome, nodes)
        start = stop
    beside = list(roots)

    made: list[list[int]] = []  # as Row
    rounds = 0
    while nodes:
        first = base // size + len(made)
        layouts = [forest.lay_out(node, deep=rounds >= DEEP) for node in nodes]
        budget.check(size * (first + sum(1 << layout.stride for layout in layouts)))
        below: list[_Node] = []
        for node, layout in zip(nodes, layouts, strict=True):
            node.target[node.at] = _node_word(layout, node_class, wide, base // size + len(made))
            made += _filled(forest, outcome, node, layout, below)
        nodes = []
        for node in below:
            _enter(node, forest, outcome, nodes)
        rounds += 1

    budget.check_steps(rounds, words.STEPS6_MAX if wide else words.STEPS4_MAX)
    rows = [Row(*row) for row in made]
    # The words for a miss are behind the branches, each of them once.
    misses = sorted({row.miss for row in rows})
    position = {miss: at for at, miss in enumerate(misses, base + size * len(rows))}
    content: list[int] = []
    for high, low, length, match, miss in rows:
        if wide:
            content += words.branch6(high, low, length, match, position[miss])
        else:
            content += words.branch4(high, length, match, position[miss])
    content += misses
    content += [0] * words.padding(len(content))
    return FewBranches(roots, beside, content, rounds, wide, base // size, rows)


def _enter(node: _Node, forest: _Forest, outcome: Sequence[int], nodes: list[_Node]) -> None:
    """Add a node to ``nodes``, without the prefix that is its whole block.

    If it is empty then, the word that it always leads to takes its place.
    """
    if forest.length[node.start] == node.verified:
        node = node._replace(start=node.start + 1, otherwise=outcome[node.start])
    node.target[node.at] = node.otherwise
    if node.start < node.stop:
        nodes.append(node)


def _node_word(layout: _Layout, node_class: int, wide: bool, first: int) -> int:
    skipped, stride = layout
    half = 64 if skipped >= 64 else 0
    shift = half + (64 if wide else 32) - skipped - stride
    word = ((1 << stride) - 1) << words.MASK_SHIFT | (shift & 63) << words.SHIFT_SHIFT | first
    return word | (half >> 6) << words.LOW_SHIFT | node_class << words.CLASS_SHIFT


def _filled(
    forest: _Forest, outcome: Sequence[int], node: _Node, layout: _Layout, below: list[_Node]
) -> list[list[int]]:
    """The branches of a node. Adds the nodes below it to ``below``."""
    skipped, stride = layout
    reach = skipped + stride
    outside = 128 - reach
    mask = (1 << stride) - 1
    inherited = [node.otherwise] * (1 << stride)
    inner: list[tuple[int, int]] = []  # branch and prefix
    # A prefix comes before those inside it, so these overwrite what it gives.
    for prefix in range(node.start, node.stop):
        branch = forest.address[prefix] >> outside & mask
        length = forest.length[prefix]
        if stride and length <= reach:
            count = 1 << reach - length
            inherited[branch : branch + count] = [outcome[prefix]] * count
        else:
            inner.append((branch, prefix))

    made = []
    block = forest.address[node.start] >> 128 - skipped << stride
    for branch, word in enumerate(inherited):
        address = (block | branch) << outside
        made.append([address >> 64, address & _LOW_64, reach, word, node.otherwise])
    at = 0
    while at < len(inner):
        branch, start = inner[at]
        while at < len(inner) and inner[at][0] == branch:
            at += 1
        stop = inner[at - 1][1] + 1
        verified = forest.enclosing(start, stop)
        address = forest.address[start] >> 128 - verified << 128 - verified
        word = inherited[branch]
        made[branch] = [address >> 64, address & _LOW_64, verified, word, word]
        below.append(_Node(start, stop, verified, word, made[branch], 3))
    return made

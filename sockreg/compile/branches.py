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
from sockreg.compile.forest import Flags, Forest, Ints, Words, common_length, high_mask

# A node takes the widest stride at which this share of its branches is in use. Wider
# nodes save steps but take memory, and memory takes time: caches hold less of it.
OCCUPANCY = 0.2


@dataclass(frozen=True)
class Branches:
    roots: Words  # first word of each tree
    branches: Words  # shape (n, 4): key, match, miss, shift
    steps: dict[int, int]  # by field: nodes on the longest path


class _Nodes(NamedTuple):
    """Nodes to be made: prefixes ``start``..``stop`` of the forest, all inside one block.

    ``verified`` is the length of that block: the bits known to be right when a lookup
    gets here. Addresses of the block in none of the prefixes get the word ``otherwise``.
    ``depth`` counts the nodes above that read the same field. The node's own word is to
    be written at ``target``, a flat index into the branches of the round before.
    """

    start: Ints
    stop: Ints
    verified: Ints
    otherwise: Words
    depth: Ints
    target: Ints


class _Layout(NamedTuple):
    """How the nodes of a round look at their field and where their branches lie."""

    low: Flags  # reads the field's second half
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
    forest: Forest, outcome: Words, otherwise: Words, fields: tuple[int, int], base: int
) -> Branches:
    """Make the tries of all trees of a forest.

    ``outcome`` is the word for addresses whose longest prefix is the one at that
    position, ``otherwise`` the word of each tree for addresses in no prefix. ``fields``
    are those that hold the two halves of the address; ``base`` is the position, in
    branches, at which the result will lie in the table.
    """
    roots = otherwise.copy()
    ends = np.searchsorted(forest.tree, np.arange(len(roots) + 1))
    tree = np.flatnonzero(ends[1:] > ends[:-1])
    zero = np.zeros_like(tree)
    nodes = _Nodes(ends[tree], ends[tree + 1], zero, otherwise[tree], zero, tree)
    nodes = _enter(forest, outcome, nodes, roots)
    neighbours = common_length(forest, *_pairs(len(forest.tree)))

    target = roots
    rounds: list[Words] = [np.empty((0, words.BRANCH_WORDS), np.uint64)]
    steps = dict.fromkeys(fields, 0)
    while len(nodes.start):
        layout = _lay_out(forest, neighbours, nodes)
        target[nodes.target] = _node_words(layout, fields, base)
        for field, reads in zip(fields, (~layout.low, layout.low), strict=True):
            steps[field] = max(steps[field], int(nodes.depth[reads].max(initial=-1)) + 1)
        branches, nodes = _fill(forest, outcome, nodes, layout)
        rounds.append(branches)
        target = branches.reshape(-1)
        nodes = _enter(forest, outcome, nodes, target)
        base += layout.size
    return Branches(roots, np.concatenate(rounds), steps)


def _pairs(count: int) -> tuple[Ints, Ints]:
    first: Ints = np.arange(max(count - 1, 0), dtype=np.int64)
    return first, first + 1


def _enter(forest: Forest, outcome: Words, nodes: _Nodes, target: Words) -> _Nodes:
    """Take the prefix that is the node's whole block out of the node.

    Nodes that become empty are written as the word they always lead to.
    """
    whole = forest.length[nodes.start] == nodes.verified
    otherwise = np.where(whole, outcome[nodes.start], nodes.otherwise)
    start = nodes.start + whole
    target[nodes.target] = otherwise
    rest = start < nodes.stop
    nodes = nodes._replace(start=start, otherwise=otherwise)
    return _Nodes(*(part[rest] for part in nodes))


def _lay_out(forest: Forest, neighbours: Ints, nodes: _Nodes) -> _Layout:
    low = nodes.verified >= 64
    limit = np.where(low, 128, 64)
    skipped = np.minimum(_enclosing_length(forest, nodes.start, nodes.stop), limit)
    stride = _strides(neighbours, nodes, skipped, limit - skipped)
    ends = np.cumsum(1 << stride)
    return _Layout(low, skipped, stride, ends - (1 << stride), int(ends[-1]))


def _enclosing_length(forest: Forest, start: Ints, stop: Ints) -> Ints:
    """The length of the longest prefix that encloses prefixes start..stop."""
    return np.minimum(common_length(forest, start, stop - 1), forest.length[start])


def _strides(neighbours: Ints, nodes: _Nodes, skipped: Ints, room: Ints) -> Ints:
    """The widest stride of each node at which enough of its branches are in use.

    With a stride of b bits, as many branches are in use as there are neighbours that
    differ within these bits, and one more.
    """
    count = nodes.stop - nodes.start
    widest = np.minimum(np.frexp(count / OCCUPANCY)[1] - 1, room)
    widest = np.minimum(np.where(count > 1, widest, 0), words.STRIDE_MAX)
    columns = int(widest.max()) + 1
    node = np.repeat(np.arange(len(count)), count - 1)
    first = _ranges(nodes.start, count - 1)
    differ_at = neighbours[first] - skipped[node]
    near = differ_at < columns - 1
    counted = np.bincount(
        node[near] * columns + differ_at[near] + 1, minlength=len(count) * columns
    )
    in_use = 1 + np.cumsum(counted.reshape(-1, columns), axis=1)
    strides = np.arange(columns)
    good = (in_use >= OCCUPANCY * (1 << strides)) & (strides <= widest[:, None])
    return columns - 1 - np.argmax(good[:, ::-1], axis=1)


def _ranges(start: Ints, count: Ints) -> Ints:
    """start[0], start[0] + 1, ... (count[0] of them), start[1], ..."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(start - ends + count, count)


def _node_words(layout: _Layout, fields: tuple[int, int], base: int) -> Words:
    field = np.where(layout.low, fields[1], fields[0]).astype(np.uint64)
    mask = ((1 << layout.stride) - 1).astype(np.uint64)
    shift = (64 - _in_field(layout, layout.skipped + layout.stride)).astype(np.uint64)
    return (
        field << np.uint64(words.FIELD_SHIFT)
        | mask << np.uint64(words.MASK_SHIFT)
        | shift << np.uint64(words.SHIFT_SHIFT)
        | (base + layout.base).astype(np.uint64)
    )


def _in_field(layout: _Layout, length: Ints) -> Ints:
    """A length counted from the start of the half that each node reads."""
    return length - 64 * layout.low


def _fill(
    forest: Forest, outcome: Words, nodes: _Nodes, layout: _Layout
) -> tuple[Words, _Nodes]:
    """The branches of a round, and the nodes below them."""
    reach = layout.skipped + layout.stride
    members = _members(forest, nodes, layout)
    short = forest.length[members.prefix] <= reach[members.node]
    inherited = _inherited(forest, outcome, nodes, layout, _select(members, short))

    # Every branch first leads to what its block inherits from short prefixes. Where bits
    # were skipped unseen, that needs a comparison, unless it makes no difference.
    node: Ints = np.repeat(np.arange(len(nodes.start)), 1 << layout.stride)
    otherwise = nodes.otherwise[node]
    guarded = (layout.skipped > nodes.verified)[node] & (inherited != otherwise)
    branches = np.empty((layout.size, words.BRANCH_WORDS), np.uint64)
    key, match, miss, shift = branches.T
    key[:], match[:], shift[:] = 0, inherited, 63
    miss[:] = np.where(guarded, otherwise, inherited)
    length = _in_field(layout, reach)
    at = np.flatnonzero(guarded)
    skipped = _in_field(layout, layout.skipped)[node[at]]
    index = (at - layout.base[node[at]]).astype(np.uint64)
    key[at] = _field_value(forest, layout, node[at], nodes.start[node[at]]) & high_mask(skipped)
    key[at] |= index << (64 - length[node[at]]).astype(np.uint64)
    shift[at] = 64 - length[node[at]]

    # Longer prefixes are nodes below. Their branch compares all that they have in common.
    inner = _select(members, ~short)
    first = np.flatnonzero(np.diff(inner.branch, prepend=-1))
    last = np.append(first[1:], len(inner.branch)) - 1 if len(first) else first
    branch, above = inner.branch[first], inner.node[first]
    start, stop = inner.prefix[first], inner.prefix[last] + 1
    limit = np.where(layout.low, 128, 64)[above]
    common = np.minimum(_enclosing_length(forest, start, stop), limit)
    verified = np.where(guarded[branch], reach[above], common)
    compared = verified - 64 * layout.low[above]
    key[branch] = _field_value(forest, layout, above, start) & high_mask(compared)
    shift[branch] = 64 - compared
    crossing = (verified == 64) & ~layout.low[above]
    depth = np.where(crossing, 0, nodes.depth[above] + 1)
    target = branch * words.BRANCH_WORDS + 1
    return branches, _Nodes(start, stop, verified, inherited[branch], depth, target)


def _members(forest: Forest, nodes: _Nodes, layout: _Layout) -> _Members:
    count = nodes.stop - nodes.start
    node = np.repeat(np.arange(len(count)), count)
    prefix = _ranges(nodes.start, count)
    skipped = _in_field(layout, layout.skipped)[node].astype(np.uint64)
    unused = (64 - layout.stride)[node].astype(np.uint64)
    index = _field_value(forest, layout, node, prefix) << skipped >> unused
    return _Members(prefix, node, layout.base[node] + index.astype(np.int64))


def _select(members: _Members, which: Flags) -> _Members:
    return _Members(*(part[which] for part in members))


def _field_value(forest: Forest, layout: _Layout, node: Ints, prefix: Ints) -> Words:
    """The half of each prefix's address that its node reads."""
    return np.where(layout.low[node], forest.low[prefix], forest.high[prefix])


def _inherited(
    forest: Forest, outcome: Words, nodes: _Nodes, layout: _Layout, short: _Members
) -> Words:
    """The word of each branch's block as a whole: that of the longest short prefix.

    Prefixes are painted as changes of the word from one branch to the next, one where a
    prefix starts and one where it ends, and the gaps are filled from the left.
    """
    changed = np.zeros(layout.size, np.bool_)
    word = np.zeros(layout.size, np.uint64)
    changed[layout.base] = True
    word[layout.base] = nodes.otherwise

    # Of several prefixes that end at one branch, the outermost comes first in the forest
    # and decides; so it is written last.
    prefix, node, start = (part[::-1] for part in short)
    width = 1 << (layout.skipped + layout.stride)[node] - forest.length[prefix]
    stop = start + width
    outside = stop >= (layout.base + (1 << layout.stride))[node]
    prefix, node, stop = prefix[~outside], node[~outside], stop[~outside]
    parent = forest.parent[prefix]
    changed[stop] = True
    word[stop] = np.where(parent >= nodes.start[node], outcome[parent], nodes.otherwise[node])

    # Of several that start there, the innermost comes last.
    changed[short.branch] = True
    word[short.branch] = outcome[short.prefix]
    latest = np.maximum.accumulate(np.where(changed, np.arange(layout.size), 0))
    return word[latest]

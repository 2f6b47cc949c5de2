"""The top of a trie as a short list of prefixes, tried one after another.

A step through a node has to wait for the word that the step before has read. Comparisons with a
list at fixed places only wait for the packet, and the processor predicts them: eight take less time
than two steps. So small rule sets need no node at all, and prefixes that are far from the others do
not lengthen the path to these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sockreg.compile.words import (
    ADDRESS,
    BRANCH6_WORDS,
    CLASS_SHIFT,
    LOW_SHIFT,
    MASK_BITS,
    MASK_SHIFT,
    SHIFT_SHIFT,
    SHORTCUTS_MAX,
    branch6,
)

# Nodes with more branches are not looked into.
BRANCHES_MAX = 64


class Shortcut(NamedTuple):
    """Addresses in the prefix continue with ``word``, unless an earlier shortcut took them."""

    high: int
    low: int
    length: int
    word: int

    def encloses(self, other: Shortcut) -> bool:
        outside = 128 - self.length
        own, others = self.high << 64 | self.low, other.high << 64 | other.low
        return self.length <= other.length and own >> outside == others >> outside


class Head(NamedTuple):
    """How lookups in one tree start: with the first shortcut that matches, or with
    ``otherwise``.
    """

    shortcuts: list[Shortcut]
    otherwise: int


class Row(NamedTuple):
    """One branch: the prefix that it compares, and the words after a match and after a miss."""

    high: int
    low: int
    length: int
    match: int
    miss: int


class Tries(Protocol):
    """Tries of addresses as branch nodes. Nodes refer to their first branch by number."""

    @property
    def wide(self) -> bool: ...
    def root(self, tree: int) -> int:
        """First word of a tree."""

    def otherwise_of(self, tree: int) -> int:
        """The word for addresses in no prefix of a tree but /0."""

    def rows(self, first: int, count: int) -> Sequence[Row]:
        """Some branches."""


_EVERYTHING = Shortcut(0, 0, 0, 0)


def build_head(branches: Tries, tree: int) -> Head:
    """Replace nodes of a tree by their branches, from the root on, while the list is short."""
    root, otherwise = branches.root(tree), branches.otherwise_of(tree)
    shortcuts = [_EVERYTHING._replace(word=root)]
    at = 0
    while at < len(shortcuts):
        here, after = shortcuts[at], shortcuts[at + 1 :]
        outer = next((s.word for s in after if s.encloses(here)), otherwise)
        longer = shortcuts[:at] + _expanded(branches, here, outer) + after
        if len(longer) <= SHORTCUTS_MAX:
            # The next one is now the node's first branch, or itself if it was no node.
            at += shortcuts == longer
            shortcuts = longer
        else:
            at += 1
    if len(shortcuts) == 1 and shortcuts[0].length == 0:
        return Head([], root)
    return Head(shortcuts, otherwise)


def _expanded(branches: Tries, node: Shortcut, outer: int) -> list[Shortcut]:
    """The branches of the node that a shortcut leads to; ``outer`` is what comes after it."""
    count = (node.word >> MASK_SHIFT & MASK_BITS) + 1
    if node.word >> CLASS_SHIFT != ADDRESS or count > BRANCHES_MAX:
        return [node]
    rows = branches.rows(node.word & 0xFFFFFFFF, count)
    reach = _reach(node.word, branches.wide)
    # A branch that compares its whole block cannot be missed by what is in the node's prefix.
    whole = [count > 1 and row.length == reach for row in rows]
    rest = [row.match if is_whole else row.miss for row, is_whole in zip(rows, whole, strict=True)]
    # Most branches miss to the same word. Near the root, that word comes next anyway.
    usual = max(sorted(set(rest)), key=rest.count) if node.length else outer
    inside: list[Shortcut] = []
    blocks: list[Shortcut] = []
    for row, is_whole in zip(rows, whole, strict=True):
        if row.match != usual or (row.miss != usual and not is_whole):
            inside.append(Shortcut(row.high, row.low, row.length, row.match))
        if row.miss != usual and not is_whole and count > 1:
            blocks.append(_block(row, reach))
    around = [node._replace(word=usual)] if usual != outer else []
    return inside + blocks + around


def _reach(node: int, wide: bool) -> int:
    """How many bits of the address are known in a branch of a node that has several."""
    shift = node >> SHIFT_SHIFT & 63
    if not wide:
        return 32 - shift
    return (128 if node >> LOW_SHIFT & 1 else 64) - shift


def _block(row: Row, length: int) -> Shortcut:
    """All addresses that reach a branch, to continue with its word after a miss."""
    address = (row.high << 64 | row.low) >> 128 - length << 128 - length
    return Shortcut(address >> 64, address & (1 << 64) - 1, length, row.miss)


def encode_heads(heads: list[Head]) -> list[int]:
    """struct head of each, as words."""
    words: list[int] = []
    for head in heads:
        words += [head.otherwise, *([0] * (BRANCH6_WORDS - 1))]
        for high, low, length, word in head.shortcuts:
            words += branch6(high, low, length, word, 0)
        words += [0] * (BRANCH6_WORDS * (SHORTCUTS_MAX - len(head.shortcuts)))
    return words

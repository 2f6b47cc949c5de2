"""Rules with an interface or a source: cells and their second stage.

A cell is what remains to be decided once address and port are known: conditional rules in order of
precedence, then an outcome without condition. Each cell is stored once and has a number. Cell
numbers start at CELLS, so they are never those of destinations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sockreg.compile.words import INTERFACE, SOURCE, always
from sockreg.errors import ConfigError

CELLS = 1 << 16

# Conditional rules of all cells together. A rule can be in the cells of many longer prefixes.
# This bounds the time and memory for rule sets that multiply rules on purpose.
CONDITIONS_MAX = 2_000_000


class Condition(NamedTuple):
    """``interface`` is an index or 0 for any; the source prefix is left-aligned."""

    wide: bool  # IPv6
    interface: int
    high: int
    low: int
    length: int  # 0: any source


Conditional = tuple[tuple[Condition, int], ...]


class Cells:
    """All cells of a rule set."""

    def __init__(self) -> None:
        self.cells: list[tuple[Conditional, int]] = []
        self._numbers: dict[tuple[Conditional, int], int] = {}
        self._conditions = 0

    def number(self, conditional: Conditional, otherwise: int) -> int:
        """The cell that tries the conditional rules in turn, then ``otherwise``.

        ``otherwise`` may be a cell itself.
        """
        if otherwise >= CELLS:
            more, otherwise = self.cells[otherwise - CELLS]
            conditional += more
        cell = (conditional, otherwise)
        number = self._numbers.setdefault(cell, len(self.cells))
        if number == len(self.cells):
            self.cells.append(cell)
            self._conditions += len(conditional)
            if self._conditions > CONDITIONS_MAX:
                raise ConfigError(
                    "the rule set is too big: its rules with 'from' or 'dev' overlap in more "
                    f"than {CONDITIONS_MAX} combinations of prefix and port",
                    "let fewer rules with 'from' or 'dev' cover the same prefixes and ports",
                )
        return CELLS + number


class Tree(NamedTuple):
    """A prefix of one of several tries, aligned to the left of 128 bits; its order is theirs."""

    tree: int
    high: int
    low: int
    length: int


class Grown(NamedTuple):
    """Tries as words: the first one of each tree, and the nodes on the longest path."""

    roots: Sequence[int]
    words: Sequence[int]
    steps: int


# (prefixes in order, the word of each, the word of each tree for addresses in none of its prefixes,
# class of the nodes, whether branches are wide, first word) -> tries
Grow = Callable[[Sequence[Tree], Sequence[int], Sequence[int], int, bool, int], Grown]


class SecondStage(NamedTuple):
    """The first word of every cell, and the parts of the table with the branches behind them."""

    first_words: Sequence[int]
    parts: list[Sequence[int]]
    steps: dict[int, int]


def build_second_stage(cells: Cells, base: int, grow: Grow) -> SecondStage:
    """Branches for all cells, from word ``base`` on: interfaces first, then sources.

    Every cell has one tree of sources for each interface that its rules name, and one for all other
    interfaces.
    """
    sources = {wide: _SourceTrees(wide) for wide in (False, True)}
    named: list[tuple[int, int]] = []  # cell and interface ...
    for_named: list[tuple[bool, int]] = []  # ... and their source tree
    for_others: list[tuple[bool, int]] = []  # source tree of each cell for other interfaces
    for number, (conditional, otherwise) in enumerate(cells.cells):
        wide = conditional[0][0].wide
        for interface in sorted({condition.interface for condition, _ in conditional} - {0}):
            named.append((number, interface))
            for_named.append((wide, sources[wide].add(conditional, otherwise, interface)))
        for_others.append((wide, sources[wide].add(conditional, otherwise, 0)))

    parts: list[Sequence[int]] = []
    steps = {SOURCE: 0, INTERFACE: 0}
    roots: dict[bool, Sequence[int]] = {}
    for wide, trees in sources.items():
        tries = trees.build(base, grow)
        parts.append(tries.words)
        base += len(tries.words)
        roots[wide] = tries.roots
        steps[SOURCE] = max(steps[SOURCE], tries.steps)

    tries = grow(
        [Tree(cell, interface << 32, 0, 32) for cell, interface in named],
        [roots[wide][tree] for wide, tree in for_named],
        [roots[wide][tree] for wide, tree in for_others],
        INTERFACE,
        False,
        base,
    )
    steps[INTERFACE] = tries.steps
    return SecondStage(tries.roots, [*parts, tries.words], steps)


class _SourceTrees:
    """The source prefixes of all cells of a family, each with the best rule that it satisfies."""

    def __init__(self, wide: bool) -> None:
        self._wide = wide
        self._prefixes: list[Tree] = []
        self._best: list[int] = []  # outcome of each
        self._otherwise: list[int] = []

    def add(self, conditional: Conditional, otherwise: int, interface: int) -> int:
        """Add the tree of one cell for packets from one interface (0: any other)."""
        best: dict[tuple[int, int, int], int] = {}
        for condition, outcome in conditional:
            if condition.interface not in (0, interface):
                continue
            if condition.length == 0:
                otherwise = outcome
                break
            best.setdefault((condition.high, condition.low, condition.length), outcome)
        tree = len(self._otherwise)
        self._otherwise.append(otherwise)
        ranks = {prefix: rank for rank, prefix in enumerate(best)}
        outcomes = list(best.values())
        enclosing: list[tuple[int, int, int, int]] = []  # prefix, best rank
        for high, low, length in sorted(best):
            while enclosing and not _encloses(enclosing[-1], high, low):
                enclosing.pop()
            rank = ranks[high, low, length]
            if enclosing:
                rank = min(rank, enclosing[-1][3])
            enclosing.append((high, low, length, rank))
            self._prefixes.append(Tree(tree, high, low, length))
            self._best.append(outcomes[rank])
        return tree

    def build(self, base: int, grow: Grow) -> Grown:
        best, otherwise = map(always, self._best), map(always, self._otherwise)
        return grow(self._prefixes, list(best), list(otherwise), SOURCE, self._wide, base)


def _encloses(prefix: tuple[int, int, int, int], high: int, low: int) -> bool:
    outside = 128 - prefix[2]
    return (prefix[0] << 64 | prefix[1]) >> outside == (high << 64 | low) >> outside

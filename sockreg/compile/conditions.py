"""Rules that also look at the interface or the source: cells and their second stage.

A cell is what remains to be decided once address and port are known: conditional rules
in order of precedence, then an outcome without condition. Cells are kept once each and
known by their number, which starts at CELLS so that it is never a destination.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sockreg.compile import words
from sockreg.compile.branches import Branches, build_branches
from sockreg.compile.forest import Ints, Words, build_forest
from sockreg.compile.words import always
from sockreg.errors import EXIT_CONFIG, SockregError

CELLS = 1 << 16

# Conditional rules of all cells together. Every rule can be in the cells of many longer
# prefixes; this bounds the time and memory of rule sets that multiply it on purpose.
CONDITIONS_MAX = 2_000_000


class Condition(NamedTuple):
    """``interface`` is an index or 0 for any; the source prefix is left-aligned."""

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
                raise SockregError(
                    "the rule set is too big: its rules with 'from' or 'dev' overlap in more "
                    f"than {CONDITIONS_MAX} combinations of prefix and port",
                    "let fewer rules with 'from' or 'dev' cover the same prefixes and ports",
                    EXIT_CONFIG,
                )
        return CELLS + number


class SecondStage(NamedTuple):
    """The first word of every cell, the branches behind them, and their depth."""

    first_words: list[int]
    branches: Words
    steps: dict[int, int]


def build_second_stage(cells: Cells, base: int) -> SecondStage:
    """Branch nodes for all cells: over interfaces first, then over sources.

    Every cell has one tree of sources for each interface that its rules name, and one
    for all others.
    """
    if not cells.cells:
        return SecondStage([], np.empty((0, words.BRANCH_WORDS), np.uint64), {})
    sources = _SourceTrees()
    interfaces: list[tuple[int, int, int]] = []  # cell, interface, source tree
    others: list[int] = []  # source tree of each cell for interfaces that it does not name
    for number, (conditional, otherwise) in enumerate(cells.cells):
        named = sorted({condition.interface for condition, _ in conditional} - {0})
        for interface in named:
            interfaces.append((number, interface, sources.add(conditional, otherwise, interface)))
        others.append(sources.add(conditional, otherwise, 0))
    by_source = sources.build(base)
    base += len(by_source.branches)

    columns = np.array(interfaces, np.int64).reshape(-1, 3)
    cell, interface, tree = columns.T
    index = interface.astype(np.uint64) << np.uint64(32)
    forest = build_forest(cell, index, np.zeros_like(index), np.full_like(cell, 32))
    by_interface = build_branches(
        forest,
        by_source.roots[tree],
        by_source.roots[np.array(others)],
        (words.INTERFACE, words.INTERFACE),
        base,
    )
    return SecondStage(
        by_interface.roots.tolist(),
        np.concatenate((by_source.branches, by_interface.branches)),
        by_source.steps | by_interface.steps,
    )


class _SourceTrees:
    """The source prefixes of all cells: for each the best rule that it satisfies."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int, int]] = []  # tree, prefix, best outcome
        self._otherwise: list[int] = []

    def add(self, conditional: Conditional, otherwise: int, interface: int) -> int:
        """Add the tree of one cell for packets from one interface (0: any other)."""
        tree = len(self._otherwise)
        best: dict[tuple[int, int, int], int] = {}
        for condition, outcome in conditional:
            if condition.interface not in (0, interface):
                continue
            if condition.length == 0:
                otherwise = outcome
                break
            best.setdefault(condition[1:], outcome)
        self._otherwise.append(otherwise)
        ranks = {prefix: rank for rank, prefix in enumerate(best)}
        outcomes = list(best.values())
        enclosing: list[tuple[int, int, int, int]] = []  # high, low, length, best rank
        for high, low, length in sorted(best):
            while enclosing and not _encloses(enclosing[-1], high, low):
                enclosing.pop()
            rank = ranks[high, low, length]
            if enclosing:
                rank = min(rank, enclosing[-1][3])
            enclosing.append((high, low, length, rank))
            self._rows.append((tree, high, low, length, outcomes[rank]))
        return tree

    def build(self, base: int) -> Branches:
        tree, high, low, length, outcome = zip(*self._rows, strict=True) if self._rows else [()] * 5
        forest = build_forest(
            np.array(tree, np.int64),
            np.array(high, np.uint64),
            np.array(low, np.uint64),
            np.array(length, np.int64),
        )
        return build_branches(
            forest,
            _leaves(outcome),
            _leaves(self._otherwise),
            (words.SOURCE_HIGH, words.SOURCE_LOW),
            base,
        )


def _encloses(prefix: tuple[int, int, int, int], high: int, low: int) -> bool:
    outside = 128 - prefix[2]
    return (prefix[0] << 64 | prefix[1]) >> outside == (high << 64 | low) >> outside


def _leaves(outcomes: tuple[int, ...] | list[int]) -> Words:
    return np.array([always(outcome) for outcome in outcomes], np.uint64)

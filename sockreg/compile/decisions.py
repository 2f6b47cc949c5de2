"""What every prefix does with each port, inheritance included.

Most prefixes have one rule and inherit nothing or a rule for any port: their decision is
a leaf, and all of them are made by array operations. The others go through
``sockreg.compile.ports`` one by one.
"""

from __future__ import annotations

import numpy as np

from sockreg.compile.forest import Forest, Ints
from sockreg.compile.ports import (
    PORTS,
    OwnStep,
    PortFunctions,
    PortRule,
    Steps,
    leaf_of,
    own_steps,
    steps_of,
)
from sockreg.compile.rows import Rows


def decide(rows: Rows, first_row: Ints, forest: Forest, functions: PortFunctions) -> Ints:
    """The decision of each prefix: a leaf, or -1 - n for the port function number n.

    The rules of prefix p are the rows from ``first_row[p]`` to before ``first_row[p + 1]``.
    """
    count = np.diff(first_row)
    row = first_row[:-1]
    first, width = rows.first[row], rows.last[row] - rows.first[row]
    outcome = rows.outcome[row]
    simple = (count == 1) & (rows.condition[row] < 0)
    everywhere = width == PORTS - 1
    own = outcome << 32 | first << 16 | width
    own[everywhere & (outcome == 0)] = 0

    slow = _Slow(rows, first_row, functions)
    decision = np.zeros(len(forest.tree), np.int64)
    # A prefix is longer than the one that encloses it, so this order finds that one done.
    order = np.argsort(forest.length, kind="stable")
    lengths = forest.length[order]
    for prefixes in np.split(order, np.flatnonzero(np.diff(lengths)) + 1):
        parent = forest.parent[prefixes]
        inherited = np.where(parent >= 0, decision[parent], 0)
        constant = (inherited >= 0) & (inherited & 0xFFFFFFFF == 0xFFFF) | (inherited == 0)
        destination = inherited >> 32 & 0x7FFF
        same = constant & (destination == outcome[prefixes])
        leaves = np.where(everywhere[prefixes], own[prefixes], own[prefixes] | destination << 48)
        leaves = np.where(same, inherited, leaves)
        easy = simple[prefixes] & (everywhere[prefixes] | constant)
        decision[prefixes] = leaves
        for prefix, above in zip(prefixes[~easy].tolist(), inherited[~easy].tolist(), strict=True):
            decision[prefix] = slow.decide(prefix, above)
    return decision


class _Slow:
    """Decisions one by one, each different problem once."""

    def __init__(self, rows: Rows, first_row: Ints, functions: PortFunctions) -> None:
        self._rows = rows
        self._first_row = first_row
        self._functions = functions
        self._own: dict[tuple[PortRule, ...], list[OwnStep]] = {}
        self._decided: dict[tuple[tuple[PortRule, ...], int], int] = {}

    def decide(self, prefix: int, inherited: int) -> int:
        rules = self._rules(prefix)
        decision = self._decided.get((rules, inherited))
        if decision is None:
            decision = self._combine(rules, inherited)
            self._decided[rules, inherited] = decision
        return decision

    def _rules(self, prefix: int) -> tuple[PortRule, ...]:
        start, stop = self._first_row[prefix : prefix + 2].tolist()
        return tuple(sorted(self._rows.port_rule(row) for row in range(start, stop)))

    def _combine(self, rules: tuple[PortRule, ...], inherited: int) -> int:
        own = self._own.get(rules)
        if own is None:
            own = self._own[rules] = own_steps(rules)
        steps = self._functions.combine(own, self._steps(inherited))
        word = leaf_of(steps)
        return -1 - self._functions.number(steps) if word is None else word

    def _steps(self, decision: int) -> Steps:
        return steps_of(decision) if decision >= 0 else self._functions.functions[-1 - decision]

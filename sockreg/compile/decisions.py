"""What every prefix does with each port, including what it inherits.

Most prefixes have a single rule. If the rule is for any port, or if the prefix inherits the same
for all ports, both together are a leaf. Otherwise they become a pair: the rule, and what the prefix
inherits. Array operations create both. Only prefixes with more rules, with conditions, or at the
end of a chain of pairs are handled one by one and become port functions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sockreg.compile.arrays import Ints
from sockreg.compile.conditions import Cells
from sockreg.compile.forest import Forest
from sockreg.compile.functions import PAIRS_MAX, Functions
from sockreg.compile.ports import COPY_MAX, PORTS, PortRule, Steps
from sockreg.compile.rows import Rows
from sockreg.compile.words import INSIDE_SHIFT, OUTSIDE_SHIFT, STEPS_PORT_MAX


class Decisions(NamedTuple):
    """A decision for each prefix: a leaf, or -1 - n for

    - the pair of prefix n, if n is a prefix: its rule, a leaf with nothing outside, is
      ``own[n]``, and it inherits the decision of its parent;
    - else the port function n - prefixes.
    """

    decision: Ints
    own: Ints
    functions: list[Steps]
    nodes: Ints  # of each decision: as many port nodes on a path at most

    def pairs(self) -> Ints:
        """The prefixes that are pairs."""
        prefixes = np.arange(len(self.decision))
        return np.flatnonzero(self.decision == -1 - prefixes)


def decide(rows: Rows, first_row: Ints, forest: Forest, cells: Cells) -> Decisions:
    """The decisions of all prefixes of a forest.

    The rules of prefix p are the rows from ``first_row[p]`` to before ``first_row[p + 1]``.
    """
    row = first_row[:-1]
    first, width = rows.first[row], rows.last[row] - rows.first[row]
    outcome = rows.outcome[row]
    single = (np.diff(first_row) == 1) & (rows.condition[row] < 0)
    everywhere = width == PORTS - 1
    own = np.where(everywhere & (outcome == 0), 0, outcome << INSIDE_SHIFT | first << 16 | width)

    count = len(row)
    decision = np.zeros(count, np.int64)
    # For each decision: pairs in a row, steps of its port function, nodes on its longest path.
    pairs, size, nodes = np.zeros((3, count), np.int64)

    def rules_of(prefix: int) -> list[PortRule]:
        start, stop = first_row[prefix : prefix + 2].tolist()
        return [rows.port_rule(row) for row in range(start, stop)]

    rest = Functions(rules_of, forest.parent, cells, decision, own, nodes, size)
    # A prefix is longer than the prefix that encloses it, so this order handles the latter first.
    order = np.argsort(forest.length, kind="stable")
    lengths = forest.length[order]
    for here in np.split(order, np.flatnonzero(np.diff(lengths)) + 1):
        parent = forest.parent[here]
        inherited = np.where(parent >= 0, decision[parent], 0)
        constant = (inherited == 0) | ((inherited > 0) & (inherited & 0xFFFFFFFF == PORTS - 1))
        outside = np.where(constant, inherited >> INSIDE_SHIFT, 0)
        # Without a parent, the inherited decision is constant; so every pair has one.
        is_leaf = single[here] & (everywhere[here] | constant)
        is_pair = (pairs[parent] < PAIRS_MAX) | (size[parent] > COPY_MAX)
        is_pair &= single[here] & ~is_leaf & (nodes[parent] < STEPS_PORT_MAX)

        leaves = np.where(everywhere[here], own[here], own[here] | outside << OUTSIDE_SHIFT)
        leaves = np.where(constant & (outside == outcome[here]), inherited, leaves)
        decision[here] = np.where(is_pair, -1 - here, leaves)
        pairs[here] = np.where(is_pair, pairs[parent] + 1, 0)
        nodes[here] = np.where(is_pair, nodes[parent] + 1, 0)
        size[here] = np.where(is_pair, size[parent] + 2, 3)
        for prefix in here[~(is_leaf | is_pair)].tolist():
            rest.decide(prefix)
    return Decisions(decision, own, rest.functions, nodes)

"""What every prefix does with each port, including what it inherits.

Most prefixes have a single rule. If the rule is for any port, or if the prefix inherits the same
for all ports, both together are a leaf. Otherwise they become a pair: the rule, and what the prefix
inherits. Array operations create both. Only prefixes with more rules, with conditions, or at the
end of a chain of pairs are handled one by one and become port functions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sockreg.compile.conditions import Cells
from sockreg.compile.forest import Forest
from sockreg.compile.ports import (
    COPY_MAX,
    PORTS,
    OwnStep,
    PortRule,
    Step,
    Steps,
    combine,
    leaf_of,
    own_steps,
    section,
    steps_of,
)
from sockreg.compile.rows import Rows
from sockreg.compile.words import INSIDE_SHIFT, OUTSIDE_SHIFT, STEPS_PORT_MAX, Ints
from sockreg.errors import ConfigError

# A lookup walks a chain of pairs one by one, so longer chains become port functions, unless
# these had to be copies of a big one. A function itself takes at most FUNCTION_NODES; see
# ``sockreg.compile.portnodes``.
PAIRS_MAX = 4
FUNCTION_NODES = 7

# Steps of all port functions together. A million rules on a few prefixes take two million.
# This bounds the time and memory for rule sets that multiply ports by nesting.
STEPS_MAX = 8_000_000


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
    rest = _Rest(rows, first_row, forest, cells, Decisions(decision, own, [], nodes), size)
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
    return rest.decisions


class _Rest:
    """Decisions one by one; each distinct problem is solved once."""

    def __init__(
        self,
        rows: Rows,
        first_row: Ints,
        forest: Forest,
        cells: Cells,
        decisions: Decisions,
        size: Ints,
    ) -> None:
        self.decisions = decisions
        self._rows = rows
        self._first_row = first_row
        self._forest = forest
        self._cells = cells
        self._size = size
        self._own: dict[tuple[PortRule, ...], list[OwnStep]] = {}
        self._numbers: dict[Steps, int] = {}
        self._steps = 0

    def decide(self, prefix: int) -> None:
        """Set the decision of a prefix whose parent has one."""
        start, stop = self._first_row[prefix : prefix + 2].tolist()
        rules = tuple(sorted(self._rows.port_rule(row) for row in range(start, stop)))
        own = self._own.get(rules)
        if own is None:
            own = self._own[rules] = own_steps(rules)
        parent = int(self._forest.parent[prefix])
        inherited: Steps = ((0, 0),)
        nodes, size = 0, 0
        if parent >= 0:
            decision = int(self.decisions.decision[parent])
            nodes, size = int(self.decisions.nodes[parent]), int(self._size[parent])
            # Long decisions are not copied, unless there are as many rules or the path gets too
            # long.
            refer = size > max(COPY_MAX, len(own)) and nodes + FUNCTION_NODES <= STEPS_PORT_MAX
            if refer and decision < 0:
                inherited = ((0, decision),)
            else:
                inherited, nodes, size = self.resolve(decision), 0, 0
        steps = combine(own, inherited, self._cells, self.resolve)
        word = leaf_of(steps)
        if word is None:
            self.decisions.decision[prefix] = self._number(steps)
            self.decisions.nodes[prefix] = nodes + FUNCTION_NODES
        else:
            self.decisions.decision[prefix] = word
        self._size[prefix] = size + len(steps)

    def _number(self, steps: Steps) -> int:
        functions = self.decisions.functions
        number = self._numbers.setdefault(steps, len(functions))
        if number == len(functions):
            functions.append(steps)
            self._steps += len(steps)
            if self._steps > STEPS_MAX:
                raise ConfigError(
                    "the rule set is too big: prefixes with many ports nest so that these take "
                    f"more than {STEPS_MAX} entries",
                    "use fewer ports in prefixes that are inside each other",
                )
        return -1 - len(self.decisions.decision) - number

    def resolve(self, decision: int) -> Steps:
        """The steps of a decision, without references to other decisions."""
        if decision >= 0:
            return steps_of(decision)
        number = -1 - decision
        prefixes = len(self.decisions.decision)
        if number >= prefixes:
            steps = self.decisions.functions[number - prefixes]
            pieces: list[Step] = []
            ends = [port for port, _ in steps[1:]] + [PORTS]
            for (port, outcome), end in zip(steps, ends, strict=True):
                if outcome < 0:
                    pieces += section(self.resolve(outcome), port, end)
                else:
                    pieces.append((port, outcome))
            return tuple(pieces)
        own = int(self.decisions.own[number])
        first, last, outcome = (
            own >> 16 & 0xFFFF,
            (own >> 16 & 0xFFFF) + (own & 0xFFFF),
            own >> INSIDE_SHIFT,
        )
        below = self.resolve(int(self.decisions.decision[self._forest.parent[number]]))
        before = section(below, 0, first) if first > 0 else []
        after = section(below, last + 1, PORTS) if last + 1 < PORTS else []
        return (*before, (first, outcome), *after)

"""Rule set -> the table and configuration of a generation. Pure.

``docs/dataplane.md`` explains the tables; ``bpf/tables.h`` has their bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sockreg.compile.branches import build_branches
from sockreg.compile.budget import TABLE_MAX, Budget
from sockreg.compile.conditions import Cells, build_second_stage
from sockreg.compile.decisions import decide
from sockreg.compile.forest import build_forest, part_of
from sockreg.compile.portnodes import build_port_words, choose_elsewhere
from sockreg.compile.rows import Rows, build_rows
from sockreg.compile.shortcuts import Head, build_head, encode_heads
from sockreg.compile.words import (
    ADDRESS,
    DESTINATION_SLOT_BITS,
    ELSEWHERE,
    PORT,
    Ints,
    Words,
    pack_config,
    padded,
)
from sockreg.model import Binding, Destination


@dataclass(frozen=True)
class Tables:
    """One compiled rule set."""

    words: Words
    config: bytes  # struct config
    slots: int  # one more than the highest that a rule points to
    rules: int
    prefixes: int  # different sets of ports that need more than a leaf
    port_tables: int  # different sets of ports that take more than a leaf
    steps: dict[int, int]  # by class of node: the most on any path

    def table_bytes(self) -> memoryview:
        """The content of the table map, in the machine's byte order."""
        return self.words.data.cast("B")


def compile_rules(
    bindings: Sequence[Binding],
    slot_of: Callable[[Destination], int] | Mapping[Destination, int],
    *,
    counters: bool = True,
    interfaces: Mapping[str, int] | None = None,
    limit_bytes: int | None = None,
    flows: bool = False,
) -> Tables:
    """Compile a rule set without ties.

    ``slot_of`` gives the slot of each destination, and ``interfaces`` the index of each interface
    by name. ``flows`` is whether there may be sticky pools. The order of the bindings makes no
    difference. Raises SockregError for an unknown interface or a table of more than
    ``limit_bytes``.
    """
    find_slot = slot_of.__getitem__ if isinstance(slot_of, Mapping) else slot_of
    rows = build_rows(bindings, find_slot, interfaces or {})
    first_row = _first_rows(rows)
    row = first_row[:-1]
    forest = build_forest(rows.group[row], rows.high[row], rows.low[row], rows.length[row])

    budget = Budget(len(bindings), min(limit_bytes or TABLE_MAX, TABLE_MAX))
    cells = Cells()
    decisions = decide(rows, first_row, forest, cells)

    # The table: heads, words that pairs refer to, second stage, port nodes, tries of addresses.
    # Nodes refer to earlier words.
    heads: list[Head] = []
    elsewhere = choose_elsewhere(decisions, forest)
    parts = [np.zeros(ELSEWHERE, np.uint64), padded(np.zeros(len(elsewhere), np.uint64))]
    second = build_second_stage(cells, sum(map(len, parts)), budget)
    parts.append(second.words)
    base = sum(map(len, parts))
    ports = build_port_words(decisions, forest, elsewhere, second.first_words, base, budget)
    parts[1] = padded(ports.elsewhere)
    parts.append(ports.words)

    steps_by_class = {PORT: int(decisions.nodes.max(initial=0)), ADDRESS: 0, **second.steps}
    for wide in (False, True):
        run, family = part_of(forest, first_tree=2 * wide, trees=2)
        base = sum(map(len, parts))
        none = np.zeros(2, np.uint64)
        tries = build_branches(family, ports.outcome[run], none, ADDRESS, wide, base, budget)
        parts.append(tries.words)
        heads += [build_head(tries, tree) for tree in range(2)]
        steps_by_class[ADDRESS] = max(steps_by_class[ADDRESS], tries.steps)
    parts[0] = encode_heads(heads)
    words = np.concatenate(parts)
    budget.check(len(words))
    return Tables(
        words,
        pack_config(len(words), steps_by_class, counters, [len(h.shortcuts) for h in heads], flows),
        1 + int((rows.outcome & DESTINATION_SLOT_BITS).max(initial=0)),
        len(bindings),
        len(forest.tree),
        len(decisions.functions),
        steps_by_class,
    )


def _first_rows(rows: Rows) -> Ints:
    """The first row of each different prefix, and the number of rows."""
    differs = np.ones(len(rows.group) + 1, np.bool_)
    differs[1:-1] = (
        (np.diff(rows.group) != 0)
        | (np.diff(rows.high) != 0)
        | (np.diff(rows.low) != 0)
        | (np.diff(rows.length) != 0)
    )
    return np.flatnonzero(differs)

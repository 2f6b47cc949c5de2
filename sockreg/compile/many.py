"""The table of many rules: array operations over all rules at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from sockreg.compile.arrays import Ints, padded
from sockreg.compile.branches import build_branches
from sockreg.compile.budget import Budget
from sockreg.compile.conditions import Cells, Grown, Tree, build_second_stage
from sockreg.compile.decisions import decide
from sockreg.compile.forest import build_forest, part_of
from sockreg.compile.portnodes import build_port_words, choose_elsewhere
from sockreg.compile.rows import Rows, build_rows
from sockreg.compile.shortcuts import Head, build_head, encode_heads
from sockreg.compile.tables import Tables
from sockreg.compile.words import ADDRESS, DESTINATION_SLOT_BITS, ELSEWHERE, PORT, pack_config
from sockreg.model import Binding, Destination


def compile_many(
    bindings: Sequence[Binding],
    slot_of: Callable[[Destination], int],
    interfaces: Mapping[str, int],
    budget: Budget,
    *,
    counters: bool,
    flows: bool,
) -> Tables:
    """What compile_rules() does."""
    rows = build_rows(bindings, slot_of, interfaces)
    first_row = _first_rows(rows)
    row = first_row[:-1]
    forest = build_forest(rows.group[row], rows.high[row], rows.low[row], rows.length[row])

    cells = Cells()
    decisions = decide(rows, first_row, forest, cells)

    # The table: heads, words that pairs refer to, second stage, port nodes, tries of addresses.
    # Nodes refer to earlier words.
    heads: list[Head] = []
    elsewhere = choose_elsewhere(decisions, forest)
    parts = [np.zeros(ELSEWHERE, np.uint64), padded(np.zeros(len(elsewhere), np.uint64))]
    second = build_second_stage(cells, sum(map(len, parts)), partial(_grow, budget))
    parts += [np.asarray(words, np.uint64) for words in second.parts]
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
    parts[0] = np.array(encode_heads(heads), np.uint64)
    words = np.concatenate(parts)
    budget.check(len(words))
    return Tables(
        memoryview(words).cast("B").cast("Q"),
        pack_config(len(words), steps_by_class, counters, [len(h.shortcuts) for h in heads], flows),
        1 + int((rows.outcome & DESTINATION_SLOT_BITS).max(initial=0)),
        len(bindings),
        len(forest.tree),
        len(decisions.functions),
        steps_by_class,
    )


def _grow(
    budget: Budget,
    prefixes: Sequence[Tree],
    outcome: Sequence[int],
    otherwise: Sequence[int],
    node_class: int,
    wide: bool,
    base: int,
) -> Grown:
    """build_branches() for ``sockreg.compile.conditions``."""
    tree, high, low, length = zip(*prefixes, strict=True) if prefixes else [()] * 4
    forest = build_forest(
        np.array(tree, np.int64),
        np.array(high, np.uint64),
        np.array(low, np.uint64),
        np.array(length, np.int64),
    )
    of_trees = np.array(otherwise, np.uint64)
    words = np.array(outcome, np.uint64)
    tries = build_branches(forest, words, of_trees, node_class, wide, base, budget)
    return Grown(tries.roots.tolist(), tries.words, tries.steps)  # type: ignore[arg-type]


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

"""The table of few rules, one by one: the same as ``sockreg.compile.many``, without numpy.

numpy takes longer to import than few rules take to compile. Tests compare the bytes of both.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from sockreg.compile.budget import Budget
from sockreg.compile.conditions import Cells, Grown, Tree, build_second_stage
from sockreg.compile.fewbranches import grow
from sockreg.compile.functions import PAIRS_MAX, Functions
from sockreg.compile.outcomes import conditions_of, outcomes_of
from sockreg.compile.ports import COPY_MAX, PORTS, PortRule
from sockreg.compile.porttries import Tries
from sockreg.compile.shortcuts import Head, build_head, encode_heads
from sockreg.compile.tables import Tables
from sockreg.compile.words import (
    ADDRESS,
    DESTINATION_SLOT_BITS,
    ELSEWHERE,
    ELSEWHERE_MAX,
    INSIDE_SHIFT,
    OUTSIDE_SHIFT,
    PORT,
    STEPS_PORT_MAX,
    WIDE_PAIR_WORDS,
    pack_config,
    padding,
    pair,
    wide_pair_node,
)
from sockreg.model import FAMILY_BITS, INET6, UDP, Binding, Destination

_ANY_PORT = PORTS - 1  # the width of a rule for all ports
_LOW_64 = (1 << 64) - 1


class _Decided(NamedTuple):
    """Decisions as in ``sockreg.compile.decisions``, as lists."""

    decision: list[int]
    own: list[int]
    functions: Functions
    nodes: list[int]


def compile_few(
    bindings: Sequence[Binding],
    slot_of: Callable[[Destination], int],
    interfaces: Mapping[str, int],
    budget: Budget,
    *,
    counters: bool,
    flows: bool,
) -> Tables:
    """What compile_rules() does."""
    outcomes = outcomes_of(bindings, slot_of)
    prefixes, rules = _prefixes(bindings, outcomes, interfaces)
    parents = _parents(prefixes)
    cells = Cells()
    decided = _decide(prefixes, rules, parents, cells)

    pairs = [at for at, decision in enumerate(decided.decision) if decision == -1 - at]
    elsewhere = _choose_elsewhere([decided.decision[parents[at]] for at in pairs])
    words = [0] * (ELSEWHERE + len(elsewhere))
    words += [0] * padding(len(elsewhere))
    second = build_second_stage(cells, len(words), partial(_grow, budget))
    for part in second.parts:
        words += part
    word_of = _add_port_words(words, decided, pairs, parents, elsewhere, second.first_words, budget)
    words[ELSEWHERE : ELSEWHERE + len(elsewhere)] = map(word_of, elsewhere)

    heads: list[Head] = []
    steps = {PORT: max(decided.nodes, default=0), ADDRESS: 0, **second.steps}
    for wide in (False, True):
        some = [at for at, prefix in enumerate(prefixes) if prefix.tree >> 1 == wide]
        tries = grow(
            [prefixes[at]._replace(tree=prefixes[at].tree & 1) for at in some],
            [word_of(decided.decision[at]) for at in some],
            [0, 0],
            ADDRESS,
            wide,
            len(words),
            budget,
        )
        words += tries.words
        heads += [build_head(tries, tree) for tree in range(2)]
        steps[ADDRESS] = max(steps[ADDRESS], tries.steps)
    words[:ELSEWHERE] = encode_heads(heads)
    budget.check(len(words))
    return Tables(
        memoryview(array("Q", words)),
        pack_config(len(words), steps, counters, [len(h.shortcuts) for h in heads], flows),
        1 + max((outcome & DESTINATION_SLOT_BITS for outcome in outcomes), default=0),
        len(bindings),
        len(prefixes),
        len(decided.functions.functions),
        steps,
    )


def _prefixes(
    bindings: Sequence[Binding], outcomes: Sequence[int], interfaces: Mapping[str, int]
) -> tuple[list[Tree], list[list[PortRule]]]:
    """The distinct prefixes in order, and the rules of each."""
    condition_of, conditions = conditions_of(bindings, interfaces)
    rules: dict[Tree, list[PortRule]] = {}
    for binding, outcome, number in zip(bindings, outcomes, condition_of, strict=True):
        address = binding.address << 128 - FAMILY_BITS[binding.family]
        tree = 2 * (binding.family == INET6) + (binding.protocol == UDP)
        prefix = Tree(tree, address >> 64, address & _LOW_64, binding.length)
        condition = conditions[number] if number >= 0 else None
        rule = PortRule.of(binding.first, binding.last, condition, outcome)
        rules.setdefault(prefix, []).append(rule)
    prefixes = sorted(rules)
    return prefixes, [rules[prefix] for prefix in prefixes]


def _parents(prefixes: Sequence[Tree]) -> list[int]:
    """The longest prefix that encloses each, or -1."""
    parents: list[int] = []
    enclosing: list[int] = []
    for at, prefix in enumerate(prefixes):
        while enclosing and not _encloses(prefixes[enclosing[-1]], prefix):
            enclosing.pop()
        parents.append(enclosing[-1] if enclosing else -1)
        enclosing.append(at)
    return parents


def _encloses(outer: Tree, inner: Tree) -> bool:
    outside = 128 - outer.length
    own, others = outer.high << 64 | outer.low, inner.high << 64 | inner.low
    return outer.tree == inner.tree and own >> outside == others >> outside


def _decide(
    prefixes: Sequence[Tree],
    rules: Sequence[Sequence[PortRule]],
    parents: Sequence[int],
    cells: Cells,
) -> _Decided:
    """decide() of ``sockreg.compile.decisions``."""
    count = len(prefixes)
    decision, pairs, size, nodes = ([0] * count for _ in range(4))
    own = [_own(some[0]) for some in rules]
    functions = Functions(rules.__getitem__, parents, cells, decision, own, nodes, size)
    for at in sorted(range(count), key=lambda at: prefixes[at].length):
        parent, rule = parents[at], rules[at][0]
        inherited = decision[parent] if parent >= 0 else 0
        is_constant = inherited == 0 or (inherited > 0 and inherited & 0xFFFFFFFF == _ANY_PORT)
        is_single = len(rules[at]) == 1 and rule.condition is None
        everywhere = rule.width == _ANY_PORT
        if is_single and (everywhere or is_constant):
            outside = inherited >> INSIDE_SHIFT
            if is_constant and outside == rule.outcome:
                decision[at] = inherited
            else:
                decision[at] = own[at] if everywhere else own[at] | outside << OUTSIDE_SHIFT
            size[at] = 3
        elif (
            is_single
            and (pairs[parent] < PAIRS_MAX or size[parent] > COPY_MAX)
            and nodes[parent] < STEPS_PORT_MAX
        ):
            decision[at] = -1 - at
            pairs[at] = pairs[parent] + 1
            nodes[at] = nodes[parent] + 1
            size[at] = size[parent] + 2
        else:
            functions.decide(at)
    return _Decided(decision, own, functions, nodes)


def _own(rule: PortRule) -> int:
    """The leaf of a single rule, with nothing outside."""
    if rule.width == _ANY_PORT and rule.outcome == 0:
        return 0
    return rule.outcome << INSIDE_SHIFT | rule.first << 16 | rule.width


def _choose_elsewhere(inherited: Sequence[int]) -> list[int]:
    """The decisions that pairs refer to by number, most used first."""
    count: dict[int, int] = {}
    for decision in inherited:
        count[decision] = count.get(decision, 0) + 1
    most = sorted(sorted(count), key=lambda decision: -count[decision])
    return sorted(most[:ELSEWHERE_MAX])


def _add_port_words(
    words: list[int],
    decided: _Decided,
    pairs: Sequence[int],
    parents: Sequence[int],
    elsewhere: Sequence[int],
    cell_words: Sequence[int],
    budget: Budget,
) -> Callable[[int], int]:
    """Add the pairs and port nodes for all decisions. Returns what gives a decision's word."""
    base, own = len(words), decided.own
    number = {decision: at for at, decision in enumerate(elsewhere)}
    inherited = {at: decided.decision[parents[at]] for at in pairs}
    wide = [at for at in pairs if inherited[at] not in number]
    pair_words = [0] * len(decided.decision)
    for at in pairs:
        if inherited[at] in number:
            pair_words[at] = pair(own[at], number[inherited[at]])
    for position, at in enumerate(wide, base // WIDE_PAIR_WORDS):
        pair_words[at] = wide_pair_node(position)
    tries = Tries(pair_words, cell_words, base + WIDE_PAIR_WORDS * len(wide), budget)
    for steps in decided.functions.functions:
        tries.add(steps)
    of_number = pair_words + tries.function_words

    def word_of(decision: int) -> int:
        return decision if decision >= 0 else of_number[-1 - decision]

    for at in wide:
        words += [own[at], word_of(inherited[at])]
    words += tries.words
    words += [0] * padding(len(words) - base)
    return word_of


def _grow(
    budget: Budget,
    prefixes: Sequence[Tree],
    outcome: Sequence[int],
    otherwise: Sequence[int],
    node_class: int,
    wide: bool,
    base: int,
) -> Grown:
    """grow() for ``sockreg.compile.conditions``."""
    tries = grow(prefixes, outcome, otherwise, node_class, wide, base, budget)
    return Grown(tries.roots, tries.words, tries.steps)

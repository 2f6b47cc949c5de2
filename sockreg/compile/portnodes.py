"""Decisions as words: pairs, and port functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sockreg.compile.arrays import Ints, Words, padded, pairs, wide_pair_nodes
from sockreg.compile.budget import Budget
from sockreg.compile.decisions import Decisions
from sockreg.compile.forest import Forest
from sockreg.compile.porttries import Tries
from sockreg.compile.words import ELSEWHERE_MAX, WIDE_PAIR_WORDS


class PortWords(NamedTuple):
    """``outcome`` is the word of each prefix. ``elsewhere`` are the words that pairs refer to.

    ``words`` start in the table at ``base``.
    """

    outcome: Words
    elsewhere: Words
    words: Words


def choose_elsewhere(decisions: Decisions, forest: Forest) -> Ints:
    """The decisions that pairs refer to by number, most used first."""
    inherited = decisions.decision[forest.parent[decisions.pairs()]]
    needed, count = np.unique(inherited, return_counts=True)
    most = np.argsort(-count, kind="stable")[:ELSEWHERE_MAX]
    return np.sort(needed[most])


def build_port_words(
    decisions: Decisions,
    forest: Forest,
    elsewhere: Ints,
    cell_words: Sequence[int],
    base: int,
    budget: Budget,
) -> PortWords:
    """The pairs and port nodes for all decisions, and the word of each prefix."""
    prefix = decisions.pairs()
    own, inherited = decisions.own[prefix], decisions.decision[forest.parent[prefix]]
    number = np.searchsorted(elsewhere, inherited)
    # A decision without a number is larger than all that have one, or less than the one found.
    numbered = np.append(elsewhere, 0)[number] == inherited
    numbered &= number < len(elsewhere)
    wide = ~numbered
    count = int(wide.sum())
    first_pair = base // WIDE_PAIR_WORDS
    pair_words = np.zeros(len(decisions.decision), np.uint64)
    pair_words[prefix[numbered]] = pairs(own[numbered], number[numbered])
    pair_words[prefix[wide]] = wide_pair_nodes(first_pair + np.arange(count))

    tries = Tries(pair_words.tolist(), cell_words, base + WIDE_PAIR_WORDS * count, budget)
    for steps in decisions.functions:
        tries.add(steps)
    of_number = np.concatenate((pair_words, np.array(tries.function_words, np.uint64)))

    def words_of(chosen: Ints) -> Words:
        number = np.maximum(-1 - chosen, 0)
        words: Words = np.where(chosen >= 0, chosen.astype(np.uint64), of_number[number])
        return words

    content = np.column_stack((own[wide].astype(np.uint64), words_of(inherited[wide])))
    table = np.concatenate((content.ravel(), np.array(tries.words, np.uint64)))
    return PortWords(words_of(decisions.decision), words_of(elsewhere), padded(table))

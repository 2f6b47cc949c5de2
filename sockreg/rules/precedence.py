"""Which of two matching bindings wins, and which rule sets leave that open.

Precedence, best first: the longer destination prefix; the narrower port range (an
exact port before any range, any port last); a given interface before none; the longer
source prefix.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from sockreg.model import ANY_PORT, Binding

Rank = tuple[int, int, bool, int]
Tie = tuple[Binding, Binding]


def rank(binding: Binding) -> Rank:
    """Sort key: of the bindings that match a packet, the smallest rank wins.

    Ranks of bindings that no packet can match together mean nothing to each other.
    """
    source_length = binding.source[1] if binding.source else 0
    return (
        -binding.length,
        binding.last - binding.first,
        binding.interface is None,
        -source_length,
    )


def settle(bindings: Iterable[Binding]) -> tuple[list[Binding], list[Tie]]:
    """Drop repeated bindings and find the ties.

    A binding that matches exactly the packets of an earlier one and has the same outcome
    is dropped. Two bindings tie when some packet matches both, their ranks are equal and
    their outcomes differ; that is only possible with the same protocol, family, prefix,
    source and interface, and with port ranges of equal width that overlap. Of each tie
    the binding read earlier comes first.
    """
    kept: list[Binding] = []
    ties: list[Tie] = []
    earlier: dict[object, Binding] = {}
    ranges: dict[object, list[int]] = {}  # positions in kept
    for binding in bindings:
        # protocol, family, address, length, first, last, source, interface: everything
        # that decides which packets match. A slice, because this runs a million times.
        matched = binding[2:10]
        same = earlier.setdefault(matched, binding)
        if same is not binding:
            if same.outcome != binding.outcome:
                ties.append((same, binding))
            continue
        first, last = binding.first, binding.last
        if first != last and (first, last) != ANY_PORT:
            group = (binding[2:6], binding[8:10], last - first)
            ranges.setdefault(group, []).append(len(kept))
        kept.append(binding)
    for positions in ranges.values():
        # Neighbours suffice: ranges of one width that overlap also overlap all between.
        positions.sort(key=lambda position: kept[position].first)
        for low, high in pairwise(positions):
            if kept[high].first <= kept[low].last and kept[low].outcome != kept[high].outcome:
                ties.append((kept[min(low, high)], kept[max(low, high)]))
    return kept, ties

"""Which of two matching bindings wins, and which rule sets are ambiguous.

Precedence, best first: the longer destination prefix; the narrower port range (an exact port before
any range, any port last); a binding with an interface before one without; the longer source prefix.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from sockreg.model import ANY_PORT, Binding

Rank = tuple[int, int, bool, int]
Tie = tuple[Binding, Binding]


def rank(binding: Binding) -> Rank:
    """Sort key: of the bindings that match a packet, the one with the smallest rank wins.

    Ranks of two bindings mean nothing if no packet matches both.
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

    A binding that matches exactly the packets of an earlier one and has the same outcome is
    dropped. Two bindings tie if a packet can match both, their ranks are equal, and their outcomes
    differ. This is only possible with the same protocol, family, prefix, source and interface, and
    with overlapping port ranges of equal width. The binding that was read first comes first in each
    tie.
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
        # Comparing neighbours is enough: if two ranges of one width overlap, they overlap all
        # between.
        positions.sort(key=lambda position: kept[position].first)
        for low, high in pairwise(positions):
            if kept[high].first <= kept[low].last and kept[low].outcome != kept[high].outcome:
                ties.append((kept[min(low, high)], kept[max(low, high)]))
    return kept, ties

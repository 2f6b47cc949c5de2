"""Sharing flows between the members of a pool: the member of each entry.

The program hashes a flow to one of ENTRIES entries and passes it to the member of that entry. A
member's number of entries follows its weight exactly (largest remainders). Names decide which
entries these are (weighted rendezvous hashing), so adding or removing a member moves little more
than its own share of the flows.

Pure, and only imported if there is a pool.
"""

import math

from sockreg.registry import layout

ENTRIES = layout.POOL_ENTRIES
MEMBERS_MAX = layout.POOL_MEMBERS

_MASK = (1 << 64) - 1


def share(weights: dict[str, int]) -> list[str]:
    """The member of each entry, for members by name with their weights.

    A member of weight 0 gets nothing. If all have 0, the list is empty.
    """
    active = {name: weight for name, weight in weights.items() if weight > 0}
    if not active:
        return []
    quotas = _quotas(active)
    scores = {name: _scores(name, weight) for name, weight in active.items()}
    names = sorted(active)
    entries = [min(names, key=lambda name: scores[name][entry]) for entry in range(ENTRIES)]
    _level(entries, quotas, scores)
    return entries


def _quotas(weights: dict[str, int]) -> dict[str, int]:
    """ENTRIES divided by weight. The rest goes to the largest remainders."""
    total = sum(weights.values())
    quotas = {name: ENTRIES * weight // total for name, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda name: (-(ENTRIES * weights[name] % total), name))
    for name in by_remainder[: ENTRIES - sum(quotas.values())]:
        quotas[name] += 1
    return quotas


def _scores(name: str, weight: int) -> list[float]:
    """For each entry, the member's distance from it: exponential with rate ``weight``.

    Among independent exponentials, the smallest is drawn with a probability in proportion to its
    rate. A new member changes nothing between the others.
    """
    state = 0
    for byte in name.encode():
        state = _mix(state ^ byte)
    scores = []
    for entry in range(ENTRIES):
        uniform = (_mix(state + entry * 0x9E3779B97F4A7C15) + 1) / (1 << 64)
        scores.append(-math.log(uniform) / weight)
    return scores


def _mix(value: int) -> int:
    """The finalizer of splitmix64 (Steele, Lea, Flood: Fast Splittable PRNGs, 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def _level(entries: list[str], quotas: dict[str, int], scores: dict[str, list[float]]) -> None:
    """Move entries from members above their quota to members below it, at the lowest cost."""
    owned = dict.fromkeys(quotas, 0)
    for name in entries:
        owned[name] += 1
    moves = sorted(
        (scores[to][entry] - scores[name][entry], entry, to)
        for entry, name in enumerate(entries)
        if owned[name] > quotas[name]
        for to in quotas
        if owned[to] < quotas[to]
    )
    for _, entry, to in moves:
        name = entries[entry]
        if owned[name] > quotas[name] and owned[to] < quotas[to]:
            entries[entry] = to
            owned[name] -= 1
            owned[to] += 1

"""How the flows of a pool are shared: exact shares, and little movement."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from sockreg.registry.shares import ENTRIES, share


def _moved(before: list[str], after: list[str]) -> float:
    return sum(a != b for a, b in zip(before, after, strict=True)) / ENTRIES


def test_entries_follow_the_weights_to_the_last_one() -> None:
    count = Counter(share({"web@1.socket": 99, "web@2.socket": 1}))
    assert count == {"web@1.socket": 1014, "web@2.socket": 10}
    assert set(Counter(share({"a": 1, "b": 1, "c": 1})).values()) == {341, 342}


def test_a_drained_member_gets_nothing() -> None:
    assert set(share({"a": 0, "b": 5})) == {"b"}
    assert share({"a": 0}) == []


def test_the_order_of_members_does_not_matter() -> None:
    assert share({"a": 3, "b": 1}) == share({"b": 1, "a": 3})


@pytest.mark.parametrize("members", range(2, 12))
def test_a_new_member_moves_little_more_than_its_share(members: int) -> None:
    """At most 1/n + 10 % of the flows, whoever comes or goes."""
    names = [f"web@{number}.socket" for number in range(members)]
    full = share(dict.fromkeys(names, 1))
    for gone in names:
        rest = share({name: 1 for name in names if name != gone})
        assert _moved(full, rest) <= 1 / members + 0.10


def test_uneven_weights_move_little_too() -> None:
    random.seed(7)
    for _ in range(20):
        weights = {f"unit{n}": random.randint(1, 100) for n in range(random.randint(2, 8))}
        full, gone = share(weights), random.choice(sorted(weights))
        rest = share({name: weight for name, weight in weights.items() if name != gone})
        assert _moved(full, rest) <= weights[gone] / sum(weights.values()) + 0.10

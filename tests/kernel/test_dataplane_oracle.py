"""The program sends every packet where the oracle says, for rule sets of every shape."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from sockreg.compile import compile_rules
from sockreg.model import INET, TCP, UDP, Action, Binding, Destination, Packet
from sockreg.rules.oracle import decide
from sockreg.terms import SLOT_REJECT
from tests.kernel.lookups import Lookups
from tests.netns import Namespace
from tests.oracle.run import SLOTS, WITHOUT_SOCKET, ask, outcome
from tests.rulesets import (
    INTERFACES,
    adversarial,
    nested_rules,
    packets,
    random_rules,
    rule,
)

SHAPES = adversarial()


@pytest.fixture(scope="module")
def lookups() -> Iterator[Lookups]:
    """Sockets for all labels but the last."""
    filled = {d: slot for d, slot in SLOTS.items() if d.label != WITHOUT_SOCKET}
    with Namespace() as namespace, namespace.entered(), Lookups(filled) as ready:
        yield ready


def check(lookups: Lookups, bindings: list[Binding], asked: list[Packet]) -> None:
    program = lookups.load(compile_rules(bindings, SLOTS, interfaces=INTERFACES))
    for packet in asked:
        # No interface in test runs: see context().
        there = packet._replace(interface=None)
        assert lookups.ask(program, there) == outcome(decide(bindings, there)), packet


@pytest.mark.parametrize("conditions", [False, True], ids=["plain", "conditional"])
def test_random_rule_sets_and_changes(conditions: bool) -> None:
    """`make test-oracle` asks about many more."""
    found = ask(1, 40_000, of_each=250, conditions=conditions)
    assert found.differences == ()
    assert min(found.handed_over, found.refused, found.changes) > 100
    assert found.of_files > 10


@pytest.mark.parametrize("numbered", [0, 1, 65_536])
@pytest.mark.parametrize("seed", range(5))
def test_pairs_of_both_kinds(
    lookups: Lookups, monkeypatch: pytest.MonkeyPatch, seed: int, numbered: int
) -> None:
    monkeypatch.setattr("sockreg.compile.portnodes.ELSEWHERE_MAX", numbered)
    rng = Random(seed)
    bindings = nested_rules(rng)
    check(lookups, bindings, list(packets(rng, bindings, 300)))


@pytest.mark.parametrize("shape", SHAPES)
def test_adversarial_shapes(lookups: Lookups, shape: str) -> None:
    bindings = SHAPES[shape]
    count = min(1000, 4_000_000 // len(bindings))
    check(lookups, bindings, list(packets(Random(shape), bindings, count)))


def test_no_rules_pass_everything(lookups: Lookups) -> None:
    check(lookups, [], list(packets(Random(0), random_rules(Random(0), 10, False), 100)))


def test_counters_count_lookups_and_misses(lookups: Lookups) -> None:
    held = rule("label0", TCP, INET, 1, 32, (80, 80))
    missing = rule(WITHOUT_SOCKET, TCP, INET, 2, 32, (80, 80))
    rejected = rule("nobody", TCP, INET, 3, 32, (80, 80), action=Action.REJECT)
    slots = (SLOTS[held.destination], SLOTS[missing.destination], SLOT_REJECT)
    bindings = [held, missing, rejected]

    def counted(program: int) -> list[tuple[int, ...]]:
        before = [lookups.counters(slot) for slot in slots]
        for number in range(60):
            lookups.ask(program, Packet(TCP, INET, number % 3 + 1, 80))
        after = [lookups.counters(slot) for slot in slots]
        return [
            tuple(new - old for new, old in zip(*pair, strict=True))
            for pair in zip(after, before, strict=True)
        ]

    on, off = (lookups.load(compile_rules(bindings, SLOTS, counters=c)) for c in (True, False))
    assert counted(on) == [(20, 0, 0), (20, 20, 0), (20, 0, 0)]
    assert counted(off) == [(0, 0, 0)] * 3


def test_a_socket_of_another_protocol_is_an_error_and_refused(lookups: Lookups) -> None:
    wrong = SLOTS[Destination("label0", INET, UDP)]
    tables = compile_rules([rule("label0", TCP, INET, 1, 32, (80, 80))], lambda _: wrong)
    program = lookups.load(tables)
    before = lookups.counters(wrong)
    assert lookups.ask(program, Packet(TCP, INET, 1, 80)) is None
    assert [n - o for n, o in zip(lookups.counters(wrong), before, strict=True)] == [1, 0, 1]

"""Compiled tables say what the oracle says."""

from __future__ import annotations

from random import Random

import pytest

from sockreg.compile import Tables, compile_rules
from sockreg.model import Binding, Packet
from sockreg.rules.oracle import decide
from tests.pure.emulator import look_up
from tests.rulesets import (
    INTERFACES,
    UNKNOWN_INTERFACE,
    adversarial,
    destination_of,
    nested_rules,
    packets,
    random_rules,
    slots,
)

SHAPES = adversarial()


def check(bindings: list[Binding], tables: Tables, asked: list[Packet]) -> None:
    slot_of = slots(bindings)
    for packet in asked:
        interface = INTERFACES.get(packet.interface or "", UNKNOWN_INTERFACE)
        found = look_up(tables, packet, interface)
        assert found == destination_of(decide(bindings, packet), slot_of), packet


@pytest.mark.parametrize("conditional", [False, True], ids=["plain", "conditional"])
@pytest.mark.parametrize("seed", range(60))
def test_random_rule_sets(seed: int, conditional: bool) -> None:
    rng = Random(seed)
    bindings = random_rules(rng, rng.choice((1, 2, 3, 5, 10, 40, 200)), conditional)
    tables = compile_rules(bindings, slots(bindings), interfaces=INTERFACES)
    check(bindings, tables, list(packets(rng, bindings, 150)))


@pytest.mark.parametrize("numbered", [0, 1, 7])
@pytest.mark.parametrize("seed", range(10))
def test_pairs_that_have_no_number_to_go_on_with(
    monkeypatch: pytest.MonkeyPatch, seed: int, numbered: int
) -> None:
    """As in rule sets where pairs go on with more than 65,536 different words."""
    for module in ("portnodes", "few"):
        monkeypatch.setattr(f"sockreg.compile.{module}.ELSEWHERE_MAX", numbered)
    rng = Random(seed)
    bindings = nested_rules(rng)
    tables = compile_rules(bindings, slots(bindings))
    check(bindings, tables, list(packets(rng, bindings, 300)))


@pytest.mark.parametrize("shape", SHAPES)
def test_adversarial_shapes(shape: str) -> None:
    bindings = SHAPES[shape]
    tables = compile_rules(bindings, slots(bindings))
    check(
        bindings,
        tables,
        list(packets(Random(shape), bindings, min(300, 2_000_000 // len(bindings)))),
    )


@pytest.mark.parametrize("shape", [*SHAPES, "random", "conditional"])
def test_order_makes_no_difference(shape: str) -> None:
    rng = Random(shape)
    bindings = SHAPES.get(shape) or random_rules(rng, 500, shape == "conditional")
    slot_of = slots(bindings)
    tables = compile_rules(bindings, slot_of, interfaces=INTERFACES)
    shuffled = rng.sample(bindings, len(bindings))
    again = compile_rules(shuffled, slot_of, interfaces=INTERFACES)
    assert again.table_bytes() == tables.table_bytes()
    assert again.config == tables.config


def test_no_rules_pass_everything() -> None:
    tables = compile_rules([], {})
    for seed in range(10):
        for packet in packets(Random(seed), random_rules(Random(seed), 10, False), 10):
            assert look_up(tables, packet) == 0

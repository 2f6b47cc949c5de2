"""Few rules are compiled without numpy: the table is the same, byte by byte."""

from __future__ import annotations

import sys
from random import Random

import pytest

from sockreg.compile.budget import TABLE_MAX, Budget
from sockreg.compile.few import compile_few
from sockreg.compile.many import compile_many
from sockreg.model import Binding
from tests.process import run
from tests.rulesets import INTERFACES, adversarial, nested_rules, random_rules, slots

SHAPES = adversarial()
SEEDS = 150


def compare(bindings: list[Binding]) -> None:
    one, other = (
        make(
            bindings,
            slots(bindings).__getitem__,
            INTERFACES,
            Budget(len(bindings), TABLE_MAX),
            counters=True,
            flows=False,
        )
        for make in (compile_few, compile_many)
    )
    assert one.config == other.config
    assert one.words.tolist() == other.words.tolist()
    assert one == other


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape: str) -> None:
    compare(SHAPES[shape][:3000])


@pytest.mark.parametrize("conditional", [False, True])
def test_random_rule_sets(conditional: bool) -> None:
    for seed in range(SEEDS):
        rng = Random(seed)
        compare(random_rules(rng, rng.choice((0, 1, 2, 5, 20, 60, 150)), conditional))


def test_nested_rules() -> None:
    for seed in range(SEEDS):
        compare(nested_rules(Random(seed)))


@pytest.mark.parametrize("numbered", [0, 1, 7])
def test_pairs_that_have_no_number_to_go_on_with(
    monkeypatch: pytest.MonkeyPatch, numbered: int
) -> None:
    for module in ("portnodes", "few"):
        monkeypatch.setattr(f"sockreg.compile.{module}.ELSEWHERE_MAX", numbered)
    for seed in range(20):
        compare(nested_rules(Random(seed)))


def test_no_numpy_is_loaded() -> None:
    script = (
        "import sys\nfrom sockreg.compile import compile_rules\ncompile_rules([], {})\n"
        "print('numpy' in sys.modules)"
    )
    assert run([sys.executable, "-c", script]).stdout == "False\n"

"""What the compiler refuses, how it says so, and that it never makes more than it may."""

from __future__ import annotations

from random import Random

import pytest

from sockreg.compile import compile_rules, words
from sockreg.errors import EXIT_CONFIG, SockregError
from sockreg.model import ANY_PORT, INET, INET6, TCP, Binding
from tests.rulesets import adversarial, rule, slots, without_ties

SHAPES = adversarial()


def refusal(bindings: list[Binding], limit_bytes: int | None = None) -> SockregError:
    with pytest.raises(SockregError) as caught:
        compile_rules(bindings, slots(bindings), interfaces={"lo": 1}, limit_bytes=limit_bytes)
    assert caught.value.status == EXIT_CONFIG
    assert caught.value.hint
    return caught.value


def test_an_unknown_interface_is_refused_with_its_place() -> None:
    error = refusal([rule("web", TCP, INET, 1, 32, (80, 80), interface="eth7")])
    assert error.message == "test:1: there is no interface 'eth7'"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_table_above_the_limit_is_refused_with_both_sizes(shape: str) -> None:
    bindings = SHAPES[shape]
    size = len(compile_rules(bindings, slots(bindings)).table_bytes())
    assert len(compile_rules(bindings, slots(bindings), limit_bytes=size).table_bytes()) == size
    error = refusal(bindings, size - 1)
    assert f"{len(bindings)} rules" in error.message
    assert f"{size - 1} are possible" in error.message


def test_slots_end_where_a_leaf_ends() -> None:
    bindings = [rule("web", TCP, INET, 1, 32, (80, 80))]
    last = words.SLOTS_MAX - 1
    assert compile_rules(bindings, lambda _: last).words.any()
    with pytest.raises(SockregError, match="8192"):
        compile_rules(bindings, lambda _: words.SLOTS_MAX)


def test_conditions_that_multiply_are_refused() -> None:
    everywhere = [
        rule("web", TCP, INET, 0, 0, ANY_PORT, source=(number << 16, 16)) for number in range(3000)
    ]
    many = [
        rule("web", TCP, INET, number << 8, 24, ANY_PORT, source=(number << 8, 24))
        for number in range(1000)
    ]
    assert "combinations" in refusal(everywhere + many).message


@pytest.mark.parametrize("gap", range(1, 12))
@pytest.mark.parametrize("nested", [False, True])
def test_no_nesting_takes_more_steps_than_the_program_follows(gap: int, nested: bool) -> None:
    """Prefixes that part from one path every few bits, and prefixes along it."""
    path = Random(gap).getrandbits(128)
    bindings = [
        rule(f"label{length % 20}", TCP, INET6, path ^ 1 << (128 - length), length, ANY_PORT)
        for length in range(1, 129, gap)
    ]
    if nested:
        bindings += [
            rule(f"label{length % 19}", TCP, INET6, path, length, (length, 1000 + 2 * length))
            for length in range(1, 129)
        ]
    kept = without_ties(bindings)
    steps = compile_rules(kept, slots(kept)).steps
    assert steps[words.ADDRESS] <= words.STEPS6_MAX
    assert steps[words.PORT] <= words.STEPS_PORT_MAX


def test_a_few_rules_take_little_memory() -> None:
    bindings = [rule("web", TCP, INET, number << 8, 24, (80, 80)) for number in range(20)]
    assert len(compile_rules(bindings, slots(bindings)).table_bytes()) < 4096

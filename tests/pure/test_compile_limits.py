"""What the compiler refuses, how it says so, and that it never makes more than it may."""

from __future__ import annotations

from random import Random

import pytest

from sockreg.compile import compile_rules, words
from sockreg.errors import EXIT_CONFIG, SockregError
from sockreg.model import ANY_PORT, FAMILY_BITS, INET, TCP, Binding
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
    assert f"the limit is {size - 1}" in error.message


def test_slots_end_where_a_leaf_ends() -> None:
    bindings = [rule("web", TCP, INET, 1, 32, (80, 80))]
    last = words.SLOTS_MAX - 1
    assert any(compile_rules(bindings, lambda _: last).words)
    with pytest.raises(SockregError, match="rules can point to 16382 destinations"):
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


def test_ports_that_multiply_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bindings = [
        rule("web", TCP, INET, 0x0A000000, length, (port, port))
        for length in range(8, 33)
        for port in range(length, 60000, 301)
    ]
    compile_rules(bindings, slots(bindings))
    monkeypatch.setattr("sockreg.compile.functions.STEPS_MAX", 10_000)
    assert "more than 10000" in refusal(bindings).message


@pytest.mark.parametrize("family", FAMILY_BITS)
@pytest.mark.parametrize("gap", range(1, 12))
@pytest.mark.parametrize("nested", [False, True])
def test_no_nesting_takes_more_steps_than_the_program_follows(
    family: int, gap: int, nested: bool
) -> None:
    """Prefixes that part from one path every few bits, and prefixes along it."""
    bits = FAMILY_BITS[family]
    path = Random(gap).getrandbits(bits)
    bindings = [
        rule(f"label{length % 20}", TCP, family, path ^ 1 << (bits - length), length, ANY_PORT)
        for length in range(1, bits + 1, gap)
    ]
    if nested:
        bindings += [
            rule(f"label{length % 19}", TCP, family, path, length, (length, 1000 + 2 * length))
            for length in range(1, bits + 1)
        ]
    kept = without_ties(bindings)
    steps = compile_rules(kept, slots(kept)).steps
    assert steps[words.ADDRESS] <= {32: words.STEPS4_MAX, 128: words.STEPS6_MAX}[bits]
    assert steps[words.PORT] <= words.STEPS_PORT_MAX


def test_a_few_rules_take_little_memory() -> None:
    bindings = [rule("web", TCP, INET, number << 8, 24, (80, 80)) for number in range(20)]
    assert len(compile_rules(bindings, slots(bindings)).table_bytes()) < 4096

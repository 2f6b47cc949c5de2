"""Which rules take packets from an ordinary socket, and whether they leave it any."""

from __future__ import annotations

import pytest

from sockreg.model import INET, TCP, Action, Binding
from sockreg.rules.byport import ByPort
from sockreg.rules.taken import Endpoint, takers
from tests.rulesets import rule

ADDRESS = 0xC0000209
ALL, NET, HOST = (0, 0), (0xC0000200, 24), (ADDRESS, 32)
SOURCE = (0xC6336400, 24)


@pytest.mark.parametrize(
    ("address", "others", "whole"),
    [
        (ADDRESS, [], True),
        (None, [], True),
        (ADDRESS, [(HOST, "pass", SOURCE)], False),
        (ADDRESS, [(HOST, "missing", SOURCE)], False),
        (ADDRESS, [(HOST, "bind", SOURCE)], True),
        (None, [(ALL, "pass", SOURCE)], False),
        (None, [(NET, "pass", None)], False),
        (None, [(NET, "missing", None)], False),
        (None, [(NET, "bind", None)], True),
    ],
)
def test_a_rule_takes_all_unless_one_before_it_leaves_some(
    address: int | None,
    others: list[tuple[tuple[int, int], str, tuple[int, int] | None]],
    whole: bool,
) -> None:
    def made(prefix: tuple[int, int], kind: str, source: tuple[int, int] | None = None) -> Binding:
        return rule(
            kind, TCP, INET, *prefix, (80, 80), source=source,
            action=Action.PASS if kind == "pass" else Action.BIND,
        )  # fmt: skip

    last = made(ALL if address is None else NET if not others else HOST, "last")
    rules = [made(*other) for other in others]
    found = takers(
        ByPort([last, *rules]),
        Endpoint(TCP, INET, address, 80),
        lambda binding: binding.label == "missing",
    )
    assert [taker.whole for taker in found if taker.binding is last] == [whole]

"""Every fix that sockreg prints has a test that does it."""

from __future__ import annotations

import ast

import pytest

from tests.fixes import EXECUTORS, NOT_YET, ONLY_SHOWN, commands, findings
from tests.tree import ROOT

PRINTED = sorted(findings() | {text for text in commands() if not ONLY_SHOWN.search(text)})


@pytest.mark.parametrize("printed", PRINTED)
def test_a_fix_has_its_executor(printed: str) -> None:
    assert [text for text in (*EXECUTORS, *NOT_YET) if printed.startswith(text)], (
        "say in tests/fixes.py which test does what this says"
    )


def test_executors_are_there_and_needed() -> None:
    for text, executor in EXECUTORS.items():
        path, _, name = executor.partition("::")
        functions = {
            node.name
            for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
            if isinstance(node, ast.FunctionDef)
        }
        assert name in functions, executor
        assert any(printed.startswith(text) for printed in PRINTED), text
    for text in NOT_YET:
        assert any(printed.startswith(text) for printed in PRINTED), text

"""Each line of docs/security.md names the test that shows it."""

from __future__ import annotations

import ast
import re

import pytest

from tests.tree import ROOT

PAGE = (ROOT / "docs/security.md").read_text()
POSITIONS = ("user", "reader", "peer", "file", "key", "container", "server", "exporter")


def lines() -> list[tuple[str, str]]:
    """(what somebody can or cannot do, the test) of the tables below the headings."""
    found = []
    for line in PAGE.partition("\n## ")[2].splitlines():
        if line.startswith("| ") and line != "| | |":
            what, _, test = line.strip("| ").rpartition(" | ")
            found.append((what, test.strip("`")))
    return found


@pytest.mark.parametrize(("what", "test"), lines())
def test_a_line_names_a_test_that_is_there(what: str, test: str) -> None:
    path, _, name = test.partition("::")
    assert path.startswith("tests/"), what
    functions = [
        node.name
        for node in ast.parse((ROOT / path).read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert name in functions if name else functions, test


def test_every_position_has_its_section() -> None:
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert len(headings) == len(POSITIONS)
    for heading, position in zip(headings, POSITIONS, strict=True):
        assert position in heading
    assert len(lines()) > 30

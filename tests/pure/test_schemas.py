"""Every kind of JSON has a schema that is one, and a line in the document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.schemas import SCHEMAS, validator
from tests.tree import ROOT

IN_CODE = {
    kind
    for path in (ROOT / "sockreg").rglob("*.py")
    for kind in re.findall(r'print_json(?:_line)?\(\s*"(\w+)"', path.read_text())
}


def test_every_kind_that_is_printed_has_a_schema() -> None:
    assert SCHEMAS.keys() == IN_CODE


@pytest.mark.parametrize("kind", SCHEMAS)
def test_schemas_are_valid_and_closed(kind: str) -> None:
    schema = json.loads(SCHEMAS[kind].read_text())
    validator(kind).check_schema(schema)
    assert schema["properties"]["schema"]["const"] == f"sockreg.{kind}"
    for part in objects(schema):
        if "properties" in part:
            # A member that the schema does not know would go unnoticed.
            assert part["additionalProperties"] is False, part
            assert set(part["required"]) == set(part["properties"]), part


def objects(part: Any) -> Iterator[dict[str, Any]]:
    """All objects of a document that have a type."""
    if isinstance(part, dict):
        if "type" in part:
            yield part
        for value in part.values():
            yield from objects(value)
    elif isinstance(part, list):
        for value in part:
            yield from objects(value)


def test_the_document_lists_every_schema() -> None:
    text = (ROOT / "docs/json.md").read_text()
    listed = re.findall(r"\[sockreg\.(\w+)\]\(schemas/(\w+)\.schema\.json\)", text)
    assert {name for name, _ in listed} == SCHEMAS.keys()
    assert all(name == file for name, file in listed)

"""The documented forms of JSON."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.tree import ROOT

DIRECTORY = ROOT / "docs/schemas"
# Kind, as in "sockreg.KIND" -> file.
SCHEMAS = {
    path.name.removesuffix(".schema.json"): path for path in sorted(DIRECTORY.glob("*.json"))
}


def validator(kind: str) -> Any:
    return Draft202012Validator(json.loads(SCHEMAS[kind].read_text()))


def validated(text: str) -> tuple[str, Any]:
    """(kind, content) of what a command printed; AssertionError names what is not as documented."""
    document = json.loads(text)
    kind = document["schema"].removeprefix("sockreg.")
    wrong = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in validator(kind).iter_errors(document)
    ]
    assert not wrong, "\n".join(wrong)
    return kind, document[kind]

"""The structures in the BTF of an object, as bpftool tells them (bpftool-btf(8))."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from tests.process import run

_ALIASES = ("TYPEDEF", "CONST", "VOLATILE", "RESTRICT")


class Field(NamedTuple):
    """``offset`` and ``size`` are in bytes."""

    name: str
    offset: int
    size: int


class Structures:
    """All structures of an object by name."""

    def __init__(self, path: Path) -> None:
        shown = json.loads(run(["bpftool", "--json", "btf", "dump", "file", str(path)]).stdout)
        self._types: dict[int, dict[str, Any]] = {it["id"]: it for it in shown["types"]}

    def structure(self, name: str) -> tuple[int, list[Field]]:
        """(size, fields). StopIteration if there is none of that name."""
        found = next(
            it for it in self._types.values() if (it["kind"], it["name"]) == ("STRUCT", name)
        )
        return found["size"], [
            Field(it["name"], it["bits_offset"] // 8, self._size(it["type_id"]))
            for it in found["members"]
        ]

    def _size(self, number: int) -> int:
        found = self._types[number]
        if found["kind"] in _ALIASES:
            return self._size(found["type_id"])
        if found["kind"] == "ARRAY":
            return int(found["nr_elems"]) * self._size(found["type_id"])
        return int(found["size"])

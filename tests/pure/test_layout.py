"""The layouts in Python, in C and in the object's BTF are the same."""

from __future__ import annotations

import re
import struct
from itertools import accumulate

import pytest

from sockreg import shipped, terms
from sockreg.registry import layout
from tests.btf import Structures
from tests.tree import ROOT

HEADER = ROOT / "bpf/registry.h"


@pytest.fixture(scope="module")
def structures() -> Structures:
    return Structures(shipped.object_path())


@pytest.mark.parametrize("name", layout.STRUCTURES)
def test_structures(structures: Structures, name: str) -> None:
    packed, names = layout.STRUCTURES[name]
    order, fields = packed.format[0], re.findall(r"\d*[A-Za-z]", packed.format)
    sizes = [struct.calcsize(order + field) for field in fields]
    offsets = [0, *accumulate(sizes)]
    in_python = list(zip(names, offsets, sizes, strict=False))
    assert len(names) == len(fields)
    size, members = structures.structure(name)
    assert members == in_python
    assert size == packed.size


def test_every_structure_of_the_header_is_compared() -> None:
    assert set(re.findall(r"^struct (\w+) \{", HEADER.read_text(), re.MULTILINE)) == set(
        layout.STRUCTURES
    )


def test_numbers() -> None:
    defined = dict(re.findall(r"^#define (\w+) (\d+)", HEADER.read_text(), re.MULTILINE))
    in_python = vars(layout) | vars(terms) | {"AF_INET": terms.INET}
    assert {name: int(value) for name, value in defined.items()} == {
        name: in_python[name] for name in defined
    }
    assert {"LABEL_SIZE", "UNIT_SIZE", "SLOT_PASS", "SLOT_REJECT", "FIRST_SLOT"} <= set(defined)

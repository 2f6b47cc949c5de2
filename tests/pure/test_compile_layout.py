"""Tables are laid out in Python as in C and in the object's BTF."""

from __future__ import annotations

import re
import struct
from itertools import accumulate

import pytest

from sockreg import shipped
from sockreg.compile import words
from tests.btf import Structures
from tests.tree import ROOT

HEADER = (ROOT / "bpf/tables.h").read_text()

# Names in tables.h -> in words.py, where these differ.
NAMES = {
    "LEAF_INSIDE_SHIFT": "INSIDE_SHIFT",
    "LEAF_OUTSIDE_SHIFT": "OUTSIDE_SHIFT",
    "NODE_ADDRESS": "ADDRESS",
    "NODE_PORT": "PORT",
    "NODE_INTERFACE": "INTERFACE",
    "NODE_SOURCE": "SOURCE",
    "NODE_CLASS_SHIFT": "CLASS_SHIFT",
    "NODE_MASK_SHIFT": "MASK_SHIFT",
    "NODE_MASK_BITS": "MASK_BITS",
    "NODE_SHIFT_SHIFT": "SHIFT_SHIFT",
    "PAIR_ELSEWHERE_SHIFT": "ELSEWHERE_SHIFT",
    "BRANCH_MISS_SHIFT": "MISS_SHIFT",
    "BRANCH_MISS_BITS": "MISS_BITS",
    "BRANCH4_ADDRESS_SHIFT": "ADDRESS4_SHIFT",
    "BRANCH6_FIRST_SHIFT": "FIRST6_SHIFT",
    "BRANCH6_SECOND_SHIFT": "SECOND6_SHIFT",
}
# Numbers that Python has in another form, checked below.
OTHER_FORM = {
    "PAIR_KIND",
    "PAIR_KIND_SHIFT",
    "PAIR_ELSEWHERE_BITS",
    "WIDE_PAIR_POSITION_SHIFT",
    "WIDE_PAIR_POSITION_BITS",
}


@pytest.fixture(scope="module")
def structures() -> Structures:
    return Structures(shipped.object_path())


def test_numbers() -> None:
    defined = {
        name: int(value, 0)
        for name, value in re.findall(r"^#define (\w+) (0x\w+|\d+)", HEADER, re.MULTILINE)
        if not name.startswith("HEAD_")
    }
    compared = set(defined) - OTHER_FORM
    assert {name: defined[name] for name in compared} == {
        name: getattr(words, NAMES.get(name, name)) for name in compared
    }
    assert set(NAMES) <= compared
    assert "#define NODE_LOW (1ULL << 60)" in HEADER
    assert words.LOW_SHIFT == 60
    assert defined["PAIR_KIND"] << defined["PAIR_KIND_SHIFT"] == words.PAIR
    assert defined["PAIR_ELSEWHERE_BITS"] + 1 == words.ELSEWHERE_MAX
    assert "#define ELSEWHERE (HEADS * sizeof(struct head) / sizeof(__u64))" in HEADER
    assert words.ELSEWHERE == words.HEADS * words.HEAD_WORDS
    assert defined["WIDE_PAIR_POSITION_BITS"] + 1 == words.WIDE_PAIR_POSITION
    assert defined["WIDE_PAIR_POSITION_SHIFT"] == 32
    assert re.findall(r"#define (HEAD_\w+) (\d)", HEADER) == [
        ("HEAD_TCP4", "0"),
        ("HEAD_UDP4", "1"),
        ("HEAD_TCP6", "2"),
        ("HEAD_UDP6", "3"),
    ]


def test_configuration(structures: Structures) -> None:
    order, fields = words.CONFIG.format[0], re.findall(r"\d*[A-Za-z]", words.CONFIG.format)
    sizes = [struct.calcsize(order + field) for field in fields]
    size, members = structures.structure("config")
    assert members == list(zip(words.CONFIG_MEMBERS, [0, *accumulate(sizes)], sizes, strict=False))
    assert size == words.CONFIG.size


@pytest.mark.parametrize("name", words.WORD_STRUCTURES)
def test_structures_of_words(name: str) -> None:
    """The object's BTF has them only where a map or a constant is made of them: it has not."""
    count, members = words.WORD_STRUCTURES[name]
    found = re.search(rf"^struct {name} {{\n(.*?)^}};", HEADER, re.MULTILINE | re.DOTALL)
    assert found
    declared = re.findall(r"^\t(__u64|struct \w+) (\w+)(?:\[(\w+)\])?;", found[1], re.MULTILINE)
    assert tuple(member for _, member, _ in declared) == members
    sizes = {"__u64": 1, "struct branch6": words.BRANCH6_WORDS}
    lengths = {"": 1, "3": 3, "SHORTCUTS_MAX": words.SHORTCUTS_MAX}
    assert sum(sizes[kind] * lengths[length] for kind, _, length in declared) == count


def test_every_structure_of_the_header_is_compared() -> None:
    in_header = re.findall(r"^struct (\w+) \{", HEADER, re.MULTILINE)
    assert set(in_header) == {"config", *words.WORD_STRUCTURES}

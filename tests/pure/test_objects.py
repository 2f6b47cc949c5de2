"""The BPF objects are made from the sources beside them, and these have one style."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from sockreg.errors import SockregError
from sockreg.kernel import objects
from sockreg.kernel.object_source import SOURCES
from tests.process import run
from tests.pure.test_lint import files
from tests.tree import ROOT

BPF = ROOT / "bpf"
KINDS = {kind.file: kind for kind in (objects.SK_LOOKUP, objects.SOCK_OPS)}


@pytest.mark.skipif(not shutil.which("clang-14"), reason="the objects are those of clang 14")
def test_objects_are_made_from_their_sources(tmp_path: Path) -> None:
    run([str(BPF / "build.sh"), str(tmp_path)])
    for name in KINDS:
        assert (tmp_path / name).read_bytes() == (BPF / name).read_bytes(), name


@pytest.mark.parametrize("name", KINDS)
def test_an_object_tells_its_sources(name: str) -> None:
    assert objects.check(BPF / name, KINDS[name]) == SOURCES[name]


@pytest.mark.parametrize("name", KINDS)
def test_an_object_of_other_sources_is_refused(name: str, tmp_path: Path) -> None:
    other = tmp_path / name
    good = (BPF / name).read_bytes()
    other.write_bytes(good.replace(SOURCES[name].encode(), b"0" * 64))
    with pytest.raises(SockregError, match="was built from other sources \\(hash 000000000000"):
        objects.check(other, KINDS[name])


def test_one_object_in_the_place_of_the_other_is_refused() -> None:
    with pytest.raises(SockregError, match="is not an object of sockreg: it has no section"):
        objects.check(BPF / objects.SOCK_OPS.file, objects.SK_LOOKUP)


@pytest.mark.parametrize("name", KINDS)
def test_the_hash_is_of_everything_included(name: str) -> None:
    source = name.replace(".o", ".c")
    hashed = re.search(rf"cat (.*\b{source}\b.*) \|", (BPF / "build.sh").read_text())
    assert hashed
    assert hashed[1].split() == sorted(_included(source))


def _included(source: str) -> set[str]:
    """A source and those of ours that it includes."""
    names = re.findall(r'^#include "(\S+)"', (BPF / source).read_text(), re.MULTILINE)
    return {source}.union(*map(_included, names))


def test_a_build_elsewhere_notes_the_hashes_of_its_objects(tmp_path: Path) -> None:
    """As packages do it, with the clang that there is."""
    noted = tmp_path / "noted.py"
    run([str(BPF / "build.sh"), str(tmp_path), str(noted)], env={"CLANG": "clang"})
    values: dict[str, dict[str, str]] = {}
    exec(noted.read_text(), {}, values)
    assert values["SOURCES"] == SOURCES
    for name, noted_hash in values["OBJECTS"].items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == noted_hash


@pytest.mark.skipif(not shutil.which("clang-format-14"), reason="others format differently")
def test_sources_have_the_style_of_the_kernel() -> None:
    sources = [str(path) for path in files("*.[ch]")]
    assert str(BPF / "walk.h") in sources
    done = run(["clang-format-14", "--dry-run", "--Werror", *sources], check=False)
    assert done.returncode == 0, done.stderr

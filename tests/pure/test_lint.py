"""Format, lint, types, and the rules of the house that no linter knows."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.process import run
from tests.tree import ROOT

# Built from pieces, so that this file does not find itself.
LEFTOVER = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
VAGUE_MODULE = re.compile(r"help" r"er|util" r"|manag" r"er")
# Paths of one machine have no place in a project for all machines.
PLACE_OF_ONE_MACHINE = re.compile(r"(?<![\w.-])/(work|home)/\w")

NOT_OURS = re.compile(
    r"/(\.git|\.tox|\.venv|\.[a-z]+_cache|\.cache|build|dist|__pycache__)/|\.egg-info/|^/\.git$"
)


def files(pattern: str = "*") -> list[Path]:
    """The project's own files, sorted; nothing that was built or installed."""
    return sorted(
        path
        for path in ROOT.rglob(pattern)
        if path.is_file() and not NOT_OURS.search(f"/{path.relative_to(ROOT)}")
    )


def text_lines(path: Path) -> list[str]:
    """The lines of a text file; none of a binary one."""
    data = path.read_bytes()
    return [] if b"\0" in data else data.decode().splitlines()


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-cache", "."],
        ["ruff", "format", "--no-cache", "--check", "."],
        [
            "mypy",
            "--strict",
            "sockreg",
            "tests",
            "units/completion/generate.py",
            "units/release/identity.py",
            "units/site/build.py",
        ],
    ],
    ids=" ".join,
)
def test_linters_are_content(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    run([sys.executable, "-m", *command], timeout=300)


def test_imports_keep_to_the_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    run([str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], timeout=60)


def test_every_file_says_who_may_use_it(tmp_path: Path) -> None:
    """In a copy, since reuse(1) asks git what there is, and not every tree is git's."""
    for path in files():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    run([str(Path(sys.executable).with_name("reuse")), "--root", str(tmp_path), "lint"])


def test_modules_have_telling_names() -> None:
    assert not [path for path in files() if VAGUE_MODULE.search(path.stem)]


def test_paths_in_the_texts_lead_somewhere() -> None:
    """A module that moves takes along what documents and comments say of it."""
    rooms = "|".join(path.name for path in (ROOT / "sockreg").iterdir() if path.is_dir())
    named = re.compile(rf"(?<![\w./-])((?:sockreg|bpf|units|{rooms})/[\w/]+\.(?:py|[ch]|sh))\b")
    kinds = {".py", ".c", ".h", ".md", ".service", ".sh"}
    texts = [path for path in files() if path.suffix in kinds and "tests" not in path.parts]
    lost = [
        f"{path.relative_to(ROOT)}:{number}: {name}"
        for path in texts
        for number, line in enumerate(text_lines(path), 1)
        for name in named.findall(line.partition("#include")[0])
        if not name.startswith("kernel/bpf/")  # in the sources of Linux
        and not any((home / name).is_file() for home in (ROOT, ROOT / "sockreg", ROOT / "units"))
    ]
    assert len(texts) > 100
    assert not lost


def test_nothing_is_left_for_later_and_no_path_is_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(text_lines(path), 1)
        if LEFTOVER.search(line) or PLACE_OF_ONE_MACHINE.search(line)
    ]
    assert not found

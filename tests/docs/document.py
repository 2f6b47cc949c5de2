"""Markdown documents, their code blocks, and the scenes these make up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.tree import ROOT

DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
MAN_PAGE = ROOT / "docs/man/sockreg.8.md"
# Played by tests/recipes, with servers that the other documents do without.
RECIPES = [path for path in DOCUMENTS if path.parent == ROOT / "docs/recipes"]

_SECTION = re.compile(r"#{1,2} (.*)")
_FILE = re.compile(r"[#;%/]+ (/\S+)")
_PROMPT = re.compile(r"(client\$|#) (.*)")


class Block(NamedTuple):
    """A fenced code block; ``line`` is that of its first line of text, from 1."""

    document: Path
    section: str
    line: int
    language: str
    text: str


class File(NamedTuple):
    """A file that the document says the reader has."""

    place: str
    path: str
    text: str


class Command(NamedTuple):
    """A command line of the document and the lines shown below it.

    A client types it on another machine, or root on this one.
    """

    place: str
    line: str
    shown: list[str]
    by_client: bool = False


class Scene(NamedTuple):
    """What a section has the reader do, in order."""

    title: str
    actions: list[File | Command]

    def commands(self) -> list[Command]:
        return [action for action in self.actions if isinstance(action, Command)]


def place(document: Path, line: int) -> str:
    """``docs/rules.md:12``, for messages."""
    return f"{document.relative_to(ROOT)}:{line}"


def blocks(document: Path) -> list[Block]:
    """All fenced code blocks, in order. Headings are those outside of them."""
    found: list[Block] = []
    section = ""
    language: str | None = None
    begun = 0
    text: list[str] = []
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if line.startswith("```"):
            if language is None:
                language, begun, text = line[3:].strip(), number + 1, []
            else:
                found.append(Block(document, section, begun, language, "\n".join(text) + "\n"))
                language = None
        elif language is not None:
            text.append(line)
        elif heading := _SECTION.fullmatch(line):
            section = heading[1]
    assert language is None, f"{place(document, begun)}: this code block does not end"
    return found


def scenes(document: Path) -> list[Scene]:
    """The sections that show files or commands."""
    by_section: dict[str, list[File | Command]] = {}
    for block in blocks(document):
        actions = by_section.setdefault(block.section, [])
        if block.language == "console":
            actions += _commands(block)
        elif block.language != "text":
            actions.append(_file(block))
    name = document.relative_to(ROOT)
    return [
        Scene(f"{name}: {section}", actions) for section, actions in by_section.items() if actions
    ]


def _file(block: Block) -> File:
    where = place(block.document, block.line)
    for line in block.text.splitlines()[:2]:
        if named := _FILE.fullmatch(line):
            return File(where, named[1], block.text)
    raise AssertionError(
        f"{where}: this {block.language or 'nameless'} block is neither console nor text, and "
        "does not begin with a comment that names its file"
    )


def _commands(block: Block) -> list[Command]:
    found: list[Command] = []
    unfinished = False
    for number, line in enumerate(block.text.splitlines(), block.line):
        if unfinished:
            last = found[-1]
            found[-1] = last._replace(line=f"{last.line}\n{line}")
        elif prompt := _PROMPT.fullmatch(line):
            where = place(block.document, number)
            found.append(Command(where, prompt[2], [], by_client=prompt[1] != "#"))
        else:
            assert found, f"{place(block.document, number)}: output without a command"
            found[-1].shown.append(line)
            continue
        unfinished = line.endswith("\\")
    return found

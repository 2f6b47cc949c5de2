"""The English in the project's files: documents without code; comments and texts of programs."""

from __future__ import annotations

import io
import re
import token
import tokenize
from pathlib import Path

# Code spans, file names and units in asterisks, and the targets of links.
_CODE_IN_MARKDOWN = re.compile(r"`[^`]*`|\*\*?[^*\s]+\*?\*|\]\([^)]*\)")
_CODE_IN_PYTHON = re.compile(r"``[^`]*``")


def prose(path: Path) -> list[str]:
    """The English of a file, line by line. A line without English is empty."""
    text = path.read_text()
    match path.suffix:
        case ".md":
            return _of_markdown(text)
        case ".py":
            return _of_python(text)
        case ".catalog":
            return text.splitlines()
        case ".c" | ".h":
            return _of_c(text)
        case _:
            return _of_comments(text)


def _of_markdown(text: str) -> list[str]:
    lines: list[str] = []
    code = False
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        lines.append("" if fence or code else _CODE_IN_MARKDOWN.sub("", line))
        code ^= fence
    return lines


def _of_python(text: str) -> list[str]:
    lines = [""] * (text.count("\n") + 1)
    for found in tokenize.generate_tokens(io.StringIO(text).readline):
        if found.type in (token.STRING, tokenize.COMMENT):
            for number, line in enumerate(found.string.splitlines(), found.start[0]):
                lines[number - 1] += _CODE_IN_PYTHON.sub("", line)
    return lines


def _of_c(text: str) -> list[str]:
    comments = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
    lines = [""] * (text.count("\n") + 1)
    for found in comments.finditer(text):
        first = text.count("\n", 0, found.start())
        for number, line in enumerate(found[0].splitlines(), first):
            lines[number] += line
    return lines


def _of_comments(text: str) -> list[str]:
    """Unit files and the like: whole lines that begin with ``#``, and descriptions."""
    return [line if line.startswith(("#", "Description=")) else "" for line in text.splitlines()]

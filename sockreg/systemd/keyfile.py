"""The syntax of systemd's configuration files (systemd.syntax(7)).

Nothing is refused here. Problems are recorded in their section, because a wrong line in systemd's
part of a unit file is systemd's business.
"""

from __future__ import annotations

from typing import NamedTuple

from sockreg.trust import SIZE_MAX

_WHITESPACE = " \t\r"  # systemd's definition of whitespace (basic/string-util.h)

# Limits of a file, besides its size. A line is as long as systemd reads (LONG_LINE_MAX in
# basic/fileio.h); there are more lines than all rules that were ever measured.
LINE_MAX = 1 << 20  # bytes
LINES_MAX = 2 << 20

_SHOWN = 60  # characters of a wrong line


class Entry(NamedTuple):
    """``key=value`` and the lines (from 1) on which it begins and ends."""

    line: int
    end: int
    key: str
    value: str


class Section(NamedTuple):
    """One ``[name]`` with its entries. What precedes the first section has the name ''.

    ``problems`` are (line, what is wrong).
    """

    name: str
    line: int
    entries: list[Entry]
    problems: list[tuple[int, str]]


def too_large(content: bytes) -> str:
    """Why a file is not read; '' if it is.

    Not more than the first SIZE_MAX + 1 bytes of it need to be there.
    """
    if len(content) > SIZE_MAX:
        return f"is longer than {SIZE_MAX >> 20} MiB, and nothing in it counts"
    if len(content) > LINE_MAX and max(map(len, content.split(b"\n"))) > LINE_MAX:
        return f"has a line of more than {LINE_MAX >> 20} MiB, and nothing in it counts"
    if content.count(b"\n") > LINES_MAX:
        return f"has more than {LINES_MAX:,} lines, and nothing in it counts"
    return ""


def read_sections(content: bytes) -> list[Section]:
    """Read a whole file. Sections are in order, and a name may occur several times.

    A line that ends in a backslash continues in the next line that is not a comment. The backslash
    is read as a space. A file that is too_large() has no sections.
    """
    if too_large(content):
        return [Section("", 0, [], [])]
    section = Section("", 0, [], [])
    sections = [section]
    unfinished: list[str] = []
    begun = number = 0
    for number, raw in enumerate(_lines(content), 1):
        line = raw.strip(_WHITESPACE)
        if line and line[0] in "#;":
            continue
        if not unfinished:
            begun = number
        if raw.endswith("\\") and _is_continued(raw):
            unfinished.append(line[:-1])
            continue
        if unfinished:
            line = " ".join([*unfinished, line])
            unfinished = []
        if line.startswith("["):
            section = _section(line, begun)
            sections.append(section)
        elif line:
            _add_line(section, begun, number, line)
    if unfinished:
        _add_line(section, begun, number, " ".join([*unfinished, ""]))
    return sections


def _add_line(section: Section, begun: int, end: int, line: str) -> None:
    key, equals, value = line.partition("=")
    if not section.line:
        section.problems.append((begun, f"{_shown(line)!r} is before the first [section]"))
    elif not equals:
        section.problems.append((begun, f"{_shown(line)!r} is not KEY=VALUE"))
    elif not line.isascii() and _has_surrogates(line):
        shown = _shown(line).encode(errors="surrogateescape")
        section.problems.append((begun, f"{shown!r} is not UTF-8"))
    else:
        key, value = key.rstrip(_WHITESPACE), value.strip(_WHITESPACE)
        section.entries.append(Entry(begun, end, key, value))


def _shown(line: str) -> str:
    """The beginning of a line, which may be all of a file that is no text."""
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _section(header: str, number: int) -> Section:
    if header.endswith("]"):
        return Section(header[1:-1], number, [], [])
    return Section(header[1:], number, [], [(number, f"{_shown(header)!r} lacks its ']'")])


def _lines(content: bytes) -> list[str]:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        # Bytes that are not UTF-8 become surrogates, so that the line can be named.
        text = content.decode(errors="surrogateescape")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")


def _is_continued(line: str) -> bool:
    """Whether the backslash at the end is not itself escaped."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _has_surrogates(line: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in line)

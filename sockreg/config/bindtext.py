"""The text of a conf file while rules come and go, found by the packets that they match.

Other lines stay as they are, with their order and comments. The text is parsed once, whatever the
number of changes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from sockreg.config.rulelines import RULE_KEYS
from sockreg.config.written import Written, parse_written
from sockreg.errors import ConfigError
from sockreg.model import Place, label_problem
from sockreg.rules.ending import WORD, split_end
from sockreg.systemd.keyfile import Entry, Section, read_sections


class _Line(NamedTuple):
    """A ``Bind=`` line, parsed. ``end`` is when its rules end, or None.

    ``cell`` has its text ``written``. The other lines of an entry that goes on are in ``more``.
    """

    rules: list[Written]
    end: int | None
    written: str
    cell: list[str]
    more: list[list[str]]


_Known = dict[tuple[object, ...], list[_Line]]  # by what the rules match


class BindText:
    """A conf file, to which rules are added and from which they are removed.

    Lines whose rules have ended are removed at once, unless ``ended`` keeps them. A text that has
    nothing else than ``header`` counts as empty. A wrong line raises ConfigError when a rule of its
    label is looked for.
    """

    def __init__(self, path: str, text: str, header: str, *, ended: bool = False) -> None:
        self.path = path
        self._written = text
        self._header = header
        self._start = text if ended else _without_ended(text)
        self._is_changed = self._start != text
        # What each line has become.
        lines = (self._start or header).removesuffix("\n").split("\n")
        self._cells: list[list[str]] = [[line] for line in lines]
        self._sections: dict[str, list[Section]] = {}
        for section in _sections(self._start):
            self._sections.setdefault(section.name, []).append(section)
        # Where the next line of a label comes.
        self._last = {
            label: self._cells[(last.entries[-1].end if last.entries else last.line) - 1]
            for label, (*_, last) in self._sections.items()
            if last.line > 0
        }
        self._known: dict[str, _Known] = {}
        self._thinned: dict[str, None] = {}  # labels that have lost lines

    @property
    def text(self) -> str | None:
        """The text as it is now; None if nothing is left."""
        text = self._start
        if self._is_changed:
            text = "\n".join([*(line for cell in self._cells for line in cell), ""])
            for label in self._thinned:
                text = _without_empty_sections(text, label)
        return None if text in ("", self._header) else text

    def had(self, rule: Written) -> bool:
        """Whether the rule is there, or was there until it ended."""
        if any(self.same(rule)):
            return True
        if self._start == self._written:
            return False
        return any(BindText(self.path, self._written, self._header, ended=True).same(rule))

    def same(self, rule: Written) -> Iterator[tuple[Written, int | None]]:
        """The file's rules that are meant by this one, each with its end."""
        for line in self._of(rule.label).get(rule.matched, ()):
            for old in line.rules:
                if old.means(rule):
                    yield old, line.end

    def rivals(self, rule: Written) -> list[tuple[Written, int | None]]:
        """The rules that match exactly the same packets and do something else, with their ends."""
        return [
            (old, line.end)
            for label in dict.fromkeys((*self._sections, *self._last))
            if label_problem(label) == ""
            for line in self._of(label).get(rule.matched, ())
            for old in line.rules
            if old.is_rival(rule)
        ]

    def add(self, rule: Written, end: int | None) -> None:
        """Add a line for the rule at the end of the label's last section; else make a section."""
        label, written = rule.label, rule.line(end)
        known = self._of(label)
        cell = self._last.get(label)
        if cell is None:
            cell = self._last[label] = ["", f"[{label}]"]
            self._cells.append(cell)
        cell.append(written)
        self._is_changed = True
        known.setdefault(rule.matched, []).append(_Line([rule], end, written, cell, []))

    def remove(self, rule: Written) -> None:
        """Remove the rule from every line that has it. Other ports of a list stay."""
        known = self._of(rule.label)
        for line in known.get(rule.matched, [])[:]:
            left = [old for old in line.rules if not old.means(rule)]
            if len(left) == len(line.rules):
                continue
            for matched in {old.matched for old in line.rules}:
                known[matched].remove(line)
            at = line.cell.index(line.written)
            line.cell[at : at + 1] = [old.line(line.end) for old in left]
            for rest in line.more:
                del rest[0]
            for old in left:
                part = _Line([old], line.end, old.line(line.end), line.cell, [])
                known.setdefault(old.matched, []).append(part)
            self._is_changed = True
            self._thinned[rule.label] = None

    def _of(self, label: str) -> _Known:
        """The label's lines after the last reset."""
        known = self._known.get(label)
        if known is None:
            known = {}
            for section in self._sections.get(label, ()):
                for entry in section.entries:
                    if entry.key == "Bind" and entry.value:
                        line = self._line(entry, label)
                        for matched in {old.matched for old in line.rules}:
                            known.setdefault(matched, []).append(line)
                    elif entry.key == "Bind":
                        known.clear()
            self._known[label] = known
        return known

    def _line(self, entry: Entry, label: str) -> _Line:
        place = Place(self.path, entry.line)
        cell, *more = self._cells[entry.line - 1 : entry.end]
        try:
            words, end = split_end(entry.value.split())
            rules = parse_written(words, label, place, [])
        except ValueError as problem:
            raise ConfigError(f"{place}: Bind={entry.value}: {problem}") from None
        return _Line(rules, end, cell[0], cell, more)


def _sections(text: str) -> list[Section]:
    return read_sections(text.encode(errors="surrogateescape"))


def _without_ended(text: str) -> str:
    """Remove the lines whose rules have ended. What is wrong in others is left to those who read.

    Their sections go with them, if nothing else is in these.
    """
    if WORD not in text:
        return text
    now = time.time()
    lines = text.split("\n")
    labels = []
    for section in reversed(_sections(text)):
        for entry in reversed(section.entries):
            try:
                _, end = split_end(entry.value.split())
            except ValueError:
                continue
            if entry.key in RULE_KEYS and end is not None and end <= now:
                del lines[entry.line - 1 : entry.end]
                labels.append(section.name)
    text = "\n".join(lines)
    for label in dict.fromkeys(labels):
        text = _without_empty_sections(text, label)
    return text


def _without_empty_sections(text: str, label: str) -> str:
    """Remove the label's sections that are empty, without even a comment."""
    lines = text.split("\n")
    sections = _sections(text)
    after_last = Section("", len(lines) + 1, [], [])
    for section, following in reversed(list(pairwise([*sections, after_last]))):
        start, end = section.line - 1, following.line - 1
        if section.name == label and not any(line.strip() for line in lines[start + 1 : end]):
            del lines[start:end]
    return "\n".join(lines)

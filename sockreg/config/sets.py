"""Sets of prefixes: ``NAME=PREFIX...`` in sections ``[:prefixes]`` of conf files.

A rule names a set as ``@NAME``, in any file, and is as if it named its prefixes. All files are read
before any rule is, so it does not matter where a set is. Lines of one name add up, also across
files, and ``NAME=`` drops the earlier ones. A set may name sets, and ``file:PATH`` reads one prefix
a line. What is wrong with a set is a problem of its own file, and of each rule that names the set.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sockreg import trust
from sockreg.config.parts import NO_FILES
from sockreg.config.report import Notice, Problem, Report, unreadable
from sockreg.model import Place
from sockreg.printable import shortened
from sockreg.rules.prefixes import PREFIXES_MAX, SET, Prefix, parse_prefixes
from sockreg.systemd.keyfile import Section, too_large
from sockreg.systemd.unitpaths import files_state

SECTION = ":prefixes"

_FILE = "file:"
_NAMES = set(string.ascii_letters + string.digits + "_.-")
_SHOWN = 200  # characters of what is wrong


class _Item(NamedTuple):
    """What one word of a line says: prefixes, the name of another set, or why it is wrong."""

    place: Place
    prefixes: tuple[Prefix, ...] = ()
    name: str = ""
    wrong: str = ""


@dataclass(frozen=True)
class Sets:
    """The sets of all conf files. ``places`` are the first line of each.

    ``files`` are what the sets are made of, each with its files_state() from before it was read.
    ``named`` are the sets that a rule or another set has named, once the rules are read.
    """

    root: str
    items: dict[str, list[_Item]] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    files: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    _known: dict[str, tuple[Prefix, ...]] = field(default_factory=dict)

    def add(
        self, section: Section, path: str, state: tuple[int, int, int, int], report: Report
    ) -> None:
        """Read a section ``[:prefixes]`` of a conf file. ``state`` is as in ``files``."""
        self.files[path] = state
        report.problems.extend(Problem(Place(path, line), text) for line, text in section.problems)
        for line, _, name, value in section.entries:
            place = Place(path, line)
            if not name or set(name) - _NAMES:
                text = f"{shortened(name, _SHOWN)!r} is no name of a set: letters, digits, '_', '-'"
                report.problems.append(Problem(place, f"{text} and '.' are"))
                continue
            self.places.setdefault(name, place)
            if not value:
                self.items[name] = []
                continue
            remarks: list[str] = []
            found = [self._item(word, place, remarks) for word in _words(value)]
            self.items.setdefault(name, []).extend(found)
            report.notices.extend(Notice(place, remark) for remark in remarks)
            report.problems.extend(
                Problem(place, f"set {name}: {item.wrong}") for item in found if item.wrong
            )

    def unknown(self) -> Iterator[Problem]:
        """That sets name sets that are not there, or themselves."""
        for name, items in self.items.items():
            for item in items:
                if item.name:
                    try:
                        self.prefixes(item.name, (name,))
                    except ValueError as error:
                        yield Problem(item.place, f"set {name}: {error}")

    def prefixes(self, name: str, within: tuple[str, ...] = ()) -> tuple[Prefix, ...]:
        """The prefixes of a set, each once. ``within`` are the sets that lead to it.

        Raises ValueError if there is no such set, or if something is wrong with it.
        """
        self.named.add(name)
        if name in within:
            circle = " names ".join(f"{SET}{it}" for it in (*within[within.index(name) :], name))
            raise ValueError(f"a set cannot be in itself: {circle}")
        if name in self._known:
            return self._known[name]
        if name not in self.items:
            raise ValueError(f"there is no set {SET}{name}{self._near(name)}")
        found: dict[Prefix, None] = {}
        for item in self.items[name]:
            if item.wrong:
                raise ValueError(f"set {SET}{name} of {item.place}: {item.wrong}")
            if item.name:
                found |= dict.fromkeys(self.prefixes(item.name, (*within, name)))
            else:
                found |= dict.fromkeys(item.prefixes)
        if len(found) > PREFIXES_MAX:
            raise ValueError(f"set {SET}{name} has more than {PREFIXES_MAX:,} prefixes")
        self._known[name] = tuple(found)
        return self._known[name]

    def state(self) -> tuple[int, int, int, int]:
        """files_state() of the files that the sets are made of, from before they were read."""
        return together(NO_FILES, *self.files.values())

    def unused(self) -> Iterator[str]:
        """The sets that neither a rule nor another set names, once the rules are read."""
        yield from (name for name in self.items if name not in self.named)

    def _near(self, name: str) -> str:
        """The set that may have been meant."""
        from difflib import get_close_matches

        near = get_close_matches(name, self.items, 1)
        return f"; did you mean {SET}{near[0]}?" if near else ""

    def _item(self, word: str, place: Place, remarks: list[str]) -> _Item:
        if word.startswith(SET):
            return _Item(place, name=word.removeprefix(SET))
        try:
            if word.startswith(_FILE):
                return _Item(place, tuple(self._of_file(word.removeprefix(_FILE), remarks)))
            return _Item(place, tuple(parse_prefixes(word, remarks)))
        except ValueError as error:
            return _Item(place, wrong=shortened(str(error), _SHOWN))

    def _of_file(self, name: str, remarks: list[str]) -> Iterator[Prefix]:
        """One prefix or range a line; what follows a ``#`` is a comment. Raises ValueError."""
        if not name.startswith("/"):
            raise ValueError(f"{_FILE}{name}: a path that begins with '/' is expected")
        path = self.root.rstrip("/") + name
        self.files[path] = state_of(path)
        try:
            content = trust.read(self.root, path)
        except OSError as error:
            raise ValueError(str(unreadable(error, path))) from None
        if large := too_large(content):
            raise ValueError(f"{path}: {large}")
        # Some editors begin a file with a mark of the byte order.
        lines = content.decode("utf-8", "surrogateescape").removeprefix("\ufeff").split("\n")
        for number, line in enumerate(lines, 1):
            text = line.partition("#")[0].strip()
            try:
                for word in _words(text):
                    if word.startswith(SET):
                        raise ValueError(f"{word}: only conf files name sets")
                    yield from parse_prefixes(word, remarks)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from None


def _words(value: str) -> Iterator[str]:
    """The items of a line. Commas separate them as well, as in a rule, but a path may have some."""
    for word in value.split():
        items, _, path = word.partition(_FILE)
        yield from (item for item in items.split(",") if item)
        if path or not items:
            yield _FILE + path


def state_of(path: str) -> tuple[int, int, int, int]:
    """files_state() of a file; that of nothing if there is no such file, or none that is found."""
    try:
        return files_state([path])
    except (OSError, ValueError):  # ValueError: no file can have this name
        return NO_FILES


def together(*states: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """files_state() of all files of which these are the states."""
    files, newest, inodes, size = zip(*states, strict=True)
    return sum(files), max(newest), sum(inodes) & 0xFFFFFFFFFFFFFFFF, sum(size)


def names_in(values: Iterable[str]) -> bool:
    """Whether one of these lines may name a set."""
    return any(SET in value for value in values)

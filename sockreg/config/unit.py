"""The settings of a unit, as systemd puts them together from its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sockreg.model import Place
from sockreg.systemd.keyfile import Section
from sockreg.systemd.specifiers import expand_specifiers
from sockreg.systemd.values import boolean

_STARTING = ("Requires", "Wants", "BindsTo", "Upholds")


class Setting(NamedTuple):
    """A value in a unit's files, and its place."""

    value: str
    place: Place


@dataclass(frozen=True)
class Unit:
    """A unit's files, merged: sections in the order in which systemd applies them."""

    name: str
    paths: Sequence[str]
    sections: Sequence[tuple[str, Section]]

    def all(self, section: str, key: str) -> list[Setting]:
        """The values of a list setting; an empty one drops those before it."""
        found: list[Setting] = []
        for setting in self._settings(section, key):
            if setting.value:
                found.append(setting)
            else:
                found.clear()
        return found

    def last(self, section: str, key: str) -> Setting | None:
        """The value in effect, or None if no file has one."""
        found = self.all(section, key)
        return found[-1] if found else None

    def words(self, section: str, key: str) -> list[Setting]:
        """The words of a list setting, one by one, with specifiers replaced."""
        return [
            Setting(self._expanded(word.strip("\"'")), place)
            for value, place in self.all(section, key)
            for word in value.split()
        ]

    def starting(self, name: str) -> Iterator[tuple[str, Setting]]:
        """The settings, with their keys, that start another unit whenever this one starts."""
        for key in _STARTING:
            for word in self.words("Unit", key):
                if word.value == name:
                    yield key, word

    def is_on(self, section: str, key: str, *, default: bool = False) -> bool:
        """A boolean setting; one that systemd does not understand is off."""
        setting = self.last(section, key)
        if setting is None:
            return default
        try:
            return boolean(setting.value)
        except ValueError:
            return False

    def where(self, section: str, key: str) -> str:
        """The place of the value in effect, or the unit's first file."""
        setting = self.last(section, key)
        return str(setting.place) if setting else self.home

    @property
    def home(self) -> str:
        """The unit's own file."""
        return self.paths[0] if self.paths else self.name

    def _settings(self, section: str, key: str) -> list[Setting]:
        return [
            Setting(entry.value, Place(path, entry.line))
            for path, found in self.sections
            if found.name == section
            for entry in found.entries
            if entry.key == key
        ]

    def _expanded(self, word: str) -> str:
        try:
            return expand_specifiers(word, self.name)
        except ValueError:
            return word  # systemd knows more specifiers than these

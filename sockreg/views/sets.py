"""The sets of prefixes, as the files have them now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sockreg.config.conf import read_sections_of_all
from sockreg.config.counted import counted_units
from sockreg.config.rulelines import RULE_KEYS
from sockreg.config.sets import Sets
from sockreg.context import Context
from sockreg.model import Place
from sockreg.registry.maps import Maps
from sockreg.registry.units import active_units
from sockreg.rules.prefixes import SET, format_prefix


@dataclass(frozen=True)
class SetOfPrefixes:
    """``place`` is its first line. ``problem`` says what is wrong with it, or is empty. ``users``
    are the lines of rules and of other sets that name it.
    """

    name: str
    place: Place
    prefixes: list[str]
    problem: str
    users: list[Place]


def read(context: Context) -> list[SetOfPrefixes]:
    """All sets by name. Raises SockregError if the directories of files cannot be read."""
    files, sets = read_sections_of_all(context.root, {}, list)
    lines = [
        (Place(file.path, entry.line), entry.value)
        for file in files
        for section in file.sections
        for entry in section.entries
    ]
    lines += [
        (Place(path, entry.line), entry.value)
        for unit in counted_units(context.root, _active(context)).units.values()
        for path, section in unit.sections
        for entry in section.entries
        if entry.key in RULE_KEYS
    ]
    users: dict[str, list[Place]] = {}
    for place, value in lines:
        for name in dict.fromkeys(_named(value)):
            users.setdefault(name, []).append(place)
    return [_one(sets, name, users.get(name, [])) for name in sorted(sets.items)]


def _active(context: Context) -> set[str]:
    if not context.is_loaded:
        return set()
    with Maps(context.registry, read_only=True) as maps:
        return active_units(maps)


def _named(value: str) -> Iterator[str]:
    for word in value.replace(",", " ").split():
        if word.startswith(SET):
            yield word.removeprefix(SET)


def _one(sets: Sets, name: str, users: list[Place]) -> SetOfPrefixes:
    prefixes, problem = [], ""
    try:
        prefixes = [format_prefix(*prefix) for prefix in sets.prefixes(name)]
    except ValueError as error:
        # What the place says is not said twice.
        problem = str(error).removeprefix(f"set {SET}{name} of {sets.places[name]}: ")
    return SetOfPrefixes(name, sets.places[name], prefixes, problem, users)

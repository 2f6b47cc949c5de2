"""``Bind=``, ``Reject=`` and ``Pass=`` lines of a section, in conf files and units."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from sockreg.config.report import Notice, Problem, Report
from sockreg.model import Action, Binding, Place
from sockreg.printable import shortened
from sockreg.rules.ending import WORD, split_end
from sockreg.rules.prefixes import FindSet
from sockreg.rules.syntax import parse_rule
from sockreg.systemd.keyfile import Section

RULE_KEYS = {"Bind": Action.BIND, "Reject": Action.REJECT, "Pass": Action.PASS}

_SHOWN = 200  # characters of what is wrong, which may be all of a file that is no text

RULES_MAX = 2 << 20  # of all files together; a million take about a gigabyte

RuleLists = dict[Action, list[Binding]]


class Room:
    """How many rules all files may still have: lists and sets multiply them on a few lines."""

    problem = f"more than {RULES_MAX:,} rules in all files, up to this line"

    def __init__(self) -> None:
        self._left = RULES_MAX

    @property
    def is_gone(self) -> bool:
        """Whether a rule has found no room. None that follows is read then."""
        return self._left < 0

    def take(self, rules: int) -> bool:
        """Whether there is room for so many rules."""
        self._left -= rules
        return not self.is_gone


def no_rules() -> RuleLists:
    return {action: [] for action in Action}


def add_rules(
    section: Section,
    path: str,
    *,
    labels: dict[Action, str],
    lists: RuleLists,
    report: Report,
    ends: dict[Place, int],
    room: Room,
    expand: Callable[[str], str] | None = None,
    find_set: FindSet | None = None,
    others: Collection[str] = (),
) -> list[Action]:
    """Add a section's rules to those of earlier sections. Returns the actions whose earlier rules
    it drops.

    ``labels`` has the label for the bindings of each action. ``others`` are keys that other code
    reads. ``room`` is that of all files. As in systemd's lists, a key with an empty value drops the
    earlier values of the key. Wrong lines go to the report even if they are dropped later. Lines
    whose rules end are added to ``ends``; the rules of those that have ended are not there.
    """
    add_section_problems(section, path, report)
    dropped = []
    place = Place(path, section.line)
    for line, _, key, value in section.entries:
        if key in others:
            continue
        action = RULE_KEYS.get(key)
        if action is None:
            known = ", ".join(f"{name}=" for name in (*RULE_KEYS, *others))
            text = f"unknown key {shortened(key, _SHOWN)!r}: {known} expected"
            report.problems.append(Problem(Place(path, line), text))
            continue
        if not value:
            lists[action].clear()
            dropped.append(action)
            continue
        place = Place(path, line)
        if room.is_gone:
            break
        try:
            found, end = _parsed(action, value, labels[action], place, report, expand, find_set)
        except ValueError as problem:
            text = f"{key}={shortened(value, _SHOWN)}: {shortened(str(problem), _SHOWN)}"
            report.problems.append(Problem(place, text))
            continue
        if not room.take(len(found)):
            break
        if end is not None:
            ends[place] = end
        if end is None or end > time.time():
            lists[action] += found
    if room.is_gone and not any(it.text == room.problem for it in report.problems[-1:]):
        report.problems.append(Problem(place, room.problem))
    return dropped


def _parsed(
    action: Action,
    value: str,
    label: str,
    place: Place,
    report: Report,
    expand: Callable[[str], str] | None,
    find_set: FindSet | None,
) -> tuple[list[Binding], int | None]:
    """The rules of a line, and when they end. Raises ValueError."""
    if expand is not None:
        value = expand(value)
    end = None
    if WORD in value:
        words, end = split_end(value.split())
        value = " ".join(words)
    remarks: list[str] = []
    found = parse_rule(action, value, label, place, remarks, find_set)
    if remarks:
        report.notices.extend(Notice(place, remark) for remark in remarks)
    return found, end


def add_section_problems(section: Section, path: str, report: Report) -> None:
    """Report the problems that the parser of the file found in a section."""
    report.problems.extend(Problem(Place(path, line), text) for line, text in section.problems)

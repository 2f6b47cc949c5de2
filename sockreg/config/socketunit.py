"""The settings of a .socket unit for sockreg: its label, its rules, its companion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from sockreg import trust
from sockreg.config.parts import NO_FILES
from sockreg.config.report import Kind, Notice, Problem, Report
from sockreg.config.rulelines import Room, add_rules, no_rules
from sockreg.model import Action, Binding, Place, label_problem
from sockreg.rules.prefixes import FindSet
from sockreg.systemd.keyfile import Section, read_sections, too_large
from sockreg.systemd.specifiers import expand_specifiers
from sockreg.systemd.unit_label import (
    DRAIN,
    FLOWS,
    LABEL,
    REUSEPORT,
    RULES_SECTION,
    WEIGHT,
    read_drain,
    read_exact,
    read_flows,
    read_label,
    read_weight,
)
from sockreg.systemd.unitpaths import (
    dropins_of,
    files_state,
    find_unit,
    lost_links,
    reachable,
)
from sockreg.terms import LOADER, NEEDED, companion

_SECTION = f"[{RULES_SECTION}]".encode()
# The keys of the section besides the rules. Each has a reader below.
_OTHER_KEYS = (LABEL, WEIGHT, REUSEPORT, FLOWS, DRAIN)
# Settings of [Unit] that start the other unit together with this one (systemd.unit(5)).
_STARTING = ("Wants", "Requires", "BindsTo", "Upholds")


class SocketUnit(NamedTuple):
    """A unit's files, merged. ``name`` is the unit's own name, not an alias.

    ``state`` is files_state() of ``paths`` from just before they were read. ``sections`` are those
    of all files in the order in which systemd applies them, with their paths. ``problems`` are
    about whole files of which systemd reads nothing.
    """

    name: str
    paths: list[str]
    state: tuple[int, int, int, int]
    sections: list[tuple[str, Section]]
    problems: Sequence[Problem] = ()


def read_socket_unit(root: str, name: str) -> SocketUnit | None:
    """Read a unit and its drop-ins. None if the unit does not exist or is masked.

    Raises OSError. systemd's own settings are not checked: a line that systemd ignores is ignored
    here, too.
    """
    identity, paths = find_unit(root, name)
    if not paths:
        return None
    state = files_state(paths)
    sections: list[tuple[str, Section]] = []
    problems = [nowhere(path) for path in lost_links(root, identity)]
    for path in paths:
        content = trust.read(root, path)
        if large := too_large(content):
            problems.append(Problem(Place(path, 0), large, Kind.FILE))
        if b"\0" in content and _SECTION in content.replace(b"\0", b""):
            text = "is not text in UTF-8, so that nothing in it counts; UTF-16?"
            problems.append(Problem(Place(path, 0), text, Kind.FILE))
        sections += [(path, section) for section in read_sections(content)]
    return SocketUnit(identity, paths, state, sections, problems)


def nowhere(path: str) -> Problem:
    """That a file of a unit is a link to something that is not there."""
    return Problem(Place(path, 0), "is a link that leads nowhere", Kind.FILE)


def wanted_by_dropins(root: str, name: str) -> list[Place]:
    """companion_wanted() of the drop-ins of a unit that is not there. Raises OSError."""
    sections: list[tuple[str, Section]] = []
    for path in dropins_of(root, name):
        content = trust.read(root, reachable(root, path))
        sections += [(path, section) for section in read_sections(content)]
    return companion_wanted(SocketUnit(name, [], NO_FILES, sections))


def wants_companion(unit: SocketUnit) -> bool:
    """Whether the unit itself names its companion in Wants= or another such setting."""
    return bool(companion_wanted(unit))


def companion_wanted(unit: SocketUnit) -> list[Place]:
    """Where the unit itself names its companion.

    A unit that registers its own sockets (commands/enable.py) has no companion and names the
    loader, or the unit that starts it. Dependencies only add up: an empty value resets nothing.
    """
    wanted = {companion(unit.name), LOADER, NEEDED}
    return [
        Place(path, line)
        for path, section in unit.sections
        if section.name == "Unit"
        for line, _, key, value in section.entries
        if key in _STARTING and wanted & set(_expanded_words(value, unit.name))
    ]


def unit_label(unit: SocketUnit, report: Report) -> str:
    """The label of the unit's sockets: see systemd/unit_label.py."""

    def notice(path: str, line: int, text: str) -> None:
        report.notices.append(Notice(Place(path, line), text))

    return read_label(unit.name, unit.sections, _problems(report), notice)


def label_place(unit: SocketUnit) -> Place:
    """Where the files say the label: the last such line, or the unit's own file."""
    place = Place(unit.paths[0], 0)
    for wanted in (("Socket", "FileDescriptorName"), (RULES_SECTION, LABEL)):
        for path, section in unit.sections:
            for line, _, key, value in section.entries:
                if (section.name, key) == wanted and value:
                    place = Place(path, line)
    return place


def unit_rules(
    unit: SocketUnit, label: str, report: Report, find_set: FindSet, room: Room
) -> tuple[list[Binding], dict[Place, int]]:
    """The bindings of the unit's [X-Sockreg] sections, for sockets under ``label``.

    The second value says when the rules of a line end, for lines whose rules do.
    """
    labels = {Action.BIND: label, Action.REJECT: unit.name, Action.PASS: unit.name}
    lists = no_rules()
    ends: dict[Place, int] = {}
    expand = partial(expand_specifiers, unit=unit.name)
    for path, section in unit.sections:
        if section.name == RULES_SECTION:
            add_rules(
                section,
                path,
                labels=labels,
                lists=lists,
                report=report,
                ends=ends,
                room=room,
                expand=expand,
                find_set=find_set,
                others=_OTHER_KEYS,
            )
    wrong = label_problem(label)
    if wrong and lists[Action.BIND]:
        text = f"the label {label!r} of {unit.name} {wrong}; set FileDescriptorName="
        report.problems.append(Problem(lists[Action.BIND][0].place, text))
    return [binding for listed in lists.values() for binding in listed], ends


def unit_weight(unit: SocketUnit, report: Report) -> int | None:
    """The weight of the unit's sockets in a pool; None if the files say nothing."""
    return read_weight(unit.sections, _problems(report))


def unit_exact(unit: SocketUnit, report: Report) -> bool:
    """Whether packets are for the unit's sockets without their SO_REUSEPORT groups."""
    return read_exact(unit.sections, _problems(report))


def unit_flows(unit: SocketUnit, report: Report) -> int:
    """How many flows Flows=sticky asks room for; 0 without it."""
    return read_flows(unit.sections, _problems(report))


def unit_drain(unit: SocketUnit, report: Report) -> bool:
    """Whether the unit's sockets get no new flows while they are stalled."""
    return read_drain(unit.sections, _problems(report))


def _problems(report: Report) -> Callable[[str, int, str], None]:
    def problem(path: str, line: int, text: str) -> None:
        report.problems.append(Problem(Place(path, line), text))

    return problem


def _expanded_words(value: str, unit: str) -> list[str]:
    words = []
    for word in value.split():
        try:
            words.append(expand_specifiers(word.strip("\"'"), unit))
        except ValueError:
            continue  # names a unit by something other than this unit's name
    return words

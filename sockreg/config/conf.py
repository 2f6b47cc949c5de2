"""Rules and options in ``/etc/sockreg/*.conf`` and the other conf directories.

All files together are one configuration, read in the order of their names. A file hides files of
the same name in later directories. An empty file or a link to /dev/null only hides. ``[LABEL]``
sections hold rules. ``Bind=`` without a value drops all Bind= lines of the label that were read
before, in any of these files, but not those of .socket units. ``[:registry]`` holds options, and
``[:prefixes]`` sets of prefixes (sets.py), because no label can have these names.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from sockreg import grants, trust
from sockreg.config.parts import NO_FILES, Form, Part
from sockreg.config.report import Kind, Notice, Problem, Report, unreadable
from sockreg.config.rulelines import Room, RuleLists, add_rules, add_section_problems, no_rules
from sockreg.config.sets import SECTION as SETS_SECTION
from sockreg.config.sets import Sets, names_in, state_of, together
from sockreg.model import Action, Place, label_problem
from sockreg.printable import shortened
from sockreg.systemd.keyfile import Section, read_sections, too_large
from sockreg.systemd.unitpaths import winners
from sockreg.systemd.values import boolean
from sockreg.terms import CONF_DIRECTORIES

DIRECTORIES = CONF_DIRECTORIES
OPTIONS_SECTION = ":registry"

_SHOWN = 200  # characters of what is wrong

# Path -> text to read instead of the file's; None for a file that will be removed.
Overlay = Mapping[str, str | None]


@dataclass(frozen=True)
class Options:
    """``[:registry]``.

    Whether packets are counted, and whether rules may take the port that ssh listens on.
    """

    counters: bool = True
    take_ssh: bool = False


# The keys of the section, and what they set.
_OPTIONS = {"Counters": "counters", "TakeSsh": "take_ssh"}


class ConfFile(NamedTuple):
    """A file that wins over others of its name. ``problem`` says why its name is all there is."""

    path: str
    problem: Problem | None = None


def conf_files(root: str, overlay: Overlay, known: Callable[[], Collection[str]]) -> list[ConfFile]:
    """The files that win, in the order in which they are read, with masked ones.

    Of a directory that cannot be read, the files whose paths are ``known`` to have been there count
    as unreadable. If none is known, the directory itself is listed.
    """
    unread: dict[str, Problem] = {}
    listings = []
    for directory in (root.rstrip("/") + directory for directory in DIRECTORIES):
        try:
            names = _listed(root, directory)
        except OSError as error:
            unread[directory] = unreadable(error, directory)
            names = [os.path.basename(p) for p in known() if os.path.dirname(p) == directory]
        listings.append((directory, _with_overlay(directory, names, overlay)))
    found = [ConfFile(path, unread.get(os.path.dirname(path))) for path in winners(listings)]
    named = {file.problem for file in found}
    return [ConfFile(d, problem) for d, problem in unread.items() if problem not in named] + found


@dataclass(frozen=True)
class Sections:
    """The sections of a conf file, with ``files``, its files_state() from before it was read."""

    path: str
    sections: list[Section]
    files: tuple[int, int, int, int]
    report: Report


def read_sections_of_all(
    root: str, overlay: Overlay, known: Callable[[], Collection[str]]
) -> tuple[list[Sections], Sets]:
    """Read all conf files, and the sets in them; ``known`` is as in conf_files()."""
    found = []
    sets = Sets(root)
    for path, problem in conf_files(root, overlay, known):
        report = Report()
        if problem is not None:
            report.problems.append(problem)
            found.append(Sections(path, [], NO_FILES, report))
            continue
        files = state_of(path)
        sections = read_sections(_content(root, path, overlay, report))
        for section in sections:
            if section.name == SETS_SECTION:
                sets.add(section, path, files, report)
        found.append(Sections(path, sections, files, report))
    of = {file.path: file.report for file in found}
    for problem in sets.unknown():
        of[problem.place.path].problems.append(problem)
    return found, sets


def read_conf(files: Iterable[Sections], sets: Sets, room: Room) -> tuple[list[Part], list[Notice]]:
    """The rules and options of all conf files. ``room`` is what units have left."""
    parts, notices = [], []
    for file in files:
        form = _form(file, sets, room)
        state = together(file.files, sets.state()) if _names_sets(file) else file.files
        parts.append(Part(file.path, form, list(dict.fromkeys(file.report.problems)), state))
        notices += file.report.notices
    return parts, notices


def _names_sets(file: Sections) -> bool:
    return names_in(entry.value for section in file.sections for entry in section.entries)


def options_of(given: Iterable[Mapping[str, bool]]) -> Options:
    """The options that these give together: the last value of each counts."""
    settled: dict[str, bool] = {}
    for options in given:
        settled.update(options)
    return replace(Options(), **settled)


def _form(file: Sections, sets: Sets, room: Room) -> Form:
    path, report = file.path, file.report
    lists: dict[str, RuleLists] = defaultdict(no_rules)
    options: dict[str, bool] = {}
    drops: list[tuple[str, Action]] = []
    ends: dict[Place, int] = {}
    for section in file.sections:
        if section.name == SETS_SECTION:
            continue
        if section.name == OPTIONS_SECTION:
            _read_options(section, path, options, report)
        elif _is_label(section, path, report):
            labels = dict.fromkeys(Action, section.name)
            dropped = add_rules(
                section,
                path,
                labels=labels,
                lists=lists[section.name],
                report=report,
                ends=ends,
                room=room,
                find_set=sets.prefixes,
                others=[grants.KEY],
            )
            _check_grants(section, path, report)
            drops += [(section.name, action) for action in dropped]
    bindings = [b for found in lists.values() for listed in found.values() for b in listed]
    return Form(bindings, list(dict.fromkeys(drops)), options, ends=ends)


def _listed(root: str, directory: str) -> list[str]:
    """Names of the conf files in a directory; none if it does not exist. Raises OSError.

    A directory counts if it has the name of a conf file: reading it then says what is wrong.
    """
    if not os.path.lexists(directory):
        return []
    # This also fails for a file, and for a link to nowhere: they are no empty directory.
    names = os.listdir(f"{directory}/.")
    trust.require_directory(root, directory)
    return [name for name in names if name.endswith(".conf") and not name.startswith(".")]


def _with_overlay(directory: str, listed: Iterable[str], overlay: Overlay) -> list[str]:
    names = set(listed)
    for path, text in overlay.items():
        where, name = os.path.split(path)
        if where == directory:
            if text is None:
                names.discard(name)
            else:
                names.add(name)
    return list(names)


def _content(root: str, path: str, overlay: Overlay, report: Report) -> bytes:
    """What the file says; nothing if it is masked."""
    text = overlay.get(path)
    if text is not None:
        return text.encode(errors="surrogateescape")
    try:
        content = trust.read(root, path)
    except OSError as error:
        report.problems.append(unreadable(error, path))
        return b""
    if large := too_large(content):
        report.problems.append(Problem(Place(path, 0), large, Kind.FILE))
    return content


def _is_label(section: Section, path: str, report: Report) -> bool:
    """Whether this section may have rules. If not, reports why."""
    if not section.line:
        add_section_problems(section, path, report)
        return False
    wrong = label_problem(section.name)
    if wrong:
        add_section_problems(section, path, report)
        text = f"section [{section.name}]: the label {wrong}; only [{OPTIONS_SECTION}] and "
        text += f"[{SETS_SECTION}] are no labels"
        report.problems.append(Problem(Place(path, section.line), text))
    return not wrong


def _check_grants(section: Section, path: str, report: Report) -> None:
    """Report wrong grants. The receiver reads them itself, whenever it needs them."""
    for line, _, key, value in section.entries:
        if key == grants.KEY and value:
            try:
                grants.parse(value)
            except ValueError as problem:
                text = f"{key}={shortened(value, _SHOWN)}: {shortened(str(problem), _SHOWN)}"
                report.problems.append(Problem(Place(path, line), text))


def _read_options(section: Section, path: str, options: dict[str, bool], report: Report) -> None:
    add_section_problems(section, path, report)
    for line, _, key, value in section.entries:
        try:
            if key not in _OPTIONS:
                raise ValueError(f"unknown option: {', '.join(f'{k}=' for k in _OPTIONS)} expected")
            name = _OPTIONS[key]
            options[name] = boolean(value) if value else getattr(Options, name)
        except ValueError as problem:
            report.problems.append(Problem(Place(path, line), f"{key}={value}: {problem}"))

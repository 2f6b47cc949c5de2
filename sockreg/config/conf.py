"""Rules and options in ``/etc/sockreg/*.conf`` and the other conf directories.

All files together are one configuration, read in the order of their names. A file hides files of
the same name in later directories. An empty file or a link to /dev/null only hides. ``[LABEL]``
sections hold rules. ``Bind=`` without a value drops all Bind= lines of the label that were read
before, in any of these files, but not those of .socket units. ``[:registry]`` holds options,
because no label can have this name.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sockreg.config.report import Problem, Report, unreadable
from sockreg.config.rulelines import RuleLists, add_rules, add_section_problems, no_rules
from sockreg.model import Action, Binding, Place, label_problem
from sockreg.systemd.keyfile import Section, read_sections
from sockreg.systemd.unitpaths import files_in, has_content, reachable, winners
from sockreg.systemd.values import boolean

DIRECTORIES = ("/etc/sockreg", "/run/sockreg", "/usr/local/lib/sockreg", "/usr/lib/sockreg")
OPTIONS_SECTION = ":registry"

# Path -> text to read instead of the file's; None for a file that will be removed.
Overlay = Mapping[str, str | None]


@dataclass(frozen=True)
class Options:
    """``[:registry]``.

    Whether packets are counted, and whether rules may take the port that ssh listens on.
    """

    counters: bool = True
    take_ssh: bool = False


def conf_files(root: str, overlay: Overlay) -> list[str]:
    """The files in force, in the order in which they are read."""
    directories = [root.rstrip("/") + directory for directory in DIRECTORIES]
    found = winners([(directory, _names(directory, overlay)) for directory in directories])
    return [
        path for path in found if (overlay[path] if path in overlay else has_content(root, path))
    ]


def read_conf(root: str, overlay: Overlay, report: Report) -> tuple[list[Binding], Options]:
    """Read all conf files. Problems go to the report."""
    rules: dict[str, RuleLists] = defaultdict(no_rules)
    options = Options()
    for path in conf_files(root, overlay):
        for section in read_sections(_content(root, path, overlay, report)):
            if section.name == OPTIONS_SECTION:
                options = _read_options(section, path, options, report)
            elif _is_label(section, path, report):
                labels = dict.fromkeys(Action, section.name)
                add_rules(section, path, labels=labels, lists=rules[section.name], report=report)
    bindings = [b for lists in rules.values() for listed in lists.values() for b in listed]
    return bindings, options


def _names(directory: str, overlay: Overlay) -> list[str]:
    names = set(files_in(directory, ".conf"))
    for path, text in overlay.items():
        where, name = os.path.split(path)
        if where == directory:
            if text is None:
                names.discard(name)
            else:
                names.add(name)
    return list(names)


def _content(root: str, path: str, overlay: Overlay, report: Report) -> bytes:
    text = overlay.get(path)
    if text is not None:
        return text.encode(errors="surrogateescape")
    try:
        with open(reachable(root, path), "rb") as file:
            return file.read()
    except OSError as error:
        report.problems.append(unreadable(error, path))
        return b""


def _is_label(section: Section, path: str, report: Report) -> bool:
    """Whether this section may have rules. If not, reports why."""
    if not section.line:
        add_section_problems(section, path, report)
        return False
    wrong = label_problem(section.name)
    if wrong:
        add_section_problems(section, path, report)
        text = f"section [{section.name}]: the label {wrong}; only [{OPTIONS_SECTION}] is no label"
        report.problems.append(Problem(Place(path, section.line), text))
    return not wrong


def _read_options(section: Section, path: str, options: Options, report: Report) -> Options:
    add_section_problems(section, path, report)
    for line, _, key, value in section.entries:
        try:
            options = _with_option(options, key, value)
        except ValueError as problem:
            report.problems.append(Problem(Place(path, line), f"{key}={value}: {problem}"))
    return options


def _with_option(options: Options, key: str, value: str) -> Options:
    if key == "Counters":
        return replace(options, counters=_boolean(value, Options.counters))
    if key == "TakeSsh":
        return replace(options, take_ssh=_boolean(value, Options.take_ssh))
    raise ValueError("unknown option: Counters=, TakeSsh= expected")


def _boolean(value: str, default: bool) -> bool:
    """Empty for the default."""
    return boolean(value) if value else default

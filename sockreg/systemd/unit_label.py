"""The label and the weight that the files of a .socket unit give to its sockets.

Label= in section [X-Sockreg] is only for sockreg. Without it, the label is FileDescriptorName= of
section [Socket], by default the unit's name, as in systemd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sockreg import trust
from sockreg.errors import ConfigError
from sockreg.systemd.keyfile import Section, read_sections, too_large
from sockreg.systemd.specifiers import expand_specifiers
from sockreg.systemd.unitpaths import find_unit
from sockreg.systemd.values import boolean, number
from sockreg.terms import FLOWS_DEFAULT, FLOWS_RANGE, WEIGHT_MAX, label_problem

RULES_SECTION = "X-Sockreg"
LABEL = "Label"
WEIGHT = "Weight"
REUSEPORT = "Reuseport"
FLOWS = "Flows"
DRAIN = "Drain"

Sections = Iterable[tuple[str, Section]]
Tell = Callable[[str, int, str], None]  # path, line, what is wrong


def read_label(unit: str, sections: Sections, problem: Tell, notice: Tell) -> str:
    """The label. ``sections`` are in the order in which systemd applies them, with their paths.

    As in systemd, an invalid FileDescriptorName= is ignored, with a notice. An invalid Label= is a
    problem.
    """
    name, own = unit, ""
    for path, section in sections:
        for line, _, key, value in section.entries:
            for_systemd = (section.name, key) == ("Socket", "FileDescriptorName")
            if not for_systemd and (section.name, key) != (RULES_SECTION, LABEL):
                continue
            try:
                given = expand_specifiers(value, unit)
            except ValueError as wrong:
                problem(path, line, f"{key}={value}: {wrong}")
                continue
            defect = label_problem(given) if given else ""
            if defect and for_systemd:
                notice(path, line, f"systemd ignores {key}={value}: the name {defect}")
            elif defect:
                problem(path, line, f"{key}={value}: the label {defect}")
            elif for_systemd:
                name = given or unit
            else:
                own = given
    return own or name


def read_weight(sections: Sections, problem: Tell) -> int | None:
    """``Weight=`` of the unit's sockets in a pool, 0 to 65535; None if the files say nothing."""
    weight: int | None = None
    for path, section in sections:
        if section.name == RULES_SECTION:
            for line, _, key, value in section.entries:
                if key != WEIGHT:
                    continue
                try:
                    weight = number(value, range(WEIGHT_MAX + 1)) if value else None
                except ValueError as wrong:
                    problem(path, line, f"{key}={value}: {wrong}")
    return weight


def read_exact(sections: Sections, problem: Tell) -> bool:
    """Whether the files say ``Reuseport=no``: no packet is for their SO_REUSEPORT groups."""
    exact = False
    for path, section in sections:
        if section.name == RULES_SECTION:
            for line, _, key, value in section.entries:
                if key != REUSEPORT:
                    continue
                try:
                    exact = not boolean(value) if value else False
                except ValueError as wrong:
                    problem(path, line, f"{key}={value}: {wrong}")
    return exact


def read_flows(sections: Sections, problem: Tell) -> int:
    """How many flows to make room for: ``Flows=sticky`` or ``Flows=sticky 262144``.

    0 if the files say nothing, or ``Flows=hash``.
    """
    flows = 0
    for path, section in sections:
        if section.name == RULES_SECTION:
            for line, _, key, value in section.entries:
                if key != FLOWS:
                    continue
                kind, _, count = value.partition(" ")
                try:
                    if kind not in ("", "hash", "sticky") or (count and kind != "sticky"):
                        raise ValueError("expected sticky, sticky NUMBER or hash")
                    flows = 0
                    if kind == "sticky":
                        flows = number(count.strip(), FLOWS_RANGE) if count else FLOWS_DEFAULT
                except ValueError as wrong:
                    problem(path, line, f"{key}={value}: {wrong}")
    return flows


def read_drain(sections: Sections, problem: Tell) -> bool:
    """Whether the files say ``Drain=stalled``; the other value is ``never``."""
    drain = False
    for path, section in sections:
        if section.name == RULES_SECTION:
            for line, _, key, value in section.entries:
                if key == DRAIN:
                    drain = value == "stalled"
                    if value not in ("", "never", "stalled"):
                        problem(path, line, f"{key}={value}: expected stalled or never")
    return drain


def of_files(root: str, unit: str) -> tuple[str, str, int | None, bool, int] | None:
    """The unit's own name, and the label, the weight, read_exact() and read_flows() in its files.
    None if it has no files.

    Raises ConfigError for the first line that is wrong.
    """
    name, paths = find_unit(root, unit)
    if not paths:
        return None
    sections: list[tuple[str, Section]] = []
    for path in paths:
        try:
            content = trust.read(root, path)
        except trust.UntrustedError as error:
            raise ConfigError(
                f"{path}: is not trusted: {error.filename} {error.strerror}",
                "correct it and start the unit again",
            ) from None
        if large := too_large(content):
            _refuse(path, 0, large)
        sections += [(path, section) for section in read_sections(content)]
    label = read_label(name, sections, _refuse, _ignore)
    return (
        name,
        label,
        read_weight(sections, _refuse),
        read_exact(sections, _refuse),
        read_flows(sections, _refuse),
    )


def _refuse(path: str, line: int, text: str) -> None:
    where = f"{path}:{line}" if line else path
    raise ConfigError(f"{where}: {text}", "correct it and start the unit again")


def _ignore(path: str, line: int, text: str) -> None:
    """The loader tells, when it reads the rules of the unit."""

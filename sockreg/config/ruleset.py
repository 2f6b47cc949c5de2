"""The configured rule set: the rules of all files, checked as a whole."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from sockreg import garbage
from sockreg.config.conf import Options, Overlay, read_conf
from sockreg.config.counted import counted_units
from sockreg.config.report import Kind, Notice, Problem, Report
from sockreg.config.socketunit import unit_label, unit_rules, unit_weight
from sockreg.errors import failure
from sockreg.model import Action, Binding
from sockreg.rules.precedence import Tie, settle
from sockreg.rules.syntax import format_line


class UnitFiles(NamedTuple):
    """A unit that counts: its label, its files, their files_state() when read, and its weight."""

    label: str
    paths: list[str]
    state: tuple[int, int, int, int]
    weight: int


@dataclass(frozen=True, kw_only=True)
class RuleSet:
    """``bindings`` has no ties and no repetitions. ``units`` are all units that count."""

    bindings: list[Binding]
    notices: list[Notice]
    units: dict[str, UnitFiles]
    options: Options


def read_rule_set(
    root: str = "/", active: Collection[str] = (), overlay: Overlay | None = None
) -> RuleSet:
    """Read units and conf files below ``root``.

    ``active`` names .socket units that count although they are not enabled. ``overlay`` has the
    text of conf files that are not written yet, or None for a file that will be removed. Raises
    ConfigError with all problems of all files in one message, one per line; AccessError or
    SockregError if a directory cannot be read.
    """
    rules, report = examine_rule_set(root, active, overlay)
    report.refuse_problems()
    return rules


def examine_rule_set(
    root: str = "/", active: Collection[str] = (), overlay: Overlay | None = None
) -> tuple[RuleSet, Report]:
    """Like read_rule_set(), but problems are in the report.

    The rule set then has the bindings of all correct lines, including ties.
    """
    try:
        with garbage.paused():
            return _read(root, active, overlay or {})
    except OSError as error:
        raise failure(error, f"{error.filename}: cannot be read: {error.strerror}") from error


def _read(root: str, active: Collection[str], overlay: Overlay) -> tuple[RuleSet, Report]:
    report = Report()
    bindings: list[Binding] = []
    units: dict[str, UnitFiles] = {}
    for name, unit in counted_units(root, active, report).items():
        label = unit_label(unit, report)
        bindings += unit_rules(unit, label, report)
        units[name] = UnitFiles(label, unit.paths, unit.state, unit_weight(unit, report))
    from_conf, options = read_conf(root, overlay, report)
    bindings += from_conf
    kept, ties = settle(bindings)
    report.problems.extend(_tie_problem(tie) for tie in ties)
    notices = list(dict.fromkeys(report.notices))
    return RuleSet(bindings=kept, notices=notices, units=units, options=options), report


def _tie_problem(tie: Tie) -> Problem:
    earlier, later = tie
    text = f"{_rule(later)} ties with {_rule(earlier)} of {earlier.place}"
    return Problem(later.place, text, Kind.TIE)


def _rule(binding: Binding) -> str:
    text = format_line(binding)
    return f"{text} ({binding.label})" if binding.action is Action.BIND else text

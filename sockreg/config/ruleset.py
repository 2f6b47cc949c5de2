"""The configured rule set: the rules of all files, checked as a whole."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sockreg import garbage
from sockreg.config.conf import Options, Overlay, read_conf
from sockreg.config.counted import counted_units
from sockreg.config.report import Kind, Notice, Problem, Report
from sockreg.config.socketunit import SocketUnit, label_place, unit_label, unit_rules, unit_weight
from sockreg.errors import RefusedError, failure
from sockreg.model import Action, Binding, Place
from sockreg.rules.precedence import Tie, settle
from sockreg.rules.syntax import format_line
from sockreg.sharing import may_share, refusal
from sockreg.terms import DEFAULT_WEIGHT


class UnitFiles(NamedTuple):
    """A unit that counts: its label, its files, their files_state() when read, and its weight.

    ``place`` is where its files say the label. ``weight_said`` is whether they say the weight.
    """

    label: str
    place: Place
    paths: list[str]
    state: tuple[int, int, int, int]
    weight: int
    weight_said: bool


@dataclass(frozen=True, kw_only=True)
class RuleSet:
    """``bindings`` has no ties and no repetitions. ``units`` are all units that count."""

    bindings: list[Binding]
    notices: list[Notice]
    units: dict[str, UnitFiles]
    options: Options


def read_rule_set(
    root: str = "/",
    active: Collection[str] = (),
    overlay: Overlay | None = None,
    *,
    first: Collection[str] = (),
) -> RuleSet:
    """Read units and conf files below ``root``.

    ``active`` names .socket units that count although they are not enabled. ``overlay`` has the
    text of conf files that are not written yet, or None for a file that will be removed. ``first``
    names the units that keep their label if others have the same one. Raises
    ConfigError with all problems of all files in one message, one per line; AccessError or
    SockregError if a directory cannot be read.
    """
    rules, report = examine_rule_set(root, active, overlay, first=first)
    report.refuse_problems()
    return rules


def examine_rule_set(
    root: str = "/",
    active: Collection[str] = (),
    overlay: Overlay | None = None,
    *,
    first: Collection[str] = (),
) -> tuple[RuleSet, Report]:
    """Like read_rule_set(), but problems are in the report.

    The rule set then has the bindings of all correct lines, including ties.
    """
    try:
        with garbage.paused():
            return _read(root, active, overlay or {}, first)
    except OSError as error:
        raise failure(error, f"{error.filename}: cannot be read: {error.strerror}") from error


def _read(
    root: str, active: Collection[str], overlay: Overlay, first: Collection[str]
) -> tuple[RuleSet, Report]:
    report = Report()
    bindings: list[Binding] = []
    units: dict[str, UnitFiles] = {}
    for name, unit in counted_units(root, active, report).items():
        label = unit_label(unit, report)
        bindings += unit_rules(unit, label, report)
        units[name] = _unit_files(unit, label, report)
    from_conf, options = read_conf(root, overlay, report)
    bindings += from_conf
    kept, ties = settle(bindings)
    report.problems.extend(_tie_problem(tie) for tie in ties)
    report.problems.extend(_label_problem(units, *pair) for pair in same_labels(units, first))
    notices = list(dict.fromkeys(report.notices))
    return RuleSet(bindings=kept, notices=notices, units=units, options=options), report


def read_units(root: str, active: Collection[str]) -> dict[str, UnitFiles]:
    """The units that count, without their rules. ``active`` is as in read_rule_set().

    What is wrong in their files is left to read_rule_set().
    """
    report = Report()
    return {
        name: _unit_files(unit, unit_label(unit, report), report)
        for name, unit in counted_units(root, active, report).items()
    }


def _unit_files(unit: SocketUnit, label: str, report: Report) -> UnitFiles:
    weight = unit_weight(unit, report)
    return UnitFiles(
        label=label,
        place=label_place(unit),
        paths=unit.paths,
        state=unit.state,
        weight=DEFAULT_WEIGHT if weight is None else weight,
        weight_said=weight is not None,
    )


def same_labels(
    units: Mapping[str, UnitFiles], first: Collection[str]
) -> Iterator[tuple[str, str]]:
    """(unit, the one before it) of units that have one label and do not share it.

    Units in ``first`` come first, and otherwise their names decide.
    """
    holders: dict[str, list[str]] = {}
    for name in sorted(units, key=lambda name: (name not in first, name)):
        unit = units[name]
        before = holders.setdefault(unit.label, [])
        for other in before:
            if not may_share(name, unit.weight_said, other, units[other].weight_said):
                yield name, other
                break
        else:
            before.append(name)


def _label_problem(units: Mapping[str, UnitFiles], name: str, holder: str) -> Problem:
    text = label_refusal(units, name, holder).line
    return Problem(units[name].place, text, Kind.LABEL)


def label_refusal(units: Mapping[str, UnitFiles], name: str, holder: str) -> RefusedError:
    """That a unit does not get its label, which ``holder`` has."""
    return refusal(units[name].label, name, holder, str(units[holder].place))


def _tie_problem(tie: Tie) -> Problem:
    earlier, later = tie
    text = f"{_rule(later)} ties with {_rule(earlier)} of {earlier.place}"
    return Problem(later.place, text, Kind.TIE)


def _rule(binding: Binding) -> str:
    text = format_line(binding)
    return f"{text} ({binding.label})" if binding.action is Action.BIND else text

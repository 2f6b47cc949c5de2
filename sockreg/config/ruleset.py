"""The configured rule set: the rules of all parts, checked as a whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

from sockreg import garbage
from sockreg.config.conf import Options, Overlay, options_of, read_conf, read_sections_of_all
from sockreg.config.counted import counted_units
from sockreg.config.listens import ports_of, read_listens, settle_unit
from sockreg.config.networks import elsewhere
from sockreg.config.parts import (
    NO_FILES,
    Earlier,
    Fault,
    Form,
    Part,
    Selection,
    Wrong,
    tie_problem,
    written_bindings,
)
from sockreg.config.report import Kind, Notice, Problem, Report
from sockreg.config.rulelines import Room
from sockreg.config.same_label import UnitFiles as UnitFiles
from sockreg.config.same_label import label_refusal as label_refusal
from sockreg.config.same_label import same_label_problem
from sockreg.config.same_label import same_labels as same_labels
from sockreg.config.sets import Sets, names_in, together
from sockreg.config.socketunit import (
    SocketUnit,
    label_place,
    unit_drain,
    unit_exact,
    unit_flows,
    unit_label,
    unit_rules,
    unit_weight,
)
from sockreg.config.unit import Setting, Unit
from sockreg.errors import failure
from sockreg.model import Binding, LeftOut, Place
from sockreg.rules.ending import Ends
from sockreg.rules.listener import (
    NO_LISTENERS,
    Listening,
    Ports,
    Unclear,
    only_ports,
    settle_listeners,
)
from sockreg.rules.precedence import settle
from sockreg.rules.syntax import format_line
from sockreg.terms import DEFAULT_WEIGHT


@dataclass(frozen=True, kw_only=True)
class RuleSet:
    """``bindings`` has no ties and no repetitions. ``units`` are all units that count. ``unused``
    are the sets that nothing names, with their first lines, of examine_rule_set() only.

    ``selection`` says which parts the bindings are from.
    """

    bindings: list[Binding]
    notices: list[Notice]
    units: dict[str, UnitFiles]
    options: Options
    unused: Mapping[str, Place] = field(default_factory=dict, compare=False)
    selection: Selection = field(default_factory=lambda: Selection((), dict), compare=False)

    @cached_property
    def left_out(self) -> list[LeftOut]:
        """The parts that are not in force as they are written."""
        return self.selection.left_out

    @property
    def wrong(self) -> dict[str, Wrong]:
        """The same, with what they conflict with."""
        return self.selection.wrong

    @property
    def ends(self) -> Ends:
        """When rules end, by their place, for those that do."""
        return self.selection.ends

    def without(self, faults: Iterable[Fault]) -> RuleSet:
        """The same, but for parts that something else found wrong.

        They give way to their earlier form, if they have one that does not count already.
        """
        return _of(self.selection.without(faults), self.notices)

    def fault(self, binding: Binding, text: str) -> Fault:
        """That a binding of this rule set is wrong."""
        return Fault(self.selection.owner(binding), Problem(binding.place, text, Kind.FIT))

    def whole_fault(self, part: str, text: str) -> Fault:
        """That a part is wrong as a whole."""
        return Fault(part, Problem(self.selection.place_of(part), text, Kind.FIT))

    def label_fault(self, unit: str, text: str) -> Fault:
        """That a unit does not get its label: others have sockets under it."""
        return Fault(unit, Problem(self.units[unit].place, text, Kind.LABEL))


def read_rule_set(
    root: str = "/",
    active: Collection[str] = (),
    overlay: Overlay | None = None,
    *,
    first: Collection[str] = (),
    live: Listening = NO_LISTENERS,
) -> RuleSet:
    """Read units and conf files below ``root``.

    ``active`` names .socket units that count although they are not enabled. ``overlay`` has the
    text of conf files that are not written yet, or None for a file that will be removed. ``first``
    names the units that keep their label if others have the same one. ``live`` are the listeners of
    units that have several in the registry. Raises
    ConfigError with all problems of all files in one message, one per line.
    """
    rules, report = examine_rule_set(root, active, overlay, first=first, live=live)
    report.refuse_problems()
    return rules


def examine_rule_set(
    root: str = "/",
    active: Collection[str] = (),
    overlay: Overlay | None = None,
    *,
    first: Collection[str] = (),
    live: Listening = NO_LISTENERS,
) -> tuple[RuleSet, Report]:
    """Like read_rule_set(), but problems are in the report.

    The rule set then has the bindings of all correct lines, including ties.
    """
    with _reading():
        parts, notices, sets = _read(root, active, overlay or {}, list, live)
        kept, ties = settle(written_bindings(parts))
    units = {part.name: part.unit for part in parts if part.unit is not None}
    problems = [problem for part in parts for problem in part.problems]
    problems += [tie_problem(winner, loser) for winner, loser in ties]
    problems += [same_label_problem(units, *pair) for pair in same_labels(units, first)]
    rules = RuleSet(
        bindings=kept,
        notices=notices,
        units=units,
        options=options_of(part.form.options for part in parts),
        unused={name: sets.places[name] for name in sets.unused()},
    )
    return rules, Report(problems, notices)


def read_sound(
    root: str,
    active: Collection[str],
    overlay: Overlay,
    earlier: Callable[[], Earlier],
    *,
    first: Collection[str] = (),
    live: Listening = NO_LISTENERS,
) -> RuleSet:
    """Like read_rule_set(), but a problem only costs its own part; see config/parts.py.

    ``earlier`` returns what was last in force. It is only called if something is wrong.
    """
    with _reading():
        parts, notices, _ = _read(root, active, overlay, lambda: list(earlier()), live)
        return _of(Selection(parts, earlier, first), notices)


def read_units(root: str, active: Collection[str]) -> dict[str, UnitFiles]:
    """The units that count, without their rules. ``active`` is as in read_rule_set().

    What is wrong in their files is left to read_rule_set().
    """
    report = Report()
    return {
        name: _unit_files(unit, unit_label(unit, report), report)
        for name, unit in counted_units(root, active).units.items()
    }


@contextmanager
def _reading() -> Iterator[None]:
    """Raises AccessError or SockregError for an OSError in this block."""
    try:
        with garbage.paused():
            yield
    except OSError as error:
        raise failure(error, f"{error.filename}: cannot be read: {error.strerror}") from error


def _of(selection: Selection, notices: list[Notice]) -> RuleSet:
    return RuleSet(
        bindings=selection.bindings,
        notices=notices,
        units=selection.units,
        options=options_of(form.options for form in selection.forms.values()),
        selection=selection,
    )


def _read(
    root: str,
    active: Collection[str],
    overlay: Overlay,
    known: Callable[[], Collection[str]],
    live: Listening,
) -> tuple[list[Part], list[Notice], Sets]:
    """All parts in the order in which they are read, and the sets of prefixes.

    ``known`` are the parts that were in force.
    """
    counted = counted_units(root, active)
    notices = list(counted.notices)
    conf, sets = read_sections_of_all(root, overlay, known)
    parts, room = [], Room()
    for unit in counted.units.values():
        report = Report()
        parts.append(_unit_part(root, unit, report, sets, room))
        notices += report.notices
    parts += [_unread_part(name, *unread) for name, unread in counted.unread.items()]
    for problem in counted.directories:
        there = {part.name for part in parts}
        units = [name for name in known() if "/" not in name and name not in there]
        unread = [_unread_part(name, problem) for name in units]
        parts += unread or [Part(problem.place.path, Form(), [problem])]
    parts.sort(key=lambda part: part.name)
    from_conf, of_conf = read_conf(conf, sets, room)
    files = {part.name: part.unit for part in parts if part.unit is not None}
    from_conf, unclear = _with_listeners(from_conf, configured(files), live)
    return parts + from_conf, list(dict.fromkeys(notices + of_conf + unclear)), sets


def _with_listeners(
    parts: list[Part], of_units: Listening, live: Listening
) -> tuple[list[Part], list[Notice]]:
    """Conf files with the listeners that their rules mean, and notices of those that mean none."""
    settled: list[Part] = []
    notices: list[Notice] = []
    for part in parts:
        bindings, unclear = settle_listeners(part.form.bindings, of_units, live)
        settled.append(replace(part, form=replace(part.form, bindings=bindings)))
        notices += map(_unclear_notice, unclear)
    return settled, notices


def _unclear_notice(unclear: Unclear) -> Notice:
    """That a rule of a conf file does not say which listener it means."""
    binding = unclear.binding
    then = "left to ordinary lookup" if binding.missing_pass else "refused"
    text = f"{format_line(binding)} ({binding.label}): {unclear}; its packets are {then}"
    return Notice(binding.place, text)


def configured(units: Mapping[str, UnitFiles]) -> Listening:
    """The listeners of all units that count, by their files."""
    found: dict[tuple[str, int, int], dict[str, Ports]] = {}
    for name, unit in units.items():
        for (family, protocol), ports in unit.ports.items():
            found.setdefault((unit.label, family, protocol), {})[name] = ports
    return found


def _unit_part(root: str, unit: SocketUnit, report: Report, sets: Sets, room: Room) -> Part:
    label = unit_label(unit, report)
    files = _unit_files(unit, label, report)
    report.problems.extend(unit.problems)
    rules, ends = unit_rules(unit, label, report, sets.prefixes, room)
    away = elsewhere(root, Unit(unit.name, unit.paths, unit.sections))
    if away and rules:
        report.problems.append(_elsewhere_problem(unit.name, *away))
    form = Form(
        settle_unit(unit.name, rules, files.ports, report),
        label=label,
        weight=files.weight,
        weight_said=files.weight_said,
        ports=only_ports(files.ports),
        ends=ends,
    )
    state = unit.state
    values = (it.value for _, section in unit.sections for it in section.entries)
    if names_in(values):
        state = together(state, sets.state())
    return Part(unit.name, form, list(dict.fromkeys(report.problems)), state, files)


def _elsewhere_problem(unit: str, key: str, setting: Setting) -> Problem:
    text = (
        f"{key}={setting.value}: {unit} listens in another network namespace, where the rules of "
        "this one do not apply"
    )
    return Problem(setting.place, text, Kind.NETWORK)


def _unit_files(unit: SocketUnit, label: str, report: Report) -> UnitFiles:
    weight = unit_weight(unit, report)
    return UnitFiles(
        label=label,
        place=label_place(unit),
        paths=unit.paths,
        state=unit.state,
        weight=DEFAULT_WEIGHT if weight is None else weight,
        weight_said=weight is not None,
        ports=ports_of(read_listens(unit.name, unit.sections)),
        exact=unit_exact(unit, report),
        flows=unit_flows(unit, report),
        drain=unit_drain(unit, report),
    )


def _unread_part(name: str, problem: Problem, state: tuple[int, int, int, int] = NO_FILES) -> Part:
    files = UnitFiles(name, Place(name, 0), [], state, DEFAULT_WEIGHT, weight_said=False, ports={})
    return Part(name, Form(label=name), [problem], state, files)

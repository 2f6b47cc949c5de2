"""The parts of the configuration: each conf file, and each unit with its drop-ins.

A fault only costs its own part. A part that is wrong gives way to its earlier form, which is what
it said when it was last in force. If there is none, or if that does not go with the parts that are
sound, the part is left out.

Of two parts that tie, a sound one comes before the earlier form of a wrong one. Then the one whose
rule was in force last keeps it, then the one that is read first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import NamedTuple

from sockreg.config.report import Kind, Problem
from sockreg.config.same_label import UnitFiles, same_label_problem, same_labels
from sockreg.model import UNTIL_THEN, WHICH_LISTENER, Action, Binding, LeftOut, Place
from sockreg.rules.ending import Ends, ends_of, without_outlived
from sockreg.rules.listener import as_before, meant
from sockreg.rules.precedence import Tie, settle
from sockreg.rules.syntax import format_line
from sockreg.terms import DEFAULT_WEIGHT, ONLY

NO_FILES = (0, 0, 0, 0)  # files_state() of nothing


@dataclass(frozen=True)
class Form:
    """What a part says, now or when it was last in force.

    ``drops`` are (label, action) of the rules in earlier conf files that this file drops.
    ``options`` has the fields of Options that it sets. The rest is about units; the label of a file
    is empty. ``ports`` are those of only_ports() in rules/listener.py. ``ends`` says when the rules
    of a line end, for lines whose rules do.
    """

    bindings: list[Binding] = field(default_factory=list)
    drops: list[tuple[str, Action]] = field(default_factory=list)
    options: Mapping[str, bool] = field(default_factory=dict)
    label: str = ""
    weight: int = DEFAULT_WEIGHT
    weight_said: bool = False
    ports: Mapping[tuple[int, int], int] = field(default_factory=dict)
    ends: Ends = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A part as it is written. ``name`` is that of the unit, or the path of the file.

    ``problems`` are those that can be seen without the other parts. ``files`` is files_state() of
    its files, from before they were read. ``unit`` is None for a file.
    """

    name: str
    form: Form
    problems: list[Problem]
    files: tuple[int, int, int, int] = NO_FILES
    unit: UnitFiles | None = None


# What was last in force, by the name of its part.
Earlier = Mapping[str, Form]


class Fault(NamedTuple):
    """A problem of a part that only shows beside the others.

    ``rival`` is the other part that is involved, if there is one. The fault is gone when either is.
    """

    part: str
    problem: Problem
    rival: str | None = None


class Wrong(NamedTuple):
    """Why a part is not in force as it is written, and the parts that it conflicts with."""

    problems: list[Problem]
    rivals: set[str]


class _Stage(Enum):
    """Which form of a part counts; each gives way to the next."""

    WRITTEN = auto()
    EARLIER = auto()
    NONE = auto()


class Selection:
    """Which form of each part counts.

    ``earlier`` is only called if something is wrong. ``first`` names the units that keep their
    label if others have the same one. ``wrong`` has the parts that do not count as they are
    written. ``bindings`` are those of the forms that count, without ties and repetitions.
    """

    def __init__(
        self, parts: Sequence[Part], earlier: Callable[[], Earlier], first: Collection[str] = ()
    ) -> None:
        self._parts = {part.name: part for part in parts}
        self._earlier = earlier
        self._first = first
        self._stages = dict.fromkeys(self._parts, _Stage.WRITTEN)
        self._known: set[tuple[object, ...]] | None = None
        self._given: list[tuple[str, list[Binding]]] = []
        self._owners: dict[int, str] | None = None
        self._before: dict[str, Form] = {}
        self.wrong: dict[str, Wrong] = {}
        self.bindings: list[Binding] = []
        for part in parts:
            if part.problems:
                self._demote(part.name, part.problems)
        self._settle()

    @property
    def forms(self) -> dict[str, Form]:
        """The form of each part that counts, in the order in which they are read."""
        return {name: form for name in self._parts if (form := self._form(name)) is not None}

    @property
    def units(self) -> dict[str, UnitFiles]:
        """All units among the parts. Those that are left out count, but have no rules.

        Those that are left out because of their label do not count: others have it.
        """
        found = {}
        for name, part in self._parts.items():
            unit, form = part.unit, self._form(name)
            if unit is not None and (form is not None or not self._lost_label(name)):
                if form is not None and self._stages[name] is _Stage.EARLIER:
                    unit = unit._replace(
                        label=form.label, weight=form.weight, weight_said=form.weight_said
                    )
                found[name] = unit
        return found

    @property
    def ends(self) -> Ends:
        """When the bindings end, by their place, for those that do."""
        ends = self._all_ends()
        return ends_of(self.bindings, ends)

    @property
    def counts(self) -> list[int]:
        """How many of the bindings are from each of the forms, in their order."""
        counts, at = [], 0
        for _, bindings in self._given:
            start = at
            for binding in bindings:
                if at < len(self.bindings) and self.bindings[at] is binding:
                    at += 1
            counts.append(at - start)
        return counts

    @property
    def left_out(self) -> list[LeftOut]:
        """The parts that do not count as they are written, for people to see."""
        return [
            LeftOut(
                name,
                tuple(
                    (str(p.place), p.text + self._led(name, p))
                    for p in dict.fromkeys(self.wrong[name].problems)
                ),
                self._stages[name] is _Stage.EARLIER,
                self._parts[name].files,
            )
            for name in self._parts
            if name in self.wrong
        ]

    def without(self, faults: Iterable[Fault]) -> Selection:
        """The same, but for the parts of these faults, which give way to their next form."""
        other = object.__new__(Selection)
        vars(other).update(vars(self))
        other._stages = dict(self._stages)
        other.wrong = dict(self.wrong)
        gone: set[str] = set()
        for part, problem, rival in faults:
            other._demote(part, [problem], [] if rival is None else [rival], again=part in gone)
            gone.add(part)
        other._settle()
        return other

    def owner(self, binding: Binding) -> str:
        """The part that a binding is from: this very one, since units may share a file."""
        if self._owners is None:
            self._owners = {id(b): name for name, found in self._given for b in found}
        return self._owners[id(binding)]

    def ranked(self) -> list[str]:
        """The parts that have rules: those with rules that were in force last, then small ones."""
        ranks = {
            name: (not all(map(self._was_in_force, self._rules_of(name))), count)
            for name, count in zip(self.forms, self.counts, strict=True)
            if count
        }
        return sorted(ranks, key=ranks.__getitem__)

    def place_of(self, name: str) -> Place:
        """A place that stands for the whole part: a file."""
        return Place(next((b.place.path for b in self._rules_of(name)), name), 0)

    def files_of(self, name: str) -> tuple[int, int, int, int]:
        """files_state() of the part's files."""
        return self._parts[name].files

    def _rules_of(self, name: str) -> list[Binding]:
        form = self._form(name)
        return form.bindings if form else []

    def _form(self, name: str) -> Form | None:
        stage = self._stages[name]
        if stage is _Stage.WRITTEN:
            return self._parts[name].form
        return self._form_before(name) if stage is _Stage.EARLIER else None

    def _form_before(self, name: str) -> Form:
        """The earlier form of a part, whose rules lead where they did beside new listeners, too."""
        if name not in self._before:
            form, unit = self._earlier()[name], self._parts[name].unit
            if unit is not None:
                rules = [as_before(b, form.ports, unit.ports) for b in form.bindings]
                form = replace(form, bindings=rules)
            self._before[name] = form
        return self._before[name]

    def _led(self, name: str, problem: Problem) -> str:
        """What a problem of listeners does not change for now."""
        if self._stages[name] is not _Stage.EARLIER or WHICH_LISTENER not in problem.text:
            return ""
        unit, rules = self._parts[name].unit, self._form_before(name).bindings
        if unit is None or any(
            b.listener == ONLY and meant(b, [there]) != ONLY
            for b in rules
            if b.action is Action.BIND and (there := unit.ports.get((b.family, b.protocol)))
        ):
            return ""
        ports = sorted({b.listener for b in rules if b.listener != ONLY})
        return f"; {UNTIL_THEN} {' and '.join(map(str, ports))}, as before"

    def _demote(
        self,
        name: str,
        problems: Iterable[Problem],
        rivals: Iterable[str] = (),
        *,
        again: bool = False,
    ) -> None:
        """Add problems, and let the part give way to its next form, unless ``again`` it did."""
        before = self.wrong.get(name, Wrong([], set()))
        self.wrong[name] = Wrong([*before.problems, *problems], before.rivals.union(rivals))
        if not again:
            has_earlier = self._stages[name] is _Stage.WRITTEN and name in self._earlier()
            self._stages[name] = _Stage.EARLIER if has_earlier else _Stage.NONE

    def _settle(self) -> None:
        """Demote parts until the rest goes together, then let those back that lost to losers."""
        while faults := self._faults():
            demoted: set[str] = set()
            for part, problem, rival in faults:
                if demoted & {part, rival}:
                    continue  # may be gone by now
                demoted.add(part)
                # Of the earlier form of a part, only its own fault is of interest.
                is_written = self._stages[part] is _Stage.WRITTEN
                self._demote(
                    part,
                    [problem] if is_written else [],
                    set() if rival is None else {rival} - {part},
                )
        self._readmit()

    def _readmit(self) -> None:
        for name, (problems, rivals) in list(self.wrong.items()):
            is_written = [self._stages[rival] is _Stage.WRITTEN for rival in rivals]
            if self._parts[name].problems or not is_written or all(is_written):
                continue
            stage = self._stages[name]
            self._stages[name] = _Stage.WRITTEN
            del self.wrong[name]
            if self._faults():
                self._stages[name] = stage
                self.wrong[name] = Wrong(problems, rivals)
                self._faults()

    def _faults(self) -> list[Fault]:
        """The faults of the forms that count. Sets the bindings."""
        self._given = _given(self.forms)
        self._owners = None
        given = [binding for _, bindings in self._given for binding in bindings]
        if ends := self._all_ends():
            given = without_outlived(given, ends)
        self.bindings, ties = settle(given)
        return [self._tie_fault(tie) for tie in ties] + self._label_faults()

    def _all_ends(self) -> dict[Place, int]:
        return {place: end for form in self.forms.values() for place, end in form.ends.items()}

    def _tie_fault(self, tie: Tie) -> Fault:
        winner, loser = tie
        written = [self._stages[self.owner(b)] is _Stage.WRITTEN for b in tie]
        if written == [False, True] or (
            written == [True, True] and self._was_in_force(loser) and not self._was_in_force(winner)
        ):
            winner, loser = loser, winner
        return Fault(self.owner(loser), tie_problem(winner, loser), self.owner(winner))

    def _label_faults(self) -> list[Fault]:
        """Of units that count for nothing more, it is their own companion that is refused."""
        units = self.units
        if not any(self._rivals(units, self._first)):
            return []
        earlier = self._earlier()
        # What counts is who had this label, not another one.
        first = {name for name, unit in units.items() if name in earlier or name in self._first}
        first -= {
            name for name in first if name in earlier and earlier[name].label != units[name].label
        }
        return [
            Fault(unit, same_label_problem(units, unit, holder), holder)
            for unit, holder in self._rivals(units, first)
        ]

    def _rivals(
        self, units: Mapping[str, UnitFiles], first: Collection[str]
    ) -> list[tuple[str, str]]:
        return [
            (unit, holder)
            for unit, holder in same_labels(units, first)
            if self._stages[unit] is not _Stage.NONE
        ]

    def _lost_label(self, name: str) -> bool:
        return any(problem.kind is Kind.LABEL for problem in self.wrong[name].problems)

    def _was_in_force(self, binding: Binding) -> bool:
        if self._known is None:
            earlier = self._earlier()
            forms = [
                *earlier.values(),
                *map(self._form_before, earlier.keys() & self._parts.keys()),
            ]
            self._known = {_placeless(b) for form in forms for b in form.bindings}
        return _placeless(binding) in self._known


def _placeless(binding: Binding) -> tuple[object, ...]:
    """A binding, whatever its place."""
    return (*binding[:-2], binding.listener)


def tie_problem(winner: Binding, loser: Binding) -> Problem:
    """``Bind=tcp ::1 80 (b) ties with Bind=tcp ::1 80 (a) of /etc/sockreg/a.conf:2``."""
    text = f"{_rule(loser)} ties with {_rule(winner)} of {winner.place}"
    return Problem(loser.place, text, Kind.TIE)


def written_bindings(parts: Iterable[Part]) -> list[Binding]:
    """The bindings of all correct lines, with ties and repetitions."""
    given = _given({part.name: part.form for part in parts})
    return [binding for _, bindings in given for binding in bindings]


def _given(forms: Mapping[str, Form]) -> list[tuple[str, list[Binding]]]:
    """The rules of each form that no later file drops."""
    given: list[tuple[str, list[Binding]]] = []
    conf: list[int] = []
    for name, form in forms.items():
        if form.drops:
            drops = set(form.drops)
            for at in conf:
                earlier, bindings = given[at]
                kept = [b for b in bindings if (b.label, b.action) not in drops]
                given[at] = earlier, kept
        if not form.label:
            conf.append(len(given))
        given.append((name, form.bindings))
    return given


def _rule(binding: Binding) -> str:
    text = format_line(binding)
    return f"{text} ({binding.label})" if binding.action is Action.BIND else text

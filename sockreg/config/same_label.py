"""Units that have one label, and do not share it on purpose."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from sockreg.config.report import Kind, Problem
from sockreg.errors import RefusedError
from sockreg.model import Place
from sockreg.rules.listener import Ports
from sockreg.sharing import may_share, refusal


class UnitFiles(NamedTuple):
    """A unit that counts: its label, its files, their files_state() when read, and its weight.

    ``place`` is where its files say the label. ``weight_said`` is whether they say the weight.
    ``ports`` are those of its listeners, by family and protocol. ``exact`` is whether its files say
    Reuseport=no. ``flows`` is how many flows Flows=sticky asks for, or 0.
    ``drain`` is whether they say Drain=stalled.
    """

    label: str
    place: Place
    paths: list[str]
    state: tuple[int, int, int, int]
    weight: int
    weight_said: bool
    ports: Mapping[tuple[int, int], Ports]
    exact: bool = False
    flows: int = 0
    drain: bool = False


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


def same_label_problem(units: Mapping[str, UnitFiles], name: str, holder: str) -> Problem:
    """The problem that a unit does not get its label, which ``holder`` has."""
    text = label_refusal(units, name, holder).line
    return Problem(units[name].place, text, Kind.LABEL)


def label_refusal(units: Mapping[str, UnitFiles], name: str, holder: str) -> RefusedError:
    """That a unit does not get its label, which ``holder`` has."""
    return refusal(units[name].label, name, holder, str(units[holder].place))

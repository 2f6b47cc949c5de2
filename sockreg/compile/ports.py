"""What one prefix does with each port: rules of a prefix over what it inherits.

An outcome is a number: below CELLS a destination (0: none), from CELLS on a cell of
``sockreg.compile.conditions``, and LINK - n the port function number n. A port function
gives an outcome to every port; it is a tuple of steps (port, outcome), each valid up to
the next one. Port functions are kept once each and known by their number.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from sockreg.compile.conditions import CELLS, Cells, Condition
from sockreg.compile.words import leaf

PORTS = 65536
LINK = -1

# A prefix with few rules inside one with many ports refers to that one's port function
# where it says nothing itself. Smaller ones are copied, which saves a lookup the way, and
# so is one that itself refers to others LINKS_MAX deep.
COPY_MAX = 16
LINKS_MAX = 2

Steps = tuple[tuple[int, int], ...]


class PortRule(NamedTuple):
    """The part of a rule that concerns one prefix; sorts by precedence, best first."""

    width: int  # last - first
    unconditional_interface: bool
    shorter_source: int  # negative length
    first: int
    condition: Condition | None
    outcome: int


class OwnStep(NamedTuple):
    """From ``port`` on, these conditional rules apply in turn, then ``outcome``.

    An outcome of None means: what the prefix inherits.
    """

    port: int
    conditional: tuple[tuple[Condition, int], ...]
    outcome: int | None


def own_steps(rules: Sequence[PortRule]) -> list[OwnStep]:
    """What the rules of one prefix, best first, say about each port: a sweep over the ports."""
    starts = sorted((rule.first, rank) for rank, rule in enumerate(rules))
    ends = sorted((rule.first + rule.width + 1, rank) for rank, rule in enumerate(rules))
    ports = sorted({0, *map(itemgetter(0), starts), *map(itemgetter(0), ends)} - {PORTS})
    steps: list[OwnStep] = []
    active: list[int] = []
    starting = ending = 0
    for port in ports:
        while ending < len(ends) and ends[ending][0] == port:
            del active[bisect_right(active, ends[ending][1]) - 1]
            ending += 1
        while starting < len(starts) and starts[starting][0] == port:
            insort(active, starts[starting][1])
            starting += 1
        conditional = []
        outcome = None
        for rank in active:
            rule = rules[rank]
            if rule.condition is None:
                outcome = rule.outcome
                break
            conditional.append((rule.condition, rule.outcome))
        steps.append(OwnStep(port, tuple(conditional), outcome))
    return steps


class PortFunctions:
    """All port functions of a rule set."""

    def __init__(self, cells: Cells) -> None:
        self.functions: list[Steps] = []
        self._cells = cells
        self._numbers: dict[Steps, int] = {}
        self._links: list[int] = []  # how many functions deep each refers to others

    def combine(self, own: Sequence[OwnStep], inherited: Steps) -> Steps:
        """The rules of a prefix over what it inherits."""
        conditional = any(step.conditional for step in own)
        link = None
        if not conditional and len(inherited) > max(COPY_MAX, len(own)):
            number = self.number(inherited)
            if self._links[number] < LINKS_MAX:
                link = number
        result: list[tuple[int, int]] = []
        stops = [step.port for step in own[1:]] + [PORTS]
        for step, stop in zip(own, stops, strict=True):
            if step.outcome is not None:
                pieces: Iterator[tuple[int, int]] = iter(((step.port, step.outcome),))
            elif link is not None:
                pieces = iter(((step.port, LINK - link),))
            else:
                deep = bool(step.conditional) or len(inherited) > COPY_MAX
                pieces = self._pieces(inherited, step.port, stop, deep)
            for port, outcome in pieces:
                if step.conditional:
                    outcome = self._cells.number(step.conditional, outcome)
                if not result or result[-1][1] != outcome:
                    result.append((port, outcome))
        return tuple(result)

    def number(self, steps: Steps) -> int:
        number = self._numbers.setdefault(steps, len(self.functions))
        if number == len(self.functions):
            self.functions.append(steps)
            links = [1 + self._links[LINK - outcome] for _, outcome in steps if outcome < 0]
            self._links.append(max(links, default=0))
        return number

    def _pieces(
        self, steps: Steps, start: int, stop: int, resolve: bool
    ) -> Iterator[tuple[int, int]]:
        """The steps of a function from port ``start`` to before ``stop``."""
        at = bisect_right(steps, start, key=itemgetter(0)) - 1
        while at < len(steps) and steps[at][0] < stop:
            port, outcome = steps[at]
            at += 1
            if outcome < 0 and resolve:
                end = steps[at][0] if at < len(steps) else PORTS
                inner = self.functions[LINK - outcome]
                yield from self._pieces(inner, max(port, start), min(end, stop), resolve)
            else:
                yield max(port, start), outcome


def leaf_of(steps: Steps) -> int | None:
    """The leaf that says the same as a port function, or None if no leaf can."""
    if any(not 0 <= outcome < CELLS for _, outcome in steps):
        return None
    if len(steps) == 1:
        return leaf(0, PORTS - 1, steps[0][1], steps[0][1])
    if len(steps) == 2:
        return leaf(steps[1][0], PORTS - 1, steps[1][1], steps[0][1])
    if len(steps) == 3 and steps[0][1] == steps[2][1]:
        return leaf(steps[1][0], steps[2][0] - 1, steps[1][1], steps[0][1])
    return None


def steps_of(word: int) -> Steps:
    """The port function that a leaf stands for: the reverse of leaf_of()."""
    outside, inside = word >> 48, word >> 32 & 0xFFFF
    first, last = word >> 16 & 0xFFFF, (word >> 16 & 0xFFFF) + (word & 0xFFFF)
    result = [(0, outside)] if first > 0 else []
    if first <= last:
        result.append((first, inside))
    if last < PORTS - 1:
        result.append((last + 1, outside))
    return tuple(result) if word else ((0, 0),)

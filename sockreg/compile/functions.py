"""Port functions: the decisions of prefixes with several rules, with conditions, or in long chains.

Each distinct problem is solved once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sockreg.compile.conditions import Cells
from sockreg.compile.ports import (
    COPY_MAX,
    PORTS,
    OwnStep,
    PortRule,
    Step,
    Steps,
    combine,
    leaf_of,
    own_steps,
    section,
    steps_of,
)
from sockreg.compile.words import INSIDE_SHIFT, STEPS_PORT_MAX
from sockreg.errors import ConfigError

# A lookup walks a chain of pairs one by one, so longer chains become port functions, unless
# these had to be copies of a big one. A function itself takes at most FUNCTION_NODES; see
# ``sockreg.compile.porttries``.
PAIRS_MAX = 4
FUNCTION_NODES = 7

# Steps of all port functions together. A million rules on a few prefixes take two million.
# This bounds the time and memory for rule sets that multiply ports by nesting.
STEPS_MAX = 8_000_000


class Numbers(Protocol):
    """A number for each prefix: a list, or an array of numpy."""

    def __len__(self) -> int: ...
    def __getitem__(self, at: int, /) -> Any: ...


class Column(Numbers, Protocol):
    """Numbers that change."""

    def __setitem__(self, at: int, value: int, /) -> None: ...


class Functions:
    """Decides prefixes one by one. All sequences have an element for each prefix.

    ``decision``, ``own`` and ``nodes`` are those of ``sockreg.compile.decisions``, and ``size`` is
    the number of steps. ``parent`` is the longest enclosing prefix, or -1. ``rules_of`` gives the
    rules of a prefix.
    """

    def __init__(
        self,
        rules_of: Callable[[int], Sequence[PortRule]],
        parent: Numbers,
        cells: Cells,
        decision: Column,
        own: Numbers,
        nodes: Column,
        size: Column,
    ) -> None:
        self.functions: list[Steps] = []
        self._rules_of = rules_of
        self._parent = parent
        self._cells = cells
        self._decision = decision
        self._own_of = own
        self._nodes = nodes
        self._size = size
        self._own: dict[tuple[PortRule, ...], list[OwnStep]] = {}
        self._numbers: dict[Steps, int] = {}
        self._steps = 0

    def decide(self, prefix: int) -> None:
        """Set the decision of a prefix whose parent has one."""
        rules = tuple(sorted(self._rules_of(prefix)))
        own = self._own.get(rules)
        if own is None:
            own = self._own[rules] = own_steps(rules)
        parent = int(self._parent[prefix])
        inherited: Steps = ((0, 0),)
        nodes, size = 0, 0
        if parent >= 0:
            decision = int(self._decision[parent])
            nodes, size = int(self._nodes[parent]), int(self._size[parent])
            # Long decisions are not copied, unless there are as many rules or the path gets too
            # long.
            refer = size > max(COPY_MAX, len(own)) and nodes + FUNCTION_NODES <= STEPS_PORT_MAX
            if refer and decision < 0:
                inherited = ((0, decision),)
            else:
                inherited, nodes, size = self.resolve(decision), 0, 0
        steps = combine(own, inherited, self._cells, self.resolve)
        word = leaf_of(steps)
        if word is None:
            self._decision[prefix] = self._number(steps)
            self._nodes[prefix] = nodes + FUNCTION_NODES
        else:
            self._decision[prefix] = word
        self._size[prefix] = size + len(steps)

    def _number(self, steps: Steps) -> int:
        functions = self.functions
        number = self._numbers.setdefault(steps, len(functions))
        if number == len(functions):
            functions.append(steps)
            self._steps += len(steps)
            if self._steps > STEPS_MAX:
                raise ConfigError(
                    "the rule set is too big: prefixes with many ports nest so that these take "
                    f"more than {STEPS_MAX} entries",
                    "use fewer ports in prefixes that are inside each other",
                )
        return -1 - len(self._decision) - number

    def resolve(self, decision: int) -> Steps:
        """The steps of a decision, without references to other decisions."""
        if decision >= 0:
            return steps_of(decision)
        number = -1 - decision
        prefixes = len(self._decision)
        if number >= prefixes:
            steps = self.functions[number - prefixes]
            pieces: list[Step] = []
            ends = [port for port, _ in steps[1:]] + [PORTS]
            for (port, outcome), end in zip(steps, ends, strict=True):
                if outcome < 0:
                    pieces += section(self.resolve(outcome), port, end)
                else:
                    pieces.append((port, outcome))
            return tuple(pieces)
        own = int(self._own_of[number])
        first, last, outcome = (
            own >> 16 & 0xFFFF,
            (own >> 16 & 0xFFFF) + (own & 0xFFFF),
            own >> INSIDE_SHIFT,
        )
        below = self.resolve(int(self._decision[self._parent[number]]))
        before = section(below, 0, first) if first > 0 else []
        after = section(below, last + 1, PORTS) if last + 1 < PORTS else []
        return (*before, (first, outcome), *after)

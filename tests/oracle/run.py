"""Ask the program in the kernel about packets, over random rule sets and chains of changes.

Some rule sets are written as files: sockreg reads them, and for the reference does
tests/oracle/reading.py.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from sockreg.compile import compile_rules
from sockreg.config.ruleset import read_rule_set
from sockreg.model import INET, INET6, TCP, UDP, Action, Binding, Destination, Packet
from sockreg.registry import generation_record
from sockreg.rules.oracle import decide
from tests.kernel.lookups import Lookups
from tests.netns import Namespace
from tests.oracle import reading
from tests.oracle.reference import winners
from tests.oracle.writing import LISTENER, Drawn
from tests.rulesets import (
    INTERFACES,
    LABELS,
    adversarial,
    nested_rules,
    packets,
    random_rules,
    without_ties,
)

_CHANGES = 3  # sets of changes after each drawn rule set
_SHAPE_EVERY = 40  # one in so many sets is of an adversarial shape
_FILES = 0.3  # so many are written as files
_COMPARED = 5  # packets of each set for which the reference is compared with rules/oracle.py
_SIZES = (1, 2, 3, 5, 10, 20, 40, 100, 200, 400)

WITHOUT_SOCKET = LABELS[-1]
DESTINATIONS = [
    Destination(label, family, protocol, listener)
    for label in LABELS
    for family in (INET, INET6)
    for protocol in (TCP, UDP)
    for listener in (0, LISTENER)
]
SLOTS = {destination: 2 + number for number, destination in enumerate(DESTINATIONS)}


class Count(NamedTuple):
    """What was asked; ``differences`` says of each how to see it again."""

    packets: int = 0
    rule_sets: int = 0
    of_files: int = 0
    changes: int = 0
    handed_over: int = 0
    refused: int = 0
    differences: tuple[str, ...] = ()

    def plus(self, other: Count) -> Count:
        return Count(
            self.packets + other.packets,
            self.rule_sets + other.rule_sets,
            self.of_files + other.of_files,
            self.changes + other.changes,
            self.handed_over + other.handed_over,
            self.refused + other.refused,
            self.differences + other.differences,
        )


def outcome(winner: Binding | None) -> int | None:
    """What a packet meets, as Lookups.ask() says it."""
    if winner is None or winner.action is Action.PASS:
        return 0
    if winner.action is Action.REJECT:
        return None
    if winner.label == WITHOUT_SOCKET:
        return 0 if winner.missing_pass else None
    return SLOTS[winner.destination]


def ask(seed: int, wanted: int, *, of_each: int = 2000, conditions: bool = True) -> Count:
    """Ask about at least ``wanted`` packets, ``of_each`` rule set so many.

    ``conditions`` is whether rules are for sources and interfaces, too.
    """
    rng = Random(seed)
    filled = {place: slot for place, slot in SLOTS.items() if place.label != WITHOUT_SOCKET}
    total = Count()
    with Namespace() as namespace, namespace.entered(), Lookups(filled) as lookups:
        while total.packets < wanted:
            number = total.rule_sets
            before: list[Binding] = []
            for bindings, meant in _chain(rng, conditions):
                where = f"seed {seed}, rule set {number}"
                total = total.plus(_judged(lookups, bindings, meant, rng, where, of_each))
                total = total._replace(
                    changes=total.changes + bool(before),
                    of_files=total.of_files + (meant is not bindings),
                )
                assert _recorded(before, bindings), f"{where}: its record says something else"
                before = bindings
                number += 1
    return total


def _chain(rng: Random, conditions: bool) -> Iterator[tuple[list[Binding], list[Binding]]]:
    """A rule set, and what it becomes by some sets of changes; as sockreg has read it, and as the
    reference has.
    """
    if rng.random() < _FILES:
        yield from _written_chain(rng, conditions)
        return
    for bindings in _plain_chain(rng, conditions):
        yield bindings, bindings


def _written_chain(rng: Random, conditions: bool) -> Iterator[tuple[list[Binding], list[Binding]]]:
    drawn = Drawn(rng, conditions=conditions)
    for number in range(1 + _CHANGES):
        if number:
            drawn.change()
        meant = reading.read(drawn.files, time.time())
        if meant:
            yield _read(drawn.files), meant


def _read(files: reading.Files) -> list[Binding]:
    """What sockreg reads in files."""
    root = Path(tempfile.mkdtemp(prefix="sockreg-oracle-"))
    try:
        for path, text in files.items():
            there = root / path.lstrip("/")
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_text(text)
        return read_rule_set(str(root)).bindings
    finally:
        shutil.rmtree(root)


def _plain_chain(rng: Random, conditions: bool) -> Iterator[list[Binding]]:
    if rng.randrange(_SHAPE_EVERY) == 0:
        yield rng.choice(list(adversarial().values()))
        return
    bindings = _drawn(rng, conditions)
    yield bindings
    for _ in range(_CHANGES):
        kept = [rule for rule in bindings if rng.random() < rng.choice((0.5, 0.9, 1.0))]
        bindings = without_ties([*kept, *_drawn(rng, conditions)[: rng.choice((1, 3, 30))]])
        yield bindings


def _drawn(rng: Random, conditions: bool) -> list[Binding]:
    if rng.random() < 0.2:
        found = nested_rules(rng)
    else:
        found = random_rules(rng, rng.choice(_SIZES), conditions and rng.random() < 0.5)
    listeners = [LISTENER if rng.random() < 0.2 else 0 for _ in found]
    return without_ties(
        rule._replace(listener=listener) if rule.action is Action.BIND else rule
        for rule, listener in zip(found, listeners, strict=True)
    )


def _judged(
    lookups: Lookups,
    bindings: list[Binding],
    meant: list[Binding],
    rng: Random,
    where: str,
    count: int,
) -> Count:
    program = lookups.load(compile_rules(bindings, SLOTS, interfaces=INTERFACES))
    # No interface in test runs: see context().
    asked = [it._replace(interface=None) for it in packets(rng, meant, count)]
    found = lookups.ask_all(program, asked)
    lookups.unload(program)
    expected = [outcome(winner) for winner in winners(meant, asked)]
    for packet, wanted in zip(asked[:_COMPARED], expected, strict=False):
        assert outcome(decide(bindings, packet)) == wanted, f"{where}: two oracles differ: {packet}"
    return Count(
        packets=len(asked),
        rule_sets=1,
        handed_over=sum(bool(it) for it in found),
        refused=found.count(None),
        differences=_differences(asked, found, expected, where),
    )


def _differences(
    asked: Sequence[Packet],
    found: Sequence[int | None],
    expected: Sequence[int | None],
    where: str,
) -> tuple[str, ...]:
    return tuple(
        f"{where}: {packet}: slot {there}, not {wanted}"
        for packet, there, wanted in zip(asked, found, expected, strict=True)
        if there != wanted
    )


def _recorded(before: list[Binding], after: list[Binding]) -> bool:
    """Whether the record of a generation has these rules and tells the change to them."""
    old, new = generation_record.pack(before), generation_record.pack(after)
    added, removed = generation_record.difference(old, new)
    meant = [{rule._replace(place=None) for rule in rules} for rules in (before, after)]  # type: ignore[arg-type]
    return (
        generation_record.unpack(new) == after
        and {after[at]._replace(place=None) for at in added} == meant[1] - meant[0]  # type: ignore[arg-type]
        and {before[at]._replace(place=None) for at in removed} == meant[0] - meant[1]  # type: ignore[arg-type]
    )

"""What becomes of a packet if other sk_lookup programs run before sockreg's and after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sockreg.host.listener import cookie_text
from sockreg.registry.attachment import Other, Runs
from sockreg.registry.chain import Choice


class Decision(StrEnum):
    """What a program does with the packet, given those that ran before it."""

    SELECTS = "selects"  # a socket, instead of one that may have been selected before
    REFUSES = "refuses"  # which counts if no program selects a socket
    PASSES = "passes"  # it changes nothing
    UNKNOWN = "unknown"  # it could not be run


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """Another program. ``cookie`` is that of the socket it selects, None if unknown or none.

    ``runs`` is ``before`` or ``after`` sockreg's, None while sockreg's is not attached.
    """

    program_id: int
    name: str | None
    runs: Runs | None
    decision: Decision
    cookie: str | None


@dataclass(frozen=True)
class Settled:
    """How it ends. ``selected`` is the cookie of the socket, 0 if it is not known.

    None if no program selects a socket. ``by`` is the other program that decided, None if sockreg's
    did, or nobody. ``neighbours`` is None if it is not known what others are attached.
    """

    selected: int | None
    refused: bool
    by: Other | None
    neighbours: list[Neighbour] | None
    notes: list[str]


Ask = Callable[[Other, bool], Choice | None]


def settle(others: Sequence[Other], ours: Choice, ask: Ask) -> Settled:
    """The kernel's rule for several programs; registry/chain.py explains it.

    ``ask`` runs a program; its second argument says whether a socket has been selected before.
    """
    before = [other for other in others if other.runs is not Runs.AFTER]
    after = [other for other in others if other.runs is Runs.AFTER]
    selected: int | None = None
    selecting: Other | None = None
    refusing: list[Other | None] = []
    neighbours, unknown = [], []
    for program in [*before, None, *after]:
        choice = ours if program is None else ask(program, selected is not None)
        if program is not None:
            neighbours.append(_neighbour(program, choice))
        if choice is None:
            unknown.append(program)
        elif not choice.passed:
            refusing.append(program)
        elif choice.cookie is not None:
            selected, selecting = choice.cookie, program
    is_refused = selected is None and bool(refusing)
    return Settled(
        selected=selected,
        refused=is_refused,
        by=refusing[0] if is_refused else selecting,
        neighbours=neighbours,
        notes=[_not_run(other) for other in unknown if other is not None],
    )


def alone(ours: Choice, notes: list[str]) -> Settled:
    """What sockreg's program decides, if others are not known."""
    return Settled(ours.cookie, not ours.passed, None, None, notes)


def _neighbour(other: Other, choice: Choice | None) -> Neighbour:
    if choice is None:
        decision = Decision.UNKNOWN
    elif not choice.passed:
        decision = Decision.REFUSES
    else:
        decision = Decision.PASSES if choice.cookie is None else Decision.SELECTS
    return Neighbour(
        program_id=other.program_id,
        name=other.name,
        runs=other.runs,
        decision=decision,
        cookie=cookie_text(choice.cookie) if choice is not None and choice.cookie else None,
    )


def _not_run(other: Other) -> str:
    return f"{other} could not be asked, and may change this: it {other.effect}"


def _subject(other: Other) -> str:
    """``program 7 (other), which runs before sockreg's,``: the subject of a sentence."""
    return f"{other}, which runs {other.runs} sockreg's," if other.runs else str(other)


def because(settled: Settled, reason: str) -> str:
    """The reason for sockreg's own verdict, and what another program changes about it."""
    if settled.by is None:
        return reason
    if settled.refused:
        return f"{reason}; but {_subject(settled.by)} refuses it"
    return f"{reason}; but {_subject(settled.by)} selects a socket{_why(settled.by)}"


def _why(other: Other) -> str:
    if other.runs is None:
        return ""
    if other.runs is Runs.BEFORE:
        return ": no program can take that back"
    return ": the last one to select wins"

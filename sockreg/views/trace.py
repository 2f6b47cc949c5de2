"""A live trace of decisions: registry/tracing.py as an operator uses it."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from sockreg import shipped
from sockreg.context import Context
from sockreg.errors import RefusedError, SockregError, UsageError
from sockreg.host import detached
from sockreg.registry import generations, tracing
from sockreg.views.decisions import Reader, Summary, Told, Wanted
from sockreg.views.rules import Counted, Rules, of_record

_BREATH = 0.2  # s between two signs of life, and until a stop is noticed
ONE_IN_MAX = tracing.ONE_IN_MAX


class Trace:
    """A trace that runs. Made by running()."""

    def __init__(self, running: tracing.Tracing, reader: Reader, wanted: Wanted) -> None:
        self._running = running
        self._reader = reader
        self._wanted = wanted
        self._poll = select.poll()
        self._poll.register(running.fd, select.POLLIN)
        self._stopped = False

    def stop(self) -> None:
        """Have told() end when it has told what is decided by now. A signal handler may call it."""
        self._stopped = True

    @property
    def generation(self) -> int:
        """The generation that the decisions are of."""
        return self._running.generation.number

    @property
    def lost(self) -> int:
        """How many decisions could not be told."""
        return self._running.lost

    @property
    def reader(self) -> Reader:
        return self._reader

    def told(self, until: float | None) -> Iterator[tuple[int | None, Told] | None]:
        """Decisions as they are made, each with the position of its rule.

        None comes several times a second. Ends at ``until`` (of time.monotonic()), after stop(),
        or when another program has come into force; is_running() tells this.
        """
        ends = False
        while not ends:
            self._running.go_on()
            left = _BREATH if until is None else min(_BREATH, until - time.monotonic())
            self._poll.poll(max(0.0, left) * 1000)
            # Before the decisions are read: nothing is decided afterwards that is not told.
            ends = self._stopped or (until is not None and time.monotonic() >= until)
            ends = ends or not self.is_running()
            self._reader.refresh()
            for decision in self._running.read():
                position, told = self._reader.told(decision)
                if self._wanted.shows(told, decision):
                    yield position, told
            yield None

    def is_running(self) -> bool:
        """Whether the tracing program is in force: a change of rules ends it."""
        return self._running.is_running

    def ended(self) -> SockregError:
        """The error of a trace that somebody has ended."""
        return SockregError(
            f"the trace of generation {self.generation} has ended: the program was replaced, by a "
            "change of rules or another trace",
            "run it again to trace the rules that are in force now",
        )


class Counts(NamedTuple):
    """All rules of a generation, and how often each of them decided; ``total`` counts packets."""

    rules: Rules
    counted: list[Counted]
    total: int
    lost: int


def count(context: Context, seconds: float) -> Counts:
    """Trace for so many seconds. Raises SockregError if the rules change meanwhile."""
    summary = Summary()
    with running(context, Wanted()) as begun:
        there = of_record(begun.reader.record)
        for one in begun.told(time.monotonic() + seconds):
            if one is not None:
                summary.add(*one)
        if not begun.is_running():
            raise begun.ended()
        lost = begun.lost
    counted = [Counted(rule, summary.rules[at]) for at, rule in enumerate(there.bindings)]
    return Counts(there, counted, summary.total, lost)


@contextlib.contextmanager
def running(context: Context, wanted: Wanted, one_in: int = 1) -> Iterator[Trace]:
    """Trace until the block ends, or this process does.

    One of ``one_in`` decisions is reported, chosen at random. Raises UsageError for a wrong number,
    NotLoadedError if nothing is in force, AccessError without the rights that loading takes, and
    RefusedError for a label that no rule in force has.
    """
    if not 1 <= one_in <= ONE_IN_MAX:
        raise UsageError(f"--sample {one_in}: expected a number from 1 to {ONE_IN_MAX}", "")
    registry = context.loaded_registry()
    _refuse_unknown(registry, wanted.rules.label)
    with (
        tracing.tracing(registry, shipped.tracing_object_path(), one_in) as begun,
        _guarded(context, begun),
    ):
        yield Trace(begun, Reader(registry, begun.generation), wanted)


def _refuse_unknown(registry: str, label: str | None) -> None:
    header = generations.read_in_force(registry, generations.read_header)
    if header is not None and label is not None and label not in header.labels:
        raise RefusedError(
            f"no rule in force has the label {label}: there would be nothing to trace",
            "'sockreg rules' lists the rules in force",
        )


@contextlib.contextmanager
def _guarded(context: Context, begun: tracing.Tracing) -> Iterator[None]:
    """Have another process end the trace if this one is killed."""
    reading, writing = os.pipe()
    try:
        command = [sys.executable, "-I", str(shipped.PACKAGE / "__main__.py")]
        token = f"{reading}-{begun.program_id}"
        command += ["--bpffs", context.bpffs, "trace", "--guard", token]
        detached.run(command, keep=reading)
    finally:
        os.close(reading)
    try:
        yield
    finally:
        os.close(writing)


def guard(context: Context, token: str) -> None:
    """Wait for the other end of a pipe to be closed; then end this trace, if it still runs.

    ``token`` has the descriptor of this end and the id of the program that traces. Raises
    UsageError if it has not.
    """
    try:
        descriptor, program_id = map(int, token.split("-"))
        os.read(descriptor, 1)
    except (ValueError, OSError):
        raise UsageError(f"{token!r} does not name a trace", "") from None
    tracing.end(context.loaded_registry(), program_id)

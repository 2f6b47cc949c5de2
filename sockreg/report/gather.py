"""What a report shows, read at one time."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from sockreg import garbage
from sockreg.check.finding import Finding
from sockreg.check.gather import gather as gather_facts
from sockreg.check.run import run
from sockreg.context import Context
from sockreg.errors import SockregError
from sockreg.views import inspect, listeners, rules, sets, status
from sockreg.views.drawing import svg
from sockreg.views.graph import arrange
from sockreg.views.inspect import Details
from sockreg.views.listeners import Listener
from sockreg.views.rules import Rules
from sockreg.views.sets import SetOfPrefixes
from sockreg.views.status import Status

_ENTRIES = 20  # lines of the journal


@dataclass(frozen=True, kw_only=True)
class Report:
    """``when`` is s since the epoch. ``details`` are those of the members of each label.

    ``sets`` are those that the files have now. ``picture`` is SVG. ``listeners`` are the ordinary
    sockets.
    """

    host: str
    when: float
    status: Status
    rules: Rules
    sets: list[SetOfPrefixes]
    findings: list[Finding]
    details: dict[str, list[Details]]
    listeners: list[Listener]
    picture: str
    entries: list[str]


def gather(context: Context) -> Report:
    """Read all of it. Raises SockregError if nothing is loaded or it cannot be read."""
    with garbage.paused():
        seen = status.read(context)
        there = rules.read(context)
        return Report(
            host=socket.gethostname(),
            when=time.time(),
            status=seen,
            rules=there,
            sets=_sets(context),
            findings=run(gather_facts(context)),
            details=_details(context, seen),
            listeners=listeners.read_listeners(context).listeners,
            picture=svg(arrange(there.in_force, seen)),
            entries=status.latest_entries(_ENTRIES),
        )


def _sets(context: Context) -> list[SetOfPrefixes]:
    try:
        return sets.read(context)
    except SockregError:
        return []  # what is wrong with the files is among the findings


def _details(context: Context, seen: Status) -> dict[str, list[Details]]:
    found = {}
    for label in sorted({it.label for it in seen.destinations if it.members}):
        try:
            found[label] = inspect.read(context, label)
        except SockregError:
            continue  # all its sockets have closed meanwhile
    return found

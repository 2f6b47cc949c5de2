"""Traffic as a picture: prefixes -> label -> sockets -> units.

There is one band for each label, one for rejected traffic and one for passed traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sockreg.context import Context
from sockreg.model import PROTOCOL_NAMES, Action, Binding
from sockreg.rules.prefixes import format_prefix
from sockreg.rules.syntax import format_conditions, format_ports
from sockreg.views import rules, status
from sockreg.views.status import DestinationStatus, Status

BANDS_MAX = 40
ROWS_MAX = 64  # of all bands together; a band has at least one


@dataclass(frozen=True, kw_only=True)
class Count:
    """The counters of one destination of a label."""

    protocol: str
    family: str
    lookups: int
    misses: int
    errors: int


@dataclass(frozen=True, kw_only=True)
class Socket:
    """A member. A socket that serves several destinations of the label appears once."""

    cookie: str
    protocol: str
    address: str
    weight: int
    unit: str


@dataclass(frozen=True, kw_only=True)
class Band:
    """The rules that point to one label, and its sockets.

    ``kind`` is ``label``, ``reject`` or ``pass``. ``name`` is empty except for labels. ``rows`` are
    prefixes with their ports; ``hidden`` counts the rows that are left out. ``rules`` counts rules:
    several can be one row.
    """

    kind: str
    name: str
    rules: int
    rows: list[str]
    hidden: int
    counts: list[Count]
    sockets: list[Socket]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """``hidden`` counts the bands that are left out: those with the fewest lookups."""

    netns: int
    generation: int | None
    rules: int
    rejected: int
    bands: list[Band]
    hidden: int


def read(context: Context) -> Graph:
    """Read the registry. Raises SockregError if there is none or it cannot be read."""
    return arrange(rules.read(context).in_force, status.read(context))


def arrange(bindings: Sequence[Binding], seen: Status) -> Graph:
    """The visible part of a rule set. The rest is left out and counted."""
    leading: dict[tuple[Action, str], list[Binding]] = {}
    for binding in bindings:
        name = binding.label if binding.action is Action.BIND else ""
        leading.setdefault((binding.action, name), []).append(binding)
    by_label: dict[str, list[DestinationStatus]] = {}
    for destination in seen.destinations:
        by_label.setdefault(destination.label, []).append(destination)
    bands = [
        _label(label, leading.get((Action.BIND, label), []), by_label.get(label, []))
        for label in sorted(by_label.keys() | {name for _, name in leading} - {""})
    ]
    shown = _busiest(bands)
    for action, kind in ((Action.PASS, "pass"), (Action.REJECT, "reject")):
        if (action, "") in leading:
            found = leading[action, ""]
            shown.append(
                Band(
                    kind=kind,
                    name="",
                    rules=len(found),
                    rows=_rows(found),
                    hidden=0,
                    counts=[],
                    sockets=[],
                )
            )
    return Graph(
        netns=seen.netns,
        generation=seen.generation,
        rules=len(bindings),
        rejected=seen.rejected,
        bands=_shortened(shown),
        hidden=len(bands) - min(len(bands), BANDS_MAX),
    )


def _label(
    label: str, bindings: Sequence[Binding], destinations: Sequence[DestinationStatus]
) -> Band:
    counts = [
        Count(
            protocol=destination.protocol,
            family=destination.family,
            lookups=destination.counters.lookups,
            misses=destination.counters.misses,
            errors=destination.counters.errors,
        )
        for destination in destinations
    ]
    sockets = {
        member.cookie: Socket(
            cookie=member.cookie,
            protocol=destination.protocol,
            address=member.address,
            weight=0 if member.stalled else member.weight,  # while others have a share
            unit=member.unit,
        )
        for destination in destinations
        for member in destination.members
    }
    ordered = sorted(sockets.values(), key=lambda sock: (sock.unit, sock.protocol, sock.address))
    return Band(
        kind="label",
        name=label,
        rules=len(bindings),
        rows=_rows(bindings),
        hidden=0,
        counts=counts,
        sockets=ordered,
    )


def _rows(bindings: Iterable[Binding]) -> list[str]:
    """``tcp 192.0.2.0/24 80, 443``: rules that only differ in their ports share a row."""
    ports: dict[tuple[str, str, str], list[str]] = {}
    for binding in bindings:
        prefix = format_prefix(binding.family, binding.address, binding.length)
        conditions = [format_conditions(binding), "missing=pass" if binding.missing_pass else ""]
        key = (PROTOCOL_NAMES[binding.protocol], prefix, " ".join(filter(None, conditions)))
        ports.setdefault(key, []).append(format_ports(binding.first, binding.last))
    return [
        f"{protocol} {prefix} {', '.join(listed)} {conditions}".rstrip()
        for (protocol, prefix, conditions), listed in ports.items()
    ]


def _busiest(bands: list[Band]) -> list[Band]:
    """The bands with the most lookups, in their original order."""
    kept = sorted(bands, key=lambda band: -sum(count.lookups for count in band.counts))[:BANDS_MAX]
    names = {band.name for band in kept}
    return [band for band in bands if band.name in names]


def _shortened(bands: list[Band]) -> list[Band]:
    """The same bands with at most ROWS_MAX rows in all, distributed evenly."""
    limit = next(
        (n for n in range(ROWS_MAX, 1, -1) if sum(_lines(band, n) for band in bands) <= ROWS_MAX), 1
    )
    return [replace(band, rows=band.rows[:limit], hidden=len(band.rows[limit:])) for band in bands]


def _lines(band: Band, limit: int) -> int:
    """How many lines a band takes with that many rows: one line counts the rest."""
    return len(band.rows) if len(band.rows) <= limit else limit + 1

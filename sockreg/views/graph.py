"""Where traffic goes, as a picture: prefixes -> label -> sockets -> units.

One band for each label, one for what is rejected and one for what is passed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sockreg.context import Context
from sockreg.model import PROTOCOL_NAMES, Action, Binding
from sockreg.rules.syntax import format_conditions, format_ports, format_prefix
from sockreg.views import rules, status
from sockreg.views.status import DestinationStatus, Status

BANDS_MAX = 40
ROWS_MAX = 64  # of all bands together; a band has one at least


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
    """A member; one that serves several destinations of the label is here once."""

    cookie: str
    protocol: str
    address: str
    weight: int
    unit: str


@dataclass(frozen=True, kw_only=True)
class Band:
    """What leads to one label, and what is behind it.

    ``kind`` is ``label``, ``reject`` or ``pass``; ``name`` is empty but for labels.
    ``rows`` are prefixes with their ports, ``hidden`` how many more there are. ``rules``
    counts rules: several can be one row.
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
    """``hidden`` counts the bands that are not shown: those with the fewest lookups."""

    netns: int
    generation: int | None
    rules: int
    rejected: int
    bands: list[Band]
    hidden: int


def read(context: Context) -> Graph:
    """Read the registry. SockregError if there is none or it may not be read."""
    return arrange(rules.read(context), status.read(context))


def arrange(bindings: Sequence[Binding], seen: Status) -> Graph:
    """What to show of a rule set; too much of it is left out, and counted."""
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
            protocol=it.protocol,
            family=it.family,
            lookups=it.counters.lookups,
            misses=it.counters.misses,
            errors=it.counters.errors,
        )
        for it in destinations
    ]
    sockets = {
        member.cookie: Socket(
            cookie=member.cookie,
            protocol=it.protocol,
            address=member.address,
            weight=member.weight,
            unit=member.unit,
        )
        for it in destinations
        for member in it.members
    }
    ordered = sorted(sockets.values(), key=lambda it: (it.unit, it.protocol, it.address))
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
    """``tcp 192.0.2.0/24 80, 443``: rules that differ in their ports alone share a row."""
    ports: dict[tuple[str, str, str], list[str]] = {}
    for it in bindings:
        prefix = format_prefix(it.family, it.address, it.length)
        conditions = [format_conditions(it), "missing=pass" if it.missing_pass else ""]
        key = (PROTOCOL_NAMES[it.protocol], prefix, " ".join(filter(None, conditions)))
        ports.setdefault(key, []).append(format_ports(it.first, it.last))
    return [
        f"{protocol} {prefix} {', '.join(listed)} {conditions}".rstrip()
        for (protocol, prefix, conditions), listed in ports.items()
    ]


def _busiest(bands: list[Band]) -> list[Band]:
    """Those with the most lookups, in the order they came in."""
    kept = sorted(bands, key=lambda it: -sum(count.lookups for count in it.counts))[:BANDS_MAX]
    names = {band.name for band in kept}
    return [band for band in bands if band.name in names]


def _shortened(bands: list[Band]) -> list[Band]:
    """The same with at most ROWS_MAX rows in all, as evenly as can be."""
    limit = next(
        (n for n in range(ROWS_MAX, 1, -1) if sum(_lines(it, n) for it in bands) <= ROWS_MAX), 1
    )
    return [replace(it, rows=it.rows[:limit], hidden=len(it.rows[limit:])) for it in bands]


def _lines(band: Band, limit: int) -> int:
    """How many lines a band takes with that many rows: one says how many are left out."""
    return len(band.rows) if len(band.rows) <= limit else limit + 1

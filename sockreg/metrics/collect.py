"""A registry as metrics for Prometheus. docs/metrics.md lists them.

The only module besides serve.py that imports prometheus_client.
"""

import threading
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sockreg import __version__
from sockreg.context import Context
from sockreg.errors import EXIT_OK, SockregError
from sockreg.views import status
from sockreg.views.status import DestinationStatus, Status

_DESTINATION = ("label", "protocol", "family")
_NS = 1e9  # in a second


class RegistryCollector(Collector):
    """Reads the registry anew whenever metrics are asked for.

    A failure gives ``sockreg_up 0`` and no numbers of the registry; it is kept in
    ``failure`` until the next time, and counted.
    """

    def __init__(self, context: Context) -> None:
        self.failure: SockregError | OSError | None = None
        self._context = context
        self._failures = 0
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        seen = self._look()
        yield _gauge("up", "Whether the registry could be read", seen is not None)
        yield CounterMetricFamily(
            "sockreg_collection_errors",
            "How often the registry could not be read, since the exporter was started",
            value=self._failures,
        )
        build = GaugeMetricFamily(
            "sockreg_build_info", "Always 1; the version of sockreg", labels=["version"]
        )
        build.add_metric([__version__], 1)
        yield build
        if seen is not None:
            yield from _of_registry(seen)
            yield from _of_destinations(seen.destinations)
            yield from _of_members(seen.destinations)

    def _look(self) -> Status | None:
        with self._lock:  # scrapes are answered in threads
            try:
                seen = status.read(self._context)
            except (SockregError, OSError) as error:
                self.failure = error
                self._failures += 1
                return None
            self.failure = None
            return seen


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"sockreg_{name}", meaning, value=float(value))


def _of_registry(seen: Status) -> Iterator[Metric]:
    header, applied = seen.header, seen.applied
    yield _gauge(
        "generation", "Number of the generation in force, 0 if there is none", seen.generation or 0
    )
    yield CounterMetricFamily(
        "sockreg_rejected", "Packets refused by reject rules", value=seen.rejected
    )
    if header is not None:
        yield _gauge(
            "generation_created_timestamp_seconds",
            "When the generation in force was made",
            header.created / _NS,
        )
        yield _gauge("bindings", "Rules in force", header.count)
        yield _gauge("table_bytes", "Size of the lookup table in force", header.table_bytes)
    if applied is not None:
        yield _gauge(
            "last_apply_success",
            "Whether the last apply put the configured rules in force",
            applied.status == EXIT_OK,
        )
        yield _gauge(
            "last_apply_timestamp_seconds", "When the last apply ended", applied.attempted / _NS
        )
        yield _gauge(
            "last_apply_success_timestamp_seconds",
            "When the last apply that succeeded ended",
            applied.succeeded / _NS,
        )


def _of_destinations(destinations: list[DestinationStatus]) -> Iterator[Metric]:
    lookups = CounterMetricFamily(
        "sockreg_lookups", "Packets that a rule gave to the label", labels=_DESTINATION
    )
    misses = CounterMetricFamily(
        "sockreg_misses", "Of these, those for which there was no socket", labels=_DESTINATION
    )
    errors = CounterMetricFamily(
        "sockreg_errors", "Of these, those whose socket the kernel refused", labels=_DESTINATION
    )
    rules = GaugeMetricFamily(
        "sockreg_rules", "Rules in force that lead to the label", labels=_DESTINATION
    )
    members = GaugeMetricFamily(
        "sockreg_members", "Sockets registered under the label", labels=_DESTINATION
    )
    has_socket = GaugeMetricFamily(
        "sockreg_has_socket",
        "Whether the label has a socket that takes what is new",
        labels=_DESTINATION,
    )
    for it in destinations:
        names = (it.label, it.protocol, it.family)
        lookups.add_metric(names, it.counters.lookups)
        misses.add_metric(names, it.counters.misses)
        errors.add_metric(names, it.counters.errors)
        rules.add_metric(names, it.rules)
        members.add_metric(names, len(it.members))
        has_socket.add_metric(names, any(member.weight for member in it.members))
    yield from (lookups, misses, errors, rules, members, has_socket)


def _of_members(destinations: list[DestinationStatus]) -> Iterator[Metric]:
    weights = GaugeMetricFamily(
        "sockreg_member_weight",
        "Share of the label's new flows that the unit's socket gets",
        labels=(*_DESTINATION, "unit"),
    )
    registered = GaugeMetricFamily(
        "sockreg_member_registered_timestamp_seconds",
        "When the unit's socket was registered",
        labels=(*_DESTINATION, "unit"),
    )
    for it in destinations:
        for member in it.members:
            names = (it.label, it.protocol, it.family, member.unit)
            weights.add_metric(names, member.weight)
            registered.add_metric(names, member.registered / _NS)
    yield from (weights, registered)

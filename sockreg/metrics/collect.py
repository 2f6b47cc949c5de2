"""A registry as metrics for Prometheus. docs/metrics.md lists them.

The only module that imports prometheus_client.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sockreg import __version__
from sockreg.context import Context
from sockreg.errors import EXIT_OK, SockregError
from sockreg.host import files
from sockreg.metrics.server import Application
from sockreg.printable import printable
from sockreg.views import rules, status
from sockreg.views.status import DestinationStatus, Status

_DESTINATION = ("label", "protocol", "family")
_NS = 1e9  # in a second


class RegistryCollector(Collector):
    """Reads the registry again for each scrape.

    After a failure, there is ``sockreg_up 0`` and no numbers of the registry. The failure is kept
    in ``failure`` until the next scrape, and counted.
    """

    def __init__(self, context: Context) -> None:
        self.failure: SockregError | OSError | None = None
        self._context = context
        self._failures = 0
        self._checksum: rules.Checksum | None = None
        self._seen: tuple[str, int] | None = None  # registry, and when its generation was made

    def collect(self) -> Iterator[Metric]:
        seen = self._look()
        yield _gauge("up", "Whether the registry could be read", seen is not None)
        yield CounterMetricFamily(
            "sockreg_collection_errors",
            "Failed reads of the registry since the exporter started",
            value=self._failures,
        )
        build = GaugeMetricFamily(
            "sockreg_build_info", "Always 1; the version of sockreg", labels=["version"]
        )
        build.add_metric([__version__], 1)
        yield build
        if seen is not None:
            yield from _of_registry(seen)
            if self._checksum is not None:
                yield _gauge(
                    "rules_checksum",
                    "A number that is the same on all hosts with the same rules in force",
                    self._checksum.number,
                )
            yield from _of_destinations(seen.destinations)
            yield from _of_members(seen.destinations)
            yield from _of_flows(seen)

    def _look(self) -> Status | None:
        try:
            seen = status.read(self._context)
            self._checksum = rules.checksum(self._context, self._known(seen))
        except (SockregError, OSError) as error:
            self.failure = error
            self._failures += 1
            return None
        self.failure = None
        return seen

    def _known(self, seen: Status) -> rules.Checksum | None:
        """The checksum of the last look, unless there is another generation."""
        generation = (seen.registry, seen.header.created if seen.header else 0)
        known = self._checksum if generation == self._seen else None
        self._seen = generation
        return known


def exposition(collector: RegistryCollector) -> bytes:
    """The metrics in Prometheus' text format."""
    return generate_latest(_only(collector))


def application(context: Context) -> Application:
    """Answers each request with the metrics (PEP 3333)."""
    answer: Application = make_wsgi_app(_only(RegistryCollector(context)))
    return answer


def write_textfile(path: str, content: bytes) -> None:
    """Replace a file of node_exporter's textfile collector in one step, readable by all.

    The directory must exist: a wrong path is an OSError.
    """
    files.replace(path, content, create_directory=False)


def _only(collector: RegistryCollector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


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
            "When the generation in force was created",
            header.created / _NS,
        )
        yield _gauge("bindings", "Rules in force", header.count - header.pending)
        pending = GaugeMetricFamily(
            "sockreg_pending_bindings",
            "Rules that wait for their interface",
            labels=["interface"],
        )
        for name in header.interfaces:
            pending.add_metric([printable(name)], header.absent.get(name, 0))
        yield pending
        wrong = GaugeMetricFamily(
            "sockreg_parts_left_out",
            "Units and rule files that are wrong, and which of their rules are in force",
            labels=["rules"],
        )
        earlier = sum(left.earlier for left in seen.left_out)
        wrong.add_metric(["earlier"], earlier)
        wrong.add_metric(["none"], len(seen.left_out) - earlier)
        yield wrong
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
            "When the last successful apply ended",
            applied.succeeded / _NS,
        )


def _of_destinations(destinations: list[DestinationStatus]) -> Iterator[Metric]:
    lookups = CounterMetricFamily(
        "sockreg_lookups", "Packets that a rule sent to the label", labels=_DESTINATION
    )
    misses = CounterMetricFamily(
        "sockreg_misses", "Lookups that found no socket", labels=_DESTINATION
    )
    errors = CounterMetricFamily(
        "sockreg_errors",
        "Lookups whose socket the kernel refused, by cause",
        labels=(*_DESTINATION, "cause"),
    )
    rules = GaugeMetricFamily(
        "sockreg_rules", "Rules in force that point to the label", labels=_DESTINATION
    )
    members = GaugeMetricFamily(
        "sockreg_members", "Sockets registered under the label", labels=_DESTINATION
    )
    has_socket = GaugeMetricFamily(
        "sockreg_has_socket",
        "Whether the label has a socket with a weight above 0",
        labels=_DESTINATION,
    )
    for destination in destinations:
        names = _names(destination)
        lookups.add_sample("sockreg_lookups_total", names, destination.counters.lookups)
        misses.add_sample("sockreg_misses_total", names, destination.counters.misses)
        for cause, count in vars(destination.counters.causes).items():
            errors.add_sample("sockreg_errors_total", names | {"cause": cause}, count)
        rules.add_sample("sockreg_rules", names, destination.rules)
        members.add_sample("sockreg_members", names, len(destination.members))
        usable = any(member.weight for member in destination.members)
        has_socket.add_sample("sockreg_has_socket", names, usable)
    yield from (lookups, misses, errors, rules, members, has_socket)


def _of_members(destinations: list[DestinationStatus]) -> Iterator[Metric]:
    weights = GaugeMetricFamily(
        "sockreg_member_weight",
        "Weight of the unit's socket: its share of new flows",
        labels=(*_DESTINATION, "unit"),
    )
    registered = GaugeMetricFamily(
        "sockreg_member_registered_timestamp_seconds",
        "When the unit's socket was registered",
        labels=(*_DESTINATION, "unit"),
    )
    waiting = GaugeMetricFamily(
        "sockreg_member_queue",
        "What waits at the unit's socket for its server: connections of TCP, bytes of UDP",
        labels=(*_DESTINATION, "unit"),
    )
    limit = GaugeMetricFamily(
        "sockreg_member_queue_limit",
        "How much may wait at the unit's socket",
        labels=(*_DESTINATION, "unit"),
    )
    full = GaugeMetricFamily(
        "sockreg_member_queue_full",
        "Whether more than what waits at the unit's socket would be dropped",
        labels=(*_DESTINATION, "unit"),
    )
    dropped = CounterMetricFamily(
        "sockreg_member_queue_dropped",
        "Packets that did not fit since the unit's socket was created",
        labels=(*_DESTINATION, "unit"),
    )
    stalled = GaugeMetricFamily(
        "sockreg_member_stalled",
        "Whether the unit's socket gets nothing new because of Drain=stalled",
        labels=(*_DESTINATION, "unit"),
    )
    for destination in destinations:
        for member in destination.members:
            names = _names(destination) | {"unit": printable(member.unit)}
            stalled.add_sample("sockreg_member_stalled", names, member.stalled)
            if (queue := member.queue) is not None:
                waiting.add_sample("sockreg_member_queue", names, queue.waiting)
                limit.add_sample("sockreg_member_queue_limit", names, queue.limit)
                full.add_sample("sockreg_member_queue_full", names, queue.full)
                dropped.add_sample("sockreg_member_queue_dropped_total", names, queue.dropped)
            weights.add_sample("sockreg_member_weight", names, member.weight)
            registered.add_sample(
                "sockreg_member_registered_timestamp_seconds", names, member.registered / _NS
            )
    yield from (weights, registered, waiting, limit, full, dropped, stalled)


def _of_flows(seen: Status) -> Iterator[Metric]:
    """None unless a unit has said Flows=sticky."""
    if seen.flows is None:
        return
    flows = GaugeMetricFamily(
        "sockreg_member_flows",
        "UDP flows that stay with the unit's socket",
        labels=(*_DESTINATION, "unit"),
    )
    for destination in seen.destinations:
        for member in destination.members:
            if member.flows is not None:
                names = _names(destination) | {"unit": printable(member.unit)}
                flows.add_sample("sockreg_member_flows", names, member.flows)
    yield flows
    yield _gauge("flows", "UDP flows that are noted", seen.flows.noted)
    yield _gauge("flows_room", "UDP flows that can be noted", seen.flows.room)
    yield CounterMetricFamily(
        "sockreg_flows_evicted",
        "UDP flows that had to give way to others",
        value=seen.flows.evicted,
    )


def _names(destination: DestinationStatus) -> dict[str, str]:
    """The labels of a destination. Only one for a single listener has the label ``listener``."""
    values = (destination.label, destination.protocol, destination.family)
    names = dict(zip(_DESTINATION, values, strict=True))
    return names | ({"listener": str(destination.listener)} if destination.listener else {})

"""Metrics for a scraper: printed once, or served on a socket from systemd."""

import socket

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app

from sockreg.errors import UsageError
from sockreg.host import files
from sockreg.metrics.collect import RegistryCollector
from sockreg.metrics.server import Server
from sockreg.systemd import listen_fds

_IDLE = 600.0  # s without a scrape, then the server exits; the next scrape starts it again


def exposition(collector: RegistryCollector) -> bytes:
    """The metrics in Prometheus' text format."""
    return generate_latest(_only(collector))


def write_textfile(path: str, content: bytes) -> None:
    """Replace a file of node_exporter's textfile collector in one step, readable by all.

    The directory must exist: a wrong path is an OSError.
    """
    files.replace(path, content, create_directory=False)


def serve(collector: RegistryCollector) -> None:
    """Answer scrapes on the passed socket, until there have been none for a while."""
    with _listener() as listener:
        Server(listener, make_wsgi_app(_only(collector))).serve(_IDLE)


def _listener() -> socket.socket:
    from systemd.daemon import is_socket_inet

    passed = [fd for fd, _ in listen_fds.received()]
    if len(passed) == 1 and is_socket_inet(passed[0], type=socket.SOCK_STREAM, listening=True):
        return socket.socket(fileno=passed[0])
    raise UsageError(
        "metrics need exactly one listening TCP socket",
        "give sockreg-metrics.socket one ListenStream= with a port",
    )


def _only(collector: RegistryCollector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry

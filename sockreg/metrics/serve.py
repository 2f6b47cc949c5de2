"""Metrics served on a socket from systemd.

This works without prometheus_client, too: each scrape is then told what is missing.
"""

from __future__ import annotations

import importlib
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sockreg.context import Context
from sockreg.errors import MissingError, UsageError, missing
from sockreg.metrics.server import Application, Server
from sockreg.systemd import journal, listen_fds

_IDLE = 600.0  # s without a scrape, then the server exits; the next scrape starts it again


def serve(context: Context) -> None:
    """Answer scrapes on the passed socket, until there have been none for a while."""
    with _listener() as listener:
        Server(listener, _Scrapes(context)).serve(_IDLE)


@dataclass
class _Scrapes:
    """The application (PEP 3333). prometheus_client is looked for until it is found."""

    context: Context
    _metrics: Application | None = None
    _told: bool = False

    def __call__(
        self, environ: dict[str, object], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        if self._metrics is None:
            try:
                self._metrics = _application(self.context)
            except MissingError as error:
                return self._unavailable(error, start_response)
        return self._metrics(environ, start_response)

    def _unavailable(
        self, error: MissingError, start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        if not self._told:
            journal.say(error.entry, priority=journal.WARNING)
            self._told = True
        text = "".join(f"sockreg: {line}\n" for line in (error.message, error.hint))
        start_response("503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
        return [text.encode("utf-8", "backslashreplace")]


def _application(context: Context) -> Application:
    """Raises MissingError without prometheus_client."""
    importlib.invalidate_caches()
    try:
        from sockreg.metrics import collect
    except ImportError as error:
        raise missing(error) from None
    return collect.application(context)


def _listener() -> socket.socket:
    passed = [socket.socket(fileno=fd) for fd, _ in listen_fds.received()]
    if len(passed) == 1 and _is_listening_tcp(passed[0]):
        return passed[0]
    raise UsageError(
        "metrics need exactly one listening TCP socket",
        "give sockreg-metrics.socket one ListenStream= with a port",
    )


def _is_listening_tcp(sock: socket.socket) -> bool:
    return (
        sock.family in (socket.AF_INET, socket.AF_INET6)
        and sock.type == socket.SOCK_STREAM
        and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    )

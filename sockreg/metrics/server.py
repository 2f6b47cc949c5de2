"""A web server for scrapes, in one thread: what clients do costs a bounded amount of everything.

Each connection is for one request. At most _CONNECTIONS are open. One more closes the one that
has been open for longest, so that clients that say nothing keep nobody out.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_CONNECTIONS = 64
_REQUEST = 16 << 10  # bytes of a request's head
_PATIENCE = 10.0  # s from the first byte to the last, for a client
_TAKEN_AT_ONCE = 32  # connections between two looks at those that are open

Application = Callable[[dict[str, object], Callable[..., object]], Iterable[bytes]]  # PEP 3333


@dataclass
class _Connection:
    """``answer`` is what is left to send; None while the request is not complete."""

    sock: socket.socket
    until: float
    request: bytes = b""
    answer: memoryview | None = None


@dataclass
class Server:
    """Answers the requests on a listening socket with what a WSGI application says."""

    listener: socket.socket
    application: Application
    _open: dict[socket.socket, _Connection] = field(default_factory=dict)  # the oldest first
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def serve(self, idle: float) -> None:
        """Serve until there has been no connection for ``idle`` seconds."""
        self.listener.setblocking(False)
        self._selector.register(self.listener, selectors.EVENT_READ)
        quiet_since = time.monotonic()
        while self._open or time.monotonic() < quiet_since + idle:
            wait = min((it.until for it in self._open.values()), default=quiet_since + idle)
            for key, _ in self._selector.select(max(0.0, wait - time.monotonic())):
                if key.fileobj is self.listener:
                    self._accept()
                elif key.fileobj in self._open:
                    self._go_on(self._open[key.fileobj])
            now = time.monotonic()
            for connection in [it for it in self._open.values() if it.until <= now]:
                self._close(connection)
            if self._open:
                quiet_since = now

    def _accept(self) -> None:
        for _ in range(_TAKEN_AT_ONCE):
            try:
                sock, _ = self.listener.accept()
            except OSError:  # there is none, or it has gone; without memory, a later one may do
                return
            if len(self._open) >= _CONNECTIONS:
                self._close(next(iter(self._open.values())))
            sock.setblocking(False)
            connection = _Connection(sock, time.monotonic() + _PATIENCE)
            self._open[sock] = connection
            self._selector.register(sock, selectors.EVENT_READ)
            self._go_on(connection)  # its request has mostly come with it

    def _go_on(self, connection: _Connection) -> None:
        try:
            if connection.answer is None and self._is_complete(connection):
                connection.answer = memoryview(self._answer(connection.request))
                self._selector.modify(connection.sock, selectors.EVENT_WRITE)
            if connection.answer is not None:
                sent = connection.sock.send(connection.answer)
                connection.answer = connection.answer[sent:]
                if not connection.answer:
                    self._close(connection)
        except BlockingIOError:
            pass  # more when the selector says so
        except OSError:
            self._close(connection)  # the client has gone

    def _is_complete(self, connection: _Connection) -> bool:
        received = connection.sock.recv(_REQUEST)
        if not received:
            raise ConnectionResetError
        connection.request += received
        ends = (b"\r\n\r\n", b"\n\n")
        return any(e in connection.request for e in ends) or len(connection.request) > _REQUEST

    def _answer(self, request: bytes) -> bytes:
        line, *lines = request.decode("latin-1").replace("\r", "").split("\n")
        method, _, rest = line.partition(" ")
        target, _, version = rest.partition(" ")
        if len(request) > _REQUEST or not version.startswith("HTTP/"):
            return _encoded("400 Bad Request", [], b"")
        if method not in ("GET", "HEAD"):
            return _encoded("405 Method Not Allowed", [("Allow", "GET, HEAD")], b"")
        path, _, query = target.partition("?")
        environ: dict[str, object] = {
            "REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query,
        }  # fmt: skip
        for header in lines:
            name, colon, value = header.partition(":")
            if colon:
                environ[f"HTTP_{name.strip().upper().replace('-', '_')}"] = value.strip()
        told: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(self.application(environ, lambda status, head: told.append((status, head))))
        ((status, headers),) = told
        return _encoded(status, headers, body, send_body=method == "GET")

    def _close(self, connection: _Connection) -> None:
        self._open.pop(connection.sock, None)
        with contextlib.suppress(KeyError):
            self._selector.unregister(connection.sock)
        connection.sock.close()


def _encoded(
    status: str, headers: Iterable[tuple[str, str]], body: bytes, *, send_body: bool = True
) -> bytes:
    own = [("Content-Length", str(len(body))), ("Connection", "close")]
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in [*headers, *own])]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body if send_body else b"")

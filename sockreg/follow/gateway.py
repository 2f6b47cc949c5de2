"""etcd's gateway: its API as JSON over HTTP (etcd.io/docs, "gRPC gateway").

A member that does not answer is left for the next one. Reads are linearizable, so a member without
a majority does not answer.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sockreg.errors import SockregError
from sockreg.follow.settings import Settings

_PATIENCE = 5.0  # s for an answer; an election takes about one
_LINE_MAX = 64 << 20  # bytes of an answer
_SOMETHING_ELSE = "it answers something else than etcd"
# A connection that only waits must notice that the other end has gone.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class UnreachableError(SockregError):
    """No member of etcd answers, or each refuses."""


class Found(NamedTuple):
    """The keys below a prefix, without it, and the revision of the store at which they were so."""

    revision: int
    values: dict[str, bytes]


class Gateway:
    """A client. The member that has answered last comes first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._endpoints = list(settings.endpoints)
        self._token = ""
        self._tls: ssl.SSLContext | None = None
        if any(it.startswith("https:") for it in settings.endpoints):
            self._tls = ssl.create_default_context(cafile=settings.ca or None)
            if settings.certificate:
                self._tls.load_cert_chain(settings.certificate, settings.key or None)

    def read(self, prefix: str) -> Found:
        """All keys below a prefix. Raises UnreachableError."""
        body = self._ask("/v3/kv/range", _below(prefix))
        values = {}
        try:
            for pair in body.get("kvs", []):
                key = _decoded(pair["key"]).decode("utf-8", "surrogateescape")
                values[key.removeprefix(prefix)] = _decoded(pair.get("value", ""))
            return Found(int(body["header"]["revision"]), values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            endpoint = self._endpoints[0]
            self._leave(endpoint)
            raise UnreachableError(f"{endpoint}: {_SOMETHING_ELSE}") from error

    def write(self, key: str, value: str) -> None:
        """Set a key. Raises UnreachableError."""
        self._ask("/v3/kv/put", {"key": _encoded(key), "value": _encoded(value)})

    def changes(self, prefix: str, revision: int, seconds: float) -> bool:
        """Wait until a key below a prefix changes after a revision.

        False if none does for so many seconds. Raises UnreachableError if the connection ends.
        """
        endpoint = self._endpoints[0]
        create = {**_below(prefix), "start_revision": str(revision + 1)}
        deadline = time.monotonic() + seconds
        try:
            connection = self._sent(endpoint, "/v3/watch", {"create_request": create}, seconds)
            try:
                response = connection.getresponse()
                while (left := deadline - time.monotonic()) > 0:
                    if connection.sock is not None:
                        connection.sock.settimeout(left)
                    line = response.readline(_LINE_MAX)
                    if not line:
                        break
                    result = _object(_object(json.loads(line)).get("result", {}))
                    # Canceled: the revision is so old that etcd has forgotten what followed.
                    if result.get("events") or result.get("canceled"):
                        return True
                    if not result:
                        break
                else:
                    return False
            finally:
                connection.close()
        except TimeoutError:
            return False
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            self._leave(endpoint)
            raise UnreachableError(f"{endpoint}: {_reason(error)}") from error
        self._leave(endpoint)
        raise UnreachableError(f"{endpoint}: it does not report changes any more")

    def _ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        reasons = []
        for endpoint in list(self._endpoints):
            try:
                return self._answer(endpoint, path, body)
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                reasons.append(f"{endpoint}: {_reason(error)}")
                self._leave(endpoint)
        raise UnreachableError("; ".join(reasons))

    def _answer(self, endpoint: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self._settings.user and not self._token:
            given = {"name": self._settings.user, "password": self._settings.password}
            self._token = str(self._once(endpoint, "/v3/auth/authenticate", given)["token"])
        try:
            return self._once(endpoint, path, body)
        except PermissionError:
            if not self._token:
                raise
            self._token = ""  # it has expired; the next question gets another one
            raise

    def _once(self, endpoint: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        connection = self._sent(endpoint, path, body, _PATIENCE)
        try:
            response = connection.getresponse()
            answer = _object(json.loads(response.read(_LINE_MAX)))
        finally:
            connection.close()
        if response.status in (401, 403):
            raise PermissionError(_said(answer))
        if response.status != 200 or "error" in answer:
            raise ValueError(_said(answer))
        return answer

    def _sent(
        self, endpoint: str, path: str, body: Mapping[str, Any], seconds: float
    ) -> http.client.HTTPConnection:
        """A connection to which the question has been sent."""
        parts = urlsplit(endpoint)
        host, port = str(parts.hostname), parts.port
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                host, port, timeout=_PATIENCE, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE)
        try:
            connection.connect()
            _keep_alive(connection.sock)
            connection.sock.settimeout(seconds)
            headers = {"Content-Type": "application/json"}
            if self._token:
                headers["Authorization"] = self._token
            connection.request("POST", path, json.dumps(body), headers)
        except BaseException:
            connection.close()
            raise
        return connection

    def _leave(self, endpoint: str) -> None:
        """Ask the others first."""
        self._endpoints.remove(endpoint)
        self._endpoints.append(endpoint)


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _below(prefix: str) -> dict[str, str]:
    """The range of the keys that begin with a prefix, which does not end with the last byte."""
    key = prefix.encode("utf-8", "surrogateescape")
    end = key[:-1] + bytes([key[-1] + 1])
    return {"key": base64.b64encode(key).decode(), "range_end": base64.b64encode(end).decode()}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _object(answer: Any) -> dict[str, Any]:
    """Raises HTTPException if it is none."""
    if not isinstance(answer, dict):
        raise http.client.HTTPException(_SOMETHING_ELSE)
    return answer


def _said(answer: dict[str, Any]) -> str:
    return str(answer.get("message") or answer.get("error") or _SOMETHING_ELSE)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__

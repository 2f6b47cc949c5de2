"""The environment of sockreg-etcd.service; docs/fleet.md lists the variables."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from sockreg.errors import UsageError

CONFIRM_MAX = 3600
_NAME = "SOCKREG_ETCD"


@dataclass(frozen=True)
class Settings:
    """``endpoints`` are URLs of members of etcd. ``confirm`` is how many seconds a trial lasts.

    ``health`` is a command line for the shell that must succeed in a trial; '' for none. ``ca``,
    ``certificate`` and ``key`` are paths of files for TLS, '' for the system's or none.
    """

    endpoints: tuple[str, ...]
    prefix: str
    host: str
    confirm: int
    health: str
    user: str
    password: str
    ca: str
    certificate: str
    key: str

    @property
    def rules(self) -> str:
        """What keys of conf files begin with."""
        return f"{self.prefix}rules/"

    @property
    def report(self) -> str:
        """The key of this host."""
        return f"{self.prefix}hosts/{self.host}"


def read(environment: Mapping[str, str]) -> Settings:
    """Raises UsageError."""

    def value(name: str, default: str = "") -> str:
        return environment.get(f"{_NAME}{name}", "").strip() or default

    endpoints = tuple(value("").replace(",", " ").split())
    if not endpoints:
        raise UsageError(
            f"{_NAME} names no member of etcd",
            f"write {_NAME}=http://192.0.2.1:2379 to /etc/sockreg/etcd.env, or several with spaces",
        )
    for endpoint in endpoints:
        if not _is_endpoint(endpoint):
            raise UsageError(
                f"{_NAME}: {endpoint} is not the URL of a member of etcd",
                "it looks like http://192.0.2.1:2379 or https://etcd.example.org:2379",
            )
    confirm = value("_CONFIRM", "30")
    if not (confirm.isascii() and confirm.isdecimal() and 1 <= int(confirm) <= CONFIRM_MAX):
        raise UsageError(
            f"{_NAME}_CONFIRM={confirm}: expected a number of seconds from 1 to {CONFIRM_MAX}", ""
        )
    prefix = value("_PREFIX", "/sockreg/")
    return Settings(
        endpoints=endpoints,
        prefix=prefix if prefix.endswith("/") else f"{prefix}/",
        host=value("_HOST", socket.gethostname()),
        confirm=int(confirm),
        health=value("_HEALTH"),
        user=value("_USER"),
        password=value("_PASSWORD"),
        ca=value("_CA"),
        certificate=value("_CERT"),
        key=value("_KEY"),
    )


def _is_endpoint(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.scheme in ("http", "https") and parts.hostname and parts.port)
    except ValueError:
        return False

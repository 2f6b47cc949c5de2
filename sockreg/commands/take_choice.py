"""Selecting one of the sockets that were found. Pure."""

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from sockreg.errors import RefusedError, SockregError, UsageError
from sockreg.host.listener import address_text, cookie_text
from sockreg.host.processes import Process
from sockreg.host.sockdiag import DiagSocket
from sockreg.model import INET, INET6, PROTOCOL_NAMES
from sockreg.systemd.values import port_number

_SHOWN = 8  # sockets in a message


class Candidate(NamedTuple):
    """A socket and one process that has it open; prints as ``tcp 127.0.0.1:80 (sk:1a)``."""

    socket: DiagSocket
    process: Process
    descriptor: int

    def __str__(self) -> str:
        return socket_text(self.socket)


class Selector(NamedTuple):
    """The values of --proto and --local; None is any. ``address`` is in canonical form."""

    protocol: int | None = None
    address: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        """``tcp socket on 127.0.0.1:80``, for messages."""
        what = "TCP listener or bound UDP socket"
        if self.protocol is not None:
            what = f"{PROTOCOL_NAMES[self.protocol]} socket that can be registered"
        if self.port is None:
            return what
        family = INET6 if self.address is not None and ":" in self.address else INET
        return f"{what} on {address_text(family, self.address or '*', self.port)}"

    @property
    def is_exact(self) -> bool:
        """Whether only one socket, or one reuseport group, can match."""
        return None not in self

    def matches(self, socket: DiagSocket) -> bool:
        return (
            self.protocol in (None, socket.protocol)
            and self.address in (None, socket.address)
            and self.port in (None, socket.port)
        )


def socket_text(socket: DiagSocket) -> str:
    """``tcp 127.0.0.1:80 (sk:1a)``."""
    where = address_text(socket.family, socket.address, socket.port)
    return f"{PROTOCOL_NAMES[socket.protocol]} {where} ({cookie_text(socket.cookie)})"


def parse_local(text: str) -> tuple[str | None, int]:
    """``ADDR:PORT`` of --local: (address or None, port). IPv6 in brackets; ``:80`` is any.

    Raises UsageError.
    """
    host, colon, port = text.rpartition(":")
    number = port_number(port)
    if not colon or not number:
        raise _not_local(text)
    if host in ("", "*"):
        return None, number
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise _not_local(text) from None
    if bracketed is not (address.version == 6):
        raise _not_local(text)
    return str(address), number


def _not_local(text: str) -> SockregError:
    return UsageError(
        f"--local {text}: not an address and a port",
        "write 127.0.0.1:80, [2001:db8::1]:80, or :80 for any address",
    )


def choose(candidates: Sequence[Candidate], who: str) -> list[Candidate]:
    """The sockets to register among those that match: one, or an IPv4 and an IPv6 one.

    The sockets of a reuseport group share protocol, address and port. One represents all, because
    the kernel spreads traffic over the group for any of them. A server that listens on one port
    with one socket per family (``listen 80; listen [::]:80;``) means both. In all other cases the
    operator must decide: RefusedError lists what was found. ``who`` has the sockets, for that
    message.
    """
    groups: dict[tuple[object, ...], Candidate] = {}
    for candidate in candidates:
        groups.setdefault(_bound(candidate), candidate)
    chosen = list(groups.values())
    services = {(one.socket.protocol, one.socket.port) for one in chosen}
    families = {one.socket.family for one in chosen}
    if len(services) > 1 or len(families) < len(chosen):
        raise RefusedError(
            f"{who} has {len(chosen)} sockets that match: {listed(chosen)}",
            "select one: --local ADDR:PORT, --proto tcp or udp, or --cookie",
        )
    return chosen


def with_mates(chosen: Sequence[Candidate], among: Sequence[Candidate]) -> list[Candidate]:
    """The chosen sockets, each followed by the others of its reuseport group."""
    return [
        candidate
        for first in chosen
        for candidate in (first, *(c for c in among if c is not first))
        if _bound(candidate) == _bound(first)
    ]


def _bound(candidate: Candidate) -> tuple[object, ...]:
    sock = candidate.socket
    return (sock.protocol, sock.family, sock.address, sock.port, sock.interface)


def listed(candidates: Sequence[Candidate]) -> str:
    """Their texts with commas; only the first ones if there are many."""
    more = len(candidates) - _SHOWN
    return ", ".join(map(str, candidates[:_SHOWN])) + (f" and {more} more" if more > 0 else "")

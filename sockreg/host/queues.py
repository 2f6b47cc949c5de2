"""What waits at a socket for its server, and what did not fit.

A listening TCP socket has a queue of connections (listen(2)), and the kernel counts the SYNs and
connections that it dropped because of that. A UDP socket has a buffer of bytes (SO_RCVBUF), in
which a datagram takes more than its own length.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sockreg.host import sockdiag
from sockreg.host.sockdiag import DiagSocket
from sockreg.model import PROTOCOL_NAMES, UDP
from sockreg.plural import plural

_LOOKS = 20  # of staying_full()


@dataclass(frozen=True)
class Queue:
    """Connections of TCP or bytes of UDP that wait, and the limit.

    ``dropped`` counts packets since the socket was created. ``full`` is whether more would be
    dropped now; of a SO_REUSEPORT group, whether one of its sockets is full: the kernel chooses
    among them without a look at their queues.
    """

    waiting: int
    limit: int
    dropped: int
    full: bool


@dataclass(frozen=True)
class Jam:
    """A socket whose queue was full at the first look and at the last. ``moves`` is whether it had
    another length in between.
    """

    socket: DiagSocket
    moves: bool


def queue_of(group: Collection[DiagSocket]) -> Queue | None:
    """The queues of these sockets together; None if there are none."""
    if not group:
        return None
    return Queue(
        sum(each.received for each in group),
        sum(_limit(each) for each in group),
        sum(each.dropped for each in group),
        any(map(is_full, group)),
    )


def is_full(sock: DiagSocket) -> bool:
    if sock.state == sockdiag.LISTENING:
        # sk_acceptq_is_full() (include/net/sock.h) allows one more than the backlog.
        return sock.received > sock.limit
    # A buffer is full as soon as the next datagram does not fit, whatever its size.
    return sock.room > 0 and sock.received * 10 >= sock.room * 9


def _limit(sock: DiagSocket) -> int:
    return sock.limit if sock.state == sockdiag.LISTENING else sock.room


def queue_text(queue: Queue | None, protocol: str) -> str:
    """``3/128`` connections, ``12K/208K`` bytes; ``-`` if it is not known."""
    if queue is None:
        return "-"
    if protocol == PROTOCOL_NAMES[UDP]:
        return f"{_kibibytes(queue.waiting)}/{_kibibytes(queue.limit)}"
    return f"{queue.waiting}/{queue.limit}"


def _kibibytes(number: int) -> str:
    return f"{-(-number // 1024)}K"


def full_text(queue: Queue, protocol: str) -> str:
    """That a queue is full, as a clause: ``is full: 129 connections wait, 40 did not fit``."""
    if protocol == PROTOCOL_NAMES[UDP]:
        what = f"{queue_text(queue, protocol)} wait, {plural(queue.dropped, 'datagram')}"
    else:
        wait = "connection waits" if queue.waiting == 1 else "connections wait"
        what = f"{queue.waiting} {wait}, {queue.dropped}"
    return f"is full: {what} did not fit"


def by_cookie(protocols: Iterable[int]) -> dict[int, DiagSocket]:
    """The sockets of these protocols that receive packets without a connection.

    Raises SockregError if the kernel does not list them.
    """
    return {sock.cookie: sock for sock in sockdiag.receiving(protocols)}


def staying_full(sockets: Iterable[DiagSocket], seconds: float) -> dict[int, Jam]:
    """Those of these sockets that are full, and still are after so many seconds, by their cookie.

    Waits only if one is full: a burst fills a queue for a moment. Raises SockregError.
    """
    full = {sock.cookie: sock for sock in sockets if is_full(sock)}
    protocols = {sock.protocol for sock in full.values()}
    now: Mapping[int, DiagSocket] = full
    moved: set[int] = set()
    for _ in range(_LOOKS if full else 0):
        time.sleep(seconds / _LOOKS)
        now = by_cookie(protocols)
        # The kernel does not say what the server has taken out. With new clients waiting, there is
        # room only for a moment.
        moved |= {
            cookie
            for cookie, sock in full.items()
            if cookie in now and now[cookie].received != sock.received
        }
    return {
        cookie: Jam(now[cookie], cookie in moved)
        for cookie in full
        if cookie in now and is_full(now[cookie])
    }

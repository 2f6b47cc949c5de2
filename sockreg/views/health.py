"""Whether a registered socket is also served. Pure.

A registered socket stays in its slot until it is closed, even if no server accepts.
"""

from collections.abc import Collection

from sockreg.host.processes import SYSTEMD, Process
from sockreg.host.queues import Queue, is_full
from sockreg.host.sockdiag import LISTENING, DiagSocket
from sockreg.model import PROTOCOL_NAMES, UDP
from sockreg.plural import plural


def why_closed(protocol: int) -> str:
    """Why the kernel gives new packets to a registered socket no more: what it was or is.

    shutdown(2) of a UDP socket without a peer fails.
    """
    return "is connected to one peer" if protocol == UDP else "was shut down, but not closed"


def ailment(socket: DiagSocket | None, holders: Collection[Process], protocol: int) -> str:
    """What is wrong with a registered socket of this protocol, or an empty string.

    ``socket`` is the socket as sock_diag reports it; None if it does not receive. ``holders`` are
    all processes that have it open; empty if they cannot be read.
    """
    if socket is None:
        return f"it receives nothing any more: it {why_closed(protocol)}"
    if socket.state == LISTENING:
        if is_full(socket):
            return f"its queue is full, {_waiting(socket)}: no server accepts, and clients hang"
        if socket.received and _only_systemd(holders):
            return f"{_waiting(socket)}, but no server has it open, only systemd"
    elif socket.received and _only_systemd(holders):
        return "datagrams wait, but no server has it open, only systemd"
    return ""


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


def _waiting(socket: DiagSocket) -> str:
    many = "connections wait" if socket.received != 1 else "connection waits"
    return f"{socket.received} {many}"


def _only_systemd(holders: Collection[Process]) -> bool:
    return [holder.pid for holder in holders] == [SYSTEMD]

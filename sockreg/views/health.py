"""Whether a registered socket is also served. Pure.

A registered socket stays in its slot until it is closed, even if no server accepts.
"""

from collections.abc import Collection

from sockreg.host.processes import SYSTEMD, Process
from sockreg.host.queues import is_full
from sockreg.host.sockdiag import LISTENING, DiagSocket
from sockreg.model import UDP


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


def _waiting(socket: DiagSocket) -> str:
    many = "connections wait" if socket.received != 1 else "connection waits"
    return f"{socket.received} {many}"


def _only_systemd(holders: Collection[Process]) -> bool:
    return [holder.pid for holder in holders] == [SYSTEMD]

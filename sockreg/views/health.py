"""Whether a socket that is there is also served. Pure.

A registered socket stays in its slot until it is closed: presence is not health.
"""

from collections.abc import Collection

from sockreg.host.processes import SYSTEMD, Process
from sockreg.host.sockdiag import LISTENING, DiagSocket


def ailment(socket: DiagSocket | None, holders: Collection[Process]) -> str:
    """What is wrong with a registered socket, or an empty string.

    ``socket`` is what sock_diag tells of it, None if it is not among those that receive.
    ``holders`` are all processes that have it open, none if they may not be looked at.
    """
    if socket is None:
        return "it takes nothing any more: its server has shut it down, but not closed it"
    if socket.state == LISTENING:
        # sk_acceptq_is_full() (include/net/sock.h) lets one more in than the backlog says.
        if socket.received > socket.limit:
            return f"its queue is full, {_waiting(socket)}: nobody accepts, clients hang"
        if socket.received and _only_systemd(holders):
            return f"{_waiting(socket)}, and no server has it open: only systemd"
    elif socket.received and _only_systemd(holders):
        return "datagrams wait, and no server has it open: only systemd"
    return ""


def _waiting(socket: DiagSocket) -> str:
    many = "connections wait" if socket.received != 1 else "connection waits"
    return f"{socket.received} {many}"


def _only_systemd(holders: Collection[Process]) -> bool:
    return [holder.pid for holder in holders] == [SYSTEMD]

"""Which socket ordinary lookup gives a packet to, if no rule decides."""

from collections.abc import Iterable

from sockreg.host.sockdiag import DiagSocket
from sockreg.model import ANY_ADDRESS, INET6


def receiver(
    sockets: Iterable[DiagSocket],
    family: int,
    protocol: int,
    address: str,
    port: int,
    interface: int = 0,
) -> DiagSocket | None:
    """The listener or unconnected socket that the kernel's tables lead to, or None.

    The order is that of compute_score() in net/ipv4/inet_hashtables.c and udp.c: the exact address
    before the wildcard, a socket bound to the interface before one that is not, a socket of the
    packet's family before a dual-stack one. ``address`` is in its canonical text. For a reuseport
    group, the first socket is returned.
    """
    best, best_score = None, 0
    for sock in sockets:
        score = _score(sock, family, address, interface)
        if sock.protocol == protocol and sock.port == port and score > best_score:
            best, best_score = sock, score
    return best


def bound(sock: DiagSocket) -> tuple[object, ...]:
    """The same value for two sockets that are in one reuseport group.

    Sockets that share an address are in one group (reuseport_add_sock(), net/core) if the same user
    opened them.
    """
    return sock.protocol, sock.family, sock.address, sock.port, sock.interface, sock.uid


def same_address(one: DiagSocket, other: DiagSocket) -> bool:
    """Whether both are in one reuseport group, or are the same socket."""
    return bound(one) == bound(other)


def _score(sock: DiagSocket, family: int, address: str, interface: int) -> int:
    if sock.interface not in (0, interface):
        return 0
    own_family = sock.family == family
    if not own_family and (family == INET6 or sock.v6only):
        return 0
    mapped = f"::ffff:{address}"
    if sock.address in (address, mapped):
        exact = 8
    elif sock.address == ANY_ADDRESS[sock.family]:
        exact = 0
    else:
        return 0
    return 1 + exact + (4 if sock.interface else 0) + (2 if own_family else 0)

"""Clients that say in one word what a connection or a datagram met."""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable, Iterable

TCP = socket.IPPROTO_TCP
UDP = socket.IPPROTO_UDP

# include/uapi/linux/in.h and in6.h; Python's socket module has neither.
IP_RECVERR = 11
IPV6_RECVERR = 25

# l_onoff=1, l_linger=0: close with RST, so that no scan leaves TIME_WAIT sockets behind.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_OUTCOMES = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ETIMEDOUT: "timeout",
}

SocketMaker = Callable[[int, int], socket.socket]


def family_of(address: str) -> socket.AddressFamily:
    """The family of a numeric address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def ask(
    make_socket: SocketMaker,
    address: str,
    port: int,
    protocol: int,
    source: str | None,
    request: bytes,
    timeout: float,
) -> str:
    """Ask a server and return its answer or what went wrong; see Namespace.ask()."""
    kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
    with make_socket(family_of(address), kind) as sock:
        if source is not None:
            sock.bind((source, 0))
        sock.settimeout(timeout)
        try:
            if protocol == TCP:
                sock.connect((address, port))
            else:
                return _ask_datagram(sock, address, port, request)
        except TimeoutError:
            return "timeout"
        except OSError as error:
            return _outcome(error)
        return _read_stream(sock, request, time.monotonic() + timeout)


def is_open(make_socket: SocketMaker, address: str, port: int) -> bool:
    """Whether a TCP connection to ``port`` is accepted."""
    while True:
        with make_socket(family_of(address), socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            # Longer than the first retransmission of a SYN (1 s, RFC 6298): a full backlog
            # is not a closed port.
            sock.settimeout(2.5)
            if sock.connect_ex((address, port)) != 0:
                return False
            # When the source port picked by the kernel happens to be the one asked for, a
            # socket on the loopback connects to itself (RFC 9293, simultaneous open), which
            # says nothing about a listener: ask from another port.
            if sock.getsockname() != sock.getpeername():
                return True


def scan(make_socket: SocketMaker, address: str, ports: Iterable[int]) -> list[int]:
    """The ports of ``address`` that accept TCP connections; see Namespace.scan()."""
    return [port for port in ports if is_open(make_socket, address, port)]


def _ask_datagram(sock: socket.socket, address: str, port: int, request: bytes) -> str:
    # Not connected: a steered server may answer from another address or port than the one
    # asked. IP_RECVERR makes ICMP errors known to such a socket (ip(7)).
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    sock.sendto(request or b"?", (address, port))
    return sock.recv(65536).decode("utf-8", "replace").strip()


def _read_stream(sock: socket.socket, request: bytes, deadline: float) -> str:
    answer = b""
    try:
        sock.sendall(request)
        while True:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = sock.recv(65536)
            if not chunk:
                break
            answer += chunk
    except TimeoutError:
        return answer.decode("utf-8", "replace").strip() or "silent"
    except OSError as error:
        return _outcome(error)
    return answer.decode("utf-8", "replace").strip()


def _outcome(error: OSError) -> str:
    if error.errno not in _OUTCOMES:
        raise error
    return _OUTCOMES[error.errno]

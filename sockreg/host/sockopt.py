"""The options of a socket, read with getsockopt(2) under the names of the manual pages.

socket(7), ip(7), ipv6(7), tcp(7), udp(7). Numbers are those of asm-generic/socket.h,
linux/in.h, linux/in6.h, linux/tcp.h and linux/udp.h: Python's socket module lacks many.
"""

import errno
import socket
from typing import NamedTuple

from sockreg.host.listener import socket_cookie

FLAG, NUMBER, TEXT = range(3)

_TEXT_SIZE = 64  # more than IFNAMSIZ and TCP_CA_NAME_MAX

Value = bool | int | str


class _Option(NamedTuple):
    """``only`` is the family or protocol whose sockets have the option; None is all."""

    name: str
    level: int
    number: int
    kind: int
    only: int | None = None


_SOCKET = socket.SOL_SOCKET
_IP, _IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
_TCP, _UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
_INET6 = int(socket.AF_INET6)

_OPTIONS = (
    _Option("SO_REUSEADDR", _SOCKET, 2, FLAG),
    _Option("SO_REUSEPORT", _SOCKET, 15, FLAG),
    _Option("SO_BINDTODEVICE", _SOCKET, 25, TEXT),
    _Option("SO_RCVBUF", _SOCKET, 8, NUMBER),
    _Option("SO_SNDBUF", _SOCKET, 7, NUMBER),
    _Option("SO_MARK", _SOCKET, 36, NUMBER),
    _Option("SO_PRIORITY", _SOCKET, 12, NUMBER),
    _Option("SO_BUSY_POLL", _SOCKET, 46, NUMBER),
    _Option("SO_KEEPALIVE", _SOCKET, 9, FLAG, _TCP),
    _Option("IP_FREEBIND", _IP, 15, FLAG),
    _Option("IP_TRANSPARENT", _IP, 19, FLAG),
    _Option("IP_TOS", _IP, 1, NUMBER),
    _Option("IP_TTL", _IP, 2, NUMBER),
    _Option("IP_PKTINFO", _IP, 8, FLAG, _UDP),
    _Option("IP_RECVORIGDSTADDR", _IP, 20, FLAG, _UDP),
    _Option("IPV6_V6ONLY", _IPV6, 26, FLAG, _INET6),
    _Option("IPV6_FREEBIND", _IPV6, 78, FLAG, _INET6),
    _Option("IPV6_TRANSPARENT", _IPV6, 75, FLAG, _INET6),
    _Option("IPV6_TCLASS", _IPV6, 67, NUMBER, _INET6),
    _Option("IPV6_UNICAST_HOPS", _IPV6, 16, NUMBER, _INET6),
    _Option("TCP_NODELAY", _TCP, 1, FLAG, _TCP),
    _Option("TCP_DEFER_ACCEPT", _TCP, 9, NUMBER, _TCP),  # s
    _Option("TCP_FASTOPEN", _TCP, 23, NUMBER, _TCP),  # length of the queue
    _Option("TCP_CONGESTION", _TCP, 13, TEXT, _TCP),
    _Option("TCP_MAXSEG", _TCP, 2, NUMBER, _TCP),
    _Option("TCP_USER_TIMEOUT", _TCP, 18, NUMBER, _TCP),  # ms
    _Option("TCP_KEEPIDLE", _TCP, 4, NUMBER, _TCP),  # s
    _Option("TCP_KEEPINTVL", _TCP, 5, NUMBER, _TCP),  # s
    _Option("TCP_KEEPCNT", _TCP, 6, NUMBER, _TCP),
    _Option("TCP_ULP", _TCP, 31, TEXT, _TCP),
    _Option("UDP_SEGMENT", _UDP, 103, NUMBER, _UDP),
    _Option("UDP_GRO", _UDP, 104, FLAG, _UDP),
)
# Only for UDP sockets over IPv6.
_UDP_INET6 = (
    _Option("IPV6_RECVPKTINFO", _IPV6, 49, FLAG),
    _Option("IPV6_RECVORIGDSTADDR", _IPV6, 74, FLAG),
)


def read(fd: int) -> dict[str, Value]:
    """The options of a TCP or UDP socket. Options that this kernel does not know are left out.

    Nothing is changed. Raises OSError if ``fd`` is not such a socket.
    """
    sock = socket.socket(fileno=fd)
    try:
        family = int(sock.family)
        protocol = _TCP if sock.type == socket.SOCK_STREAM else _UDP
        wanted = [known for known in _OPTIONS if known.only in (None, family, protocol)]
        if (family, protocol) == (_INET6, _UDP):
            wanted += _UDP_INET6
        found = {}
        for option in wanted:
            value = _value(sock, option)
            if value is not None:
                found[option.name] = value
        return found
    finally:
        sock.detach()


def cookie(fd: int) -> int:
    """The cookie of any socket, as in Listener."""
    sock = socket.socket(fileno=fd)
    try:
        return socket_cookie(sock)
    finally:
        sock.detach()


def _value(sock: socket.socket, option: _Option) -> Value | None:
    try:
        if option.kind == TEXT:
            raw = sock.getsockopt(option.level, option.number, _TEXT_SIZE)
            return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")
        number = sock.getsockopt(option.level, option.number)
    except OSError as error:
        if error.errno in (errno.ENOPROTOOPT, errno.EOPNOTSUPP):
            return None
        raise
    return bool(number) if option.kind == FLAG else number

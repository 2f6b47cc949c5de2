"""What a file descriptor is: a socket that rules can steer to, or why it is not one.

On the companion's start-up path. Reads the socket, never changes it.
"""

import _socket
import _stat as stat
import posix
import sys

from sockreg import sharing
from sockreg.errors import RefusedError

_ORDER = sys.byteorder

# asm-generic/socket.h, linux/in.h, linux/in6.h; absent from _socket in Python 3.11
_IFNAMSIZ = 16  # linux/if.h
_SO_REUSEPORT = 15
_SO_BINDTODEVICE = 25
_SO_PROTOCOL = 38
_SO_DOMAIN = 39
_SO_COOKIE = 57
_SO_NETNS_COOKIE = 71
_IP_PKTINFO = 8
_IP_RECVORIGDSTADDR = 20
_IPV6_RECVPKTINFO = 49
_IPV6_RECVORIGDSTADDR = 74
_IPPROTO_UDPLITE = 136
_IPPROTO_MPTCP = 262

_FAMILIES = {
    _socket.AF_UNIX: "a UNIX socket",
    _socket.AF_NETLINK: "a netlink socket",
    _socket.AF_VSOCK: "a vsock socket",
}
_PROTOCOLS = {
    _IPPROTO_UDPLITE: "a UDP-Lite socket",
    _socket.IPPROTO_SCTP: "an SCTP socket",
}


class Listener(sharing.Listener):
    """A listening TCP or bound UDP socket.

    ``family`` is the socket's own family. ``serves`` are the families of the packets it can take: a
    dual-stack IPv6 socket takes both. ``netns`` is the SO_NETNS_COOKIE of its network namespace; 0
    on kernels before 5.14, which do not report it. ``asks_address`` is whether the socket receives
    the destination address of each datagram. ``device`` is the interface that it is bound to, or
    empty: a socket at a link-local address is bound to one, too. ``in_group`` is whether it has
    SO_REUSEPORT: all sockets at its address are one group then.
    """

    def __init__(
        self,
        *,
        fd: int,
        family: int,
        protocol: int,
        serves: tuple[int, ...],
        address: str,
        port: int,
        cookie: int,
        netns: int,
        asks_address: bool,
        device: str = "",
        in_group: bool = False,
    ) -> None:
        super().__init__(family, serves, protocol, address, port)
        self.fd = fd
        self.cookie = cookie
        self.netns = netns
        self.asks_address = asks_address
        self.device = device
        self.in_group = in_group

    def packed_address(self) -> bytes:
        return _socket.inet_pton(self.family, self.address.partition("%")[0])


def address_text(family: int, address: str, port: int) -> str:
    """``192.0.2.1:80`` or ``[::]:80``, as ss(8) prints it."""
    return f"[{address}]:{port}" if family == _socket.AF_INET6 else f"{address}:{port}"


def cookie_text(cookie: int) -> str:
    """A socket's cookie as ss(8) prints it: ``sk:1a2b``."""
    return f"sk:{cookie:x}"


class UnfitError(RefusedError):
    """A descriptor that cannot be registered; ``message`` is a predicate: ``is a FIFO; ...``."""

    def about(self, subject: str) -> RefusedError:
        """The sentence about a subject: ``socket 1 of 2 is a FIFO; ...``."""
        return RefusedError(f"{subject} {self.message}", self.hint)


def inspect(fd: int) -> Listener:
    """Describe the socket behind ``fd``. Raises UnfitError if rules cannot steer to it.

    The kernel takes listening TCP and bound UDP sockets into a SOCKMAP (net/core/sock_map.c,
    sock_map_sk_state_allowed). It also takes AF_UNIX datagram sockets, but no packet can be steered
    to these, so they are refused here.
    """
    mode = posix.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        raise UnfitError("is a FIFO; only TCP and UDP sockets can be registered")
    if not stat.S_ISSOCK(mode):
        raise UnfitError(
            "is not a socket (a special file or a message queue); "
            "only TCP and UDP sockets can be registered"
        )
    sock = _socket.socket(fileno=fd)
    try:
        return _inspect(sock)
    finally:
        sock.detach()


def _inspect(sock: _socket.socket) -> Listener:
    level = _socket.SOL_SOCKET
    family = sock.getsockopt(level, _SO_DOMAIN)
    protocol = sock.getsockopt(level, _SO_PROTOCOL)
    if family not in (_socket.AF_INET, _socket.AF_INET6):
        what = _FAMILIES.get(family, f"of address family {family}")
        raise UnfitError(f"is {what}; only TCP and UDP over IPv4 or IPv6 can be registered")
    if protocol == _IPPROTO_MPTCP:
        raise UnfitError(
            "is an MPTCP socket, which the kernel does not steer to",
            "make it plain TCP: remove SocketProtocol=mptcp from the unit; for a Go server, set "
            "GODEBUG=multipathtcp=0",
        )
    if protocol not in (_socket.IPPROTO_TCP, _socket.IPPROTO_UDP):
        what = _PROTOCOLS.get(protocol, f"of protocol {protocol}")
        raise UnfitError(f"is {what}; only TCP and UDP over IPv4 or IPv6 can be registered")
    if sock.type == _socket.SOCK_RAW:
        raise UnfitError("is a raw socket, and no packet can be steered to it")
    name = sock.getsockname()
    address, port = str(name[0]), int(name[1])
    if protocol == _socket.IPPROTO_TCP:
        if not sock.getsockopt(level, _socket.SO_ACCEPTCONN):
            raise UnfitError("is a TCP socket that does not listen", "register it after listen(2)")
    else:
        if port == 0:
            raise UnfitError("is a UDP socket that is not bound", "register it after bind(2)")
        if _is_connected(sock):
            raise UnfitError("is a connected UDP socket, which only receives from its peer")
    serves: tuple[int, ...] = (family,)
    if family == _socket.AF_INET6 and not sock.getsockopt(
        _socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY
    ):
        serves = (_socket.AF_INET6, _socket.AF_INET)
    return Listener(
        fd=sock.fileno(),
        family=family,
        protocol=protocol,
        serves=serves,
        address=address,
        port=port,
        cookie=socket_cookie(sock),
        netns=netns_cookie(sock),
        asks_address=protocol == _socket.IPPROTO_UDP and _asks_address(sock, family),
        device=_device(sock),
        in_group=bool(sock.getsockopt(level, _SO_REUSEPORT)),
    )


def _device(sock: _socket.socket) -> str:
    try:
        name = sock.getsockopt(_socket.SOL_SOCKET, _SO_BINDTODEVICE, _IFNAMSIZ)
    except OSError:
        return "that is gone"  # ENODEV
    return name.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _asks_address(sock: _socket.socket, family: int) -> bool:
    """Whether IP_PKTINFO, IP_RECVORIGDSTADDR or an IPv6 equivalent is set (ip(7), ipv6(7))."""
    if family == _socket.AF_INET6:
        level, options = _socket.IPPROTO_IPV6, (_IPV6_RECVPKTINFO, _IPV6_RECVORIGDSTADDR)
    else:
        level, options = _socket.IPPROTO_IP, (_IP_PKTINFO, _IP_RECVORIGDSTADDR)
    return any(sock.getsockopt(level, option) for option in options)


def _is_connected(sock: _socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def socket_cookie(sock: _socket.socket) -> int:
    """SO_COOKIE, a number of a socket of any kind that is never reused."""
    return int.from_bytes(sock.getsockopt(_socket.SOL_SOCKET, _SO_COOKIE, 8), _ORDER)


def netns_cookie(sock: _socket.socket) -> int:
    """SO_NETNS_COOKIE, a number of a network namespace that is never reused.

    0 on kernels before 5.14 (ENOPROTOOPT).
    """
    try:
        value = sock.getsockopt(_socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    except OSError:
        return 0
    return int.from_bytes(value, _ORDER)

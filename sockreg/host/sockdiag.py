"""The sockets of this host, queried from the kernel with sock_diag(7), like ss(8).

Needs no privileges, but AF_NETLINK where RestrictAddressFamilies= is set. The result is for the
network namespace of the calling thread.

A request is a struct inet_diag_req_v2. An answer is a struct inet_diag_msg with attributes
(linux/inet_diag.h). Each is a message of netlink(7). Numbers are in the machine's byte order, ports
and addresses in network order.
"""

import errno
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

from sockreg.errors import AccessError, SockregError, failure
from sockreg.host import netlink

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20

_SOCKID = "2s2s16s16sIQ"  # source and destination port and address, interface, cookie
_REQUEST = struct.Struct(f"=BBBxI{_SOCKID}")  # family, protocol, extensions, states
_MESSAGE = struct.Struct(f"=BBBB{_SOCKID}IIIII")  # ..., expires, queues, uid, inode

# enum in linux/inet_diag.h. The first eight are requested by their bit.
_INFO = 2  # adds _ULP to the answer
_CONGESTION = 4
_MEMORY = 7
_V6ONLY = 11
_ULP = 19
_CGROUP = 21
_ULP_NAME = 1  # within _ULP
_RCVBUF, _DROPS = 1, 8  # indices of SK_MEMINFO_RCVBUF and SK_MEMINFO_DROPS, linux/sock_diag.h

# States, include/net/tcp_states.h: a UDP socket without a peer is "closed".
ESTABLISHED, CLOSED, LISTENING = 1, 7, 10


class DiagSocket(NamedTuple):
    """A socket as sock_diag reports it.

    ``interface`` is the index of the device that the socket is bound to, or 0. For a listening TCP
    socket, the queues are connections: ``received`` wait for accept(2), and ``limit`` is the
    maximum. For others, they are bytes received and bytes to be sent. ``dropped`` counts packets
    that did not fit. ``room`` is the size of the receive buffer (SO_RCVBUF) in bytes. ``inode`` is
    the number in /proc/PID/fd, or 0 if no descriptor is open.
    ``cgroup`` is the id of the cgroup in which the socket was created, or 0 if unknown.
    ``congestion`` is empty for UDP. ``upper`` is the protocol on top of TCP: ``mptcp`` means that
    the descriptor with this inode is an MPTCP socket.
    """

    protocol: int
    family: int
    state: int
    address: str
    port: int
    peer_address: str
    peer_port: int
    interface: int
    cookie: int
    received: int
    limit: int
    dropped: int
    uid: int
    inode: int
    cgroup: int
    v6only: bool
    congestion: str
    upper: str
    room: int = 0


_UNCONNECTED = {socket.IPPROTO_TCP: LISTENING, socket.IPPROTO_UDP: CLOSED}


def receiving(protocols: Iterable[int] = tuple(_UNCONNECTED)) -> list[DiagSocket]:
    """Every socket that takes packets without a connection: listening TCP, unconnected UDP."""
    return [
        found
        for family in (socket.AF_INET, socket.AF_INET6)
        for protocol in protocols
        for found in dump(family, protocol, (_UNCONNECTED[protocol],))
    ]


def dump(family: int, protocol: int, states: tuple[int, ...]) -> list[DiagSocket]:
    """All sockets of one family and protocol in these states. Raises SockregError on refusal."""
    body = encode_request(family, protocol, states)
    try:
        answers = netlink.dump(_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, body)
        return [decode(message, protocol) for message in answers]
    except OSError as error:
        raise _refused(error) from None


def encode_request(family: int, protocol: int, states: tuple[int, ...]) -> bytes:
    """The struct inet_diag_req_v2 of the request."""
    wanted = sum(1 << (extension - 1) for extension in (_INFO, _CONGESTION, _MEMORY))
    bits = sum(1 << state for state in states)
    return _REQUEST.pack(family, protocol, wanted, bits, b"", b"", b"", b"", 0, 0)


def decode(message: bytes, protocol: int) -> DiagSocket:
    """The socket in one message of an answer."""
    (
        family, state, _, _,
        port, peer_port, address, peer_address, interface, cookie,
        _, received, limit, uid, inode,
    ) = _MESSAGE.unpack_from(message)  # fmt: skip
    attributes = netlink.attributes(message[_MESSAGE.size :])
    memory = attributes.get(_MEMORY, b"")
    numbers = struct.unpack_from(f"={len(memory) // 4}I", memory)
    return DiagSocket(
        protocol=protocol,
        family=family,
        state=state,
        address=_address(family, address),
        port=int.from_bytes(port, "big"),
        peer_address=_address(family, peer_address),
        peer_port=int.from_bytes(peer_port, "big"),
        interface=interface,
        cookie=cookie,
        received=received,
        limit=limit,
        dropped=numbers[_DROPS] if len(numbers) > _DROPS else 0,
        uid=uid,
        inode=inode,
        cgroup=struct.unpack("=Q", attributes.get(_CGROUP, bytes(8)))[0],
        v6only=attributes.get(_V6ONLY, b"\0") != b"\0",
        congestion=_text(attributes.get(_CONGESTION)),
        upper=_text(netlink.attributes(attributes.get(_ULP, b"")).get(_ULP_NAME)),
        room=numbers[_RCVBUF] if len(numbers) > _RCVBUF else 0,
    )


def _text(data: bytes | None) -> str:
    return (data or b"").rstrip(b"\0").decode("ascii", "replace")


def _address(family: int, packed: bytes) -> str:
    return socket.inet_ntop(family, packed if family == socket.AF_INET6 else packed[:4])


def _refused(error: OSError) -> SockregError:
    what = "cannot list sockets"
    if error.errno == errno.EAFNOSUPPORT:
        return AccessError(
            f"{what}: netlink sockets are forbidden here",
            "add AF_NETLINK to RestrictAddressFamilies= of the unit",
        )
    if error.errno == errno.ENOENT:
        return SockregError(
            f"{what}: the kernel has no socket diagnostics",
            "load the modules tcp_diag and udp_diag (modprobe(8))",
        )
    return failure(error, f"{what}: {error.strerror or errno.errorcode.get(error.errno or 0, '')}")

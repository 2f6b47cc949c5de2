"""What sock_diag answers is understood, byte by byte."""

from __future__ import annotations

import socket
import struct

import pytest

from sockreg.host import netlink, sockdiag
from sockreg.host.sockdiag import decode

# As linux/inet_diag.h has it: [2001:db8::1]:80 on device 2, listening, queue 1 of 511,
# uid 33, inode 4660, cookie 0x1a2b.
MESSAGE = (
    bytes([socket.AF_INET6, sockdiag.LISTENING, 0, 0])
    + bytes([0, 80, 0, 0])
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + bytes(16)
    + struct.pack("=IQ", 2, 0x1A2B)
    + struct.pack("=IIIII", 0, 1, 511, 33, 4660)
)


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def wrapped(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 0, 7) + body


def error(number: int, kind: int = 2) -> bytes:
    return wrapped(kind, struct.pack("=i", number))


ATTRIBUTES = (
    attribute(4, b"cubic\0")
    + attribute(7, struct.pack("=9I", *range(100, 109)))
    + attribute(11, b"\1")
    + attribute(21, struct.pack("=Q", 4711))
    + attribute(0x8000 | 19, attribute(1, b"mptcp\0"))  # NLA_F_NESTED
)


def test_a_whole_answer() -> None:
    datagram = wrapped(20, MESSAGE + ATTRIBUTES) + wrapped(20, MESSAGE) + error(0, kind=3)
    messages, ended = netlink.messages(datagram)
    assert ended
    full, bare = (decode(message, socket.IPPROTO_TCP) for message in messages)
    assert (full.protocol, full.family, full.state) == (6, 10, sockdiag.LISTENING)
    assert (full.address, full.port, full.interface) == ("2001:db8::1", 80, 2)
    assert (full.peer_address, full.peer_port) == ("::", 0)
    assert (full.cookie, full.inode, full.uid, full.cgroup) == (0x1A2B, 4660, 33, 4711)
    assert (full.received, full.limit, full.dropped, full.room) == (1, 511, 108, 101)
    assert (full.v6only, full.congestion, full.upper) == (True, "cubic", "mptcp")
    without = full._replace(dropped=0, room=0, cgroup=0)
    assert bare == without._replace(v6only=False, congestion="", upper="")


def test_an_answer_in_several_datagrams() -> None:
    assert netlink.messages(wrapped(20, MESSAGE)) == ([MESSAGE], False)
    assert netlink.messages(wrapped(3, b"")) == ([], True)


@pytest.mark.parametrize("kind", [2, 3])
def test_a_refusal(kind: int) -> None:
    with pytest.raises(FileNotFoundError):
        netlink.messages(error(-2, kind))


def test_the_request() -> None:
    body = sockdiag.encode_request(socket.AF_INET, socket.IPPROTO_UDP, (1, 7))
    assert len(body) == 56  # struct inet_diag_req_v2
    assert body[:2] == bytes([socket.AF_INET, socket.IPPROTO_UDP])
    assert struct.unpack_from("=I", body, 4) == (1 << 1 | 1 << 7,)
    request = netlink.request(20, body)
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", request)
    assert (length, kind, flags) == (len(request), 20, 0x301)


def test_the_kernel_understands_it() -> None:
    """Needs no privilege."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        (found,) = (it for it in sockdiag.receiving() if it.port == port and it.protocol == 6)
    assert (found.address, found.state) == ("127.0.0.1", sockdiag.LISTENING)
    assert found.received == 0
    assert found.limit > 0

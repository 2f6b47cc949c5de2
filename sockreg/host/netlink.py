"""Dumps of netlink(7): one request, and answers until the kernel reports the end."""

import socket
import struct
from collections.abc import Iterator

_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3  # nlmsg_type

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_TYPE_MASK = 0x3FFF  # NLA_TYPE_MASK: without the flags for nested attributes
_ERRNO = struct.Struct("=i")

_CHUNK = 1 << 16


def dump(protocol: int, kind: int, body: bytes) -> Iterator[bytes]:
    """The messages, without headers, that answer a request of this nlmsg_type.

    ``protocol`` is that of the netlink socket. Raises OSError with the errno of a refusal.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as sock:
        sock.send(request(kind, body))
        ended = False
        while not ended:
            found, ended = messages(sock.recv(_CHUNK))
            yield from found


def request(kind: int, body: bytes) -> bytes:
    """The datagram that requests a dump."""
    return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST_DUMP, 0, 0) + body


def messages(datagram: bytes) -> tuple[list[bytes], bool]:
    """The messages in one datagram of an answer, and whether the answer ends with it.

    Raises OSError with the errno of a refusal.
    """
    found: list[bytes] = []
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, answer, _, _, _ = _HEADER.unpack_from(datagram, offset)
        content = datagram[offset + _HEADER.size : offset + length]
        if answer in (_ERROR, _DONE):
            _refuse_error(content)
            return found, True
        found.append(content)
        offset += _aligned(length)
    return found, False


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes that follow a message's fixed part, by their type."""
    found = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += _aligned(length)
    return found


def _refuse_error(content: bytes) -> None:
    # Both kinds carry 0 or a negative errno; some kernels send DONE without one.
    if len(content) >= _ERRNO.size:
        (number,) = _ERRNO.unpack_from(content)
        if number < 0:
            raise OSError(-number, "netlink refuses")


def _aligned(length: int) -> int:
    return (length + 3) & ~3  # NLMSG_ALIGN and NLA_ALIGN

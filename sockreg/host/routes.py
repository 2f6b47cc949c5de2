"""Which addresses are local, queried from the kernel with rtnetlink(7), like ip(8).

Needs no privileges, but AF_NETLINK where RestrictAddressFamilies= is set. The result is for the
network namespace of the calling thread.
"""

import socket
import struct
from typing import NamedTuple

from sockreg.errors import failure
from sockreg.host import netlink

_NETLINK_ROUTE = 0
_RTM_GETADDR, _RTM_GETROUTE = 22, 26
_RTN_LOCAL = 2  # rtm_type: the host accepts packets to this destination

# struct rtmsg (linux/rtnetlink.h): family, length of the destination, length of the source,
# tos, table, protocol, scope, type, flags.
_ROUTE = struct.Struct("=BBBBBBBBI")
_RTA_DST = 1
# struct ifaddrmsg (linux/if_addr.h): family, length of the prefix, flags, scope, interface.
_ADDRESS = struct.Struct("=BBBBI")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2  # on a point-to-point interface, the first is the peer's


class LocalPrefix(NamedTuple):
    """The host accepts packets to these addresses. ``address`` is as in Binding."""

    family: int
    address: int
    length: int


class InterfaceAddress(NamedTuple):
    """An address of an interface, in its canonical text."""

    family: int
    address: str


def local_prefixes() -> list[LocalPrefix]:
    """The destinations of all routes of type local, in all tables."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for message in _dump(_RTM_GETROUTE, request):
            of, length, _, _, _, _, _, kind, _ = _ROUTE.unpack_from(message)
            # If IPv6 is compiled out, a dump of IPv6 routes contains those of other families.
            if kind == _RTN_LOCAL and of == family:
                attributes = netlink.attributes(message[_ROUTE.size :])
                address = int.from_bytes(attributes.get(_RTA_DST, b""), "big")
                found.append(LocalPrefix(of, address, length))
    return found


def interface_addresses() -> list[InterfaceAddress]:
    """The addresses of all interfaces, including the loopback."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for message in _dump(_RTM_GETADDR, _ADDRESS.pack(family, 0, 0, 0, 0)):
            attributes = netlink.attributes(message[_ADDRESS.size :])
            packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
            if message[0] == family and packed:
                found.append(InterfaceAddress(family, socket.inet_ntop(family, packed)))
    return found


def _dump(kind: int, request: bytes) -> list[bytes]:
    try:
        return list(netlink.dump(_NETLINK_ROUTE, kind, request))
    except OSError as error:
        raise failure(
            error,
            f"cannot read addresses and routes from the kernel: {error.strerror}",
            "in a unit, add AF_NETLINK to RestrictAddressFamilies=",
        ) from None

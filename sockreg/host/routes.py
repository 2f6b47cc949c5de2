"""Which addresses are local, and where others are, queried from the kernel with rtnetlink(7), like
ip(8).

Needs no privileges, but AF_NETLINK where RestrictAddressFamilies= is set. The result is for the
network namespace of the calling thread.
"""

import socket
import struct
from typing import NamedTuple

from sockreg.errors import failure
from sockreg.host import links, netlink
from sockreg.model import FAMILY_BITS

_NETLINK_ROUTE = 0
_RTM_GETADDR, _RTM_GETROUTE = 22, 26
# rtm_type: the host sends packets there, accepts them, or takes them as broadcasts.
_RTN_UNICAST, _RTN_LOCAL, _RTN_BROADCAST = 1, 2, 3
_RTM_F_CLONED = 0x200  # a cached exception, such as one for a smaller MTU

# struct rtmsg (linux/rtnetlink.h): family, length of the destination, length of the source,
# tos, table, protocol, scope, type, flags.
_ROUTE = struct.Struct("=BBBBBBBBI")
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_VIA = 1, 4, 5, 18
_INDEX = struct.Struct("=i")
# struct ifaddrmsg (linux/if_addr.h): family, length of the prefix, flags, scope, interface.
_ADDRESS = struct.Struct("=BBBBI")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2  # on a point-to-point interface, the first is the peer's


class LocalPrefix(NamedTuple):
    """The host accepts packets to these addresses. ``address`` is as in Binding."""

    family: int
    address: int
    length: int


class Elsewhere(NamedTuple):
    """Other hosts have these addresses, except for those that are local.

    ``on_link`` is the interface that leads to them without a router in between, or empty.
    """

    family: int
    address: int
    length: int
    on_link: str


class Routes(NamedTuple):
    """What the routes say about addresses. Packets for ``broadcast`` ones are for all hosts."""

    local: list[LocalPrefix]
    broadcast: list[LocalPrefix]
    elsewhere: list[Elsewhere]


class InterfaceAddress(NamedTuple):
    """An address of an interface, in its canonical text."""

    family: int
    address: str


def read() -> Routes:
    """The routes in all tables. Default routes are left out."""
    found = Routes([], [], [])
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for message in _dump(_RTM_GETROUTE, request):
            of, length, _, _, _, _, _, kind, flags = _ROUTE.unpack_from(message)
            # If IPv6 is compiled out, a dump of IPv6 routes contains those of other families.
            if of != family or flags & _RTM_F_CLONED:
                continue
            attributes = netlink.attributes(message[_ROUTE.size :])
            address = int.from_bytes(attributes.get(_RTA_DST, b""), "big")
            if kind == _RTN_LOCAL:
                found.local.append(LocalPrefix(of, address, length))
            elif kind == _RTN_BROADCAST:
                found.broadcast.append(LocalPrefix(of, address, length))
            elif kind == _RTN_UNICAST and length > 0:
                found.elsewhere.append(_elsewhere(of, address, length, attributes))
    return found


def holder_of(family: int, address: int) -> int:
    """The index of the interface that has a local address, by the longest route; 0 if none has.

    What this host sends to the address of an interface arrives from there, for sockets and rules:
    ip_route_output_key_hash_rcu() in net/ipv4/route.c, ip6_rcv_core() in net/ipv6/ip6_input.c.
    """
    bits = FAMILY_BITS[family]
    best, index = -1, 0
    for message in _dump(_RTM_GETROUTE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
        of, length, _, _, _, _, _, kind, flags = _ROUTE.unpack_from(message)
        if of != family or kind != _RTN_LOCAL or flags & _RTM_F_CLONED or length <= best:
            continue
        attributes = netlink.attributes(message[_ROUTE.size :])
        prefix = int.from_bytes(attributes.get(_RTA_DST, b""), "big")
        if (prefix ^ address) >> (bits - length) == 0 and _RTA_OIF in attributes:
            best, index = length, _INDEX.unpack(attributes[_RTA_OIF])[0]
    return index


def _elsewhere(family: int, address: int, length: int, attributes: dict[int, bytes]) -> Elsewhere:
    index = attributes.get(_RTA_OIF)
    through = _RTA_GATEWAY in attributes or _RTA_VIA in attributes
    name = "" if index is None or through else links.name_of(_INDEX.unpack(index)[0])
    return Elsewhere(family, address, length, name)


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

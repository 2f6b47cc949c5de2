"""Network interfaces of the calling thread's network namespace."""

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sockreg.errors import failure
from sockreg.host import netlink
from sockreg.printable import printable

LOOPBACK = 1  # LOOPBACK_IFINDEX of net/flow.h: the first interface of each namespace
_NETLINK_ROUTE = 0
_RTM_GETLINK = 18
# struct ifinfomsg (linux/rtnetlink.h): family, type of the device, index, flags, change mask.
_LINK = struct.Struct("=BxHiII")
_INDEX = struct.Struct("=i")
_IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO = 3, 10, 18  # linux/if_link.h
_IFLA_INFO_KIND = 1
# What an interface is in one of these kinds. The kernel gives packets of such an interface to the
# one above, before it looks for their socket.
_WITHIN = {
    "bridge": "a port of bridge",
    "bond": "a member of bond",
    "team": "a port of team",
    "vrf": "in VRF",
    "openvswitch": "a port of Open vSwitch",
    "hsr": "a port of HSR",
}


@dataclass(frozen=True)
class Above:
    """The interface that packets of interface ``below`` arrive from instead, and why.

    ``member`` is the index of the member, if that interface is a VRF: sockets that are bound to the
    member get its packets, too. Otherwise it is 0.
    """

    below: str
    index: int
    name: str
    why: str
    member: int = 0

    @property
    def sentence(self) -> str:
        """``eth1 is a port of bridge br0: its packets arrive from br0``."""
        return f"{self.below} is {self.why}: its packets arrive from {self.name}"


class _Link(NamedTuple):
    name: str
    kind: str
    above: int  # index, or 0


def indices_of(names: Iterable[str]) -> dict[str, int]:
    """The index of each interface by its name, 0 if there is none.

    A name of 15 bytes or less may also be an alternative name (ip-link(8), ``property add``).
    """
    return {name: _index_of(name) for name in names}


def _index_of(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except (OSError, ValueError):
        return 0


def name_of(index: int) -> str:
    """The name of an interface; empty if there is none with this index."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


def above(names: Iterable[str]) -> dict[str, Above]:
    """Those interfaces that packets never arrive from, and what they arrive from instead.

    Raises SockregError if the kernel does not tell.
    """
    indices = {name: index for name, index in indices_of(names).items() if index}
    if not indices:
        return {}
    links = _links()
    found = {name: _above(links, name, index) for name, index in indices.items()}
    return {name: up for name, up in found.items() if up is not None}


def _above(links: dict[int, _Link], below: str, index: int) -> Above | None:
    steps: list[_Link] = []
    member = 0
    while index in links and len(steps) <= len(links):
        up = links.get(links[index].above)
        if up is None or up.kind not in _WITHIN:
            break
        member = index if up.kind == "vrf" else 0
        index = links[index].above
        steps.append(up)
    if not steps:
        return None
    why = ", which is ".join(f"{_WITHIN[up.kind]} {up.name}" for up in steps)
    return Above(below, index, steps[-1].name, why, member)


def _links() -> dict[int, _Link]:
    try:
        answers = list(netlink.dump(_NETLINK_ROUTE, _RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0)))
    except OSError as error:
        raise failure(
            error,
            f"cannot read the interfaces from the kernel: {error.strerror}",
            "in a unit, add AF_NETLINK to RestrictAddressFamilies=",
        ) from None
    found = {}
    for answer in answers:
        index = _LINK.unpack_from(answer)[2]
        fields = netlink.attributes(answer[_LINK.size :])
        kind = netlink.attributes(fields.get(_IFLA_LINKINFO, b"")).get(_IFLA_INFO_KIND, b"")
        master = fields.get(_IFLA_MASTER)
        found[index] = _Link(
            _text(fields.get(_IFLA_IFNAME, b"")),
            _text(kind),
            _INDEX.unpack(master)[0] if master else 0,
        )
    return found


def _text(data: bytes) -> str:
    return printable(data.rstrip(b"\0").decode("utf-8", "surrogateescape"))

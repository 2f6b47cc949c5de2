"""Whether packets to a prefix arrive here at all, and what to do if they do not. Pure.

Rules apply to packets for local addresses. The addresses of interfaces are local. A route of type
local (ip-route(8), "AnyIP") makes others local. It wins over all other routes to the same
addresses: over a connected subnet, it would cut the host off from its neighbours. IPv6 neighbours
do not even find an address that no interface has.
"""

from bisect import bisect_right
from collections.abc import Iterable
from enum import StrEnum

from sockreg.host.routes import Elsewhere, LocalPrefix, Routes
from sockreg.model import FAMILY_BITS, INET, INET6
from sockreg.printable import shell
from sockreg.rules.prefixes import format_prefix

# On every link, whether a route says so or not: RFC 3927 and RFC 4291.
_LINK_LOCAL = {INET: (0xA9FE0000, 16), INET6: (0xFE80 << 112, 10)}

BROADCAST = "the kernel delivers broadcasts without looking at any rule, and refuses TCP to them"


class Local(StrEnum):
    """How much of a prefix is local."""

    ALL = "all"
    SOME = "some"
    NONE = "none"


class Locality:
    """The local addresses of a network namespace."""

    def __init__(
        self,
        prefixes: Iterable[LocalPrefix],
        broadcast: Iterable[LocalPrefix] = (),
        elsewhere: Iterable[Elsewhere] = (),
    ) -> None:
        elsewhere = list(elsewhere)
        self._ranges = {family: _merged(prefixes, family) for family in FAMILY_BITS}
        self._broadcast = {family: _merged(broadcast, family) for family in FAMILY_BITS}
        others = [LocalPrefix(*each[:3]) for each in elsewhere]
        self._others = {family: _merged(others, family) for family in FAMILY_BITS}
        self._on_link = [each for each in elsewhere if each.on_link]

    def of(self, family: int, address: int, length: int) -> Local:
        """How much of this prefix is local."""
        return _share(self._ranges[family], _bounds(family, address, length))

    def is_broadcast(self, family: int, address: int, length: int) -> bool:
        """Whether this prefix has nothing but the broadcast addresses of subnets."""
        bounds = _bounds(family, address, length)
        return _share(self._broadcast[family], bounds) is Local.ALL

    def is_free(self, family: int, address: int, length: int) -> bool:
        """Whether no route but the default one leads to other hosts in this prefix."""
        return (
            length > 0
            and _share(self._others[family], _bounds(family, address, length)) is Local.NONE
            and not self._is_link_local(family, address, length)
        )

    def remedy(self, family: int, address: int, length: int) -> str:
        """The command that makes packets to this prefix arrive, and what to mind.

        A route for the whole prefix only if it takes no neighbour away. ADDRESS and INTERFACE stand
        for what only the operator knows.
        """
        prefix = format_prefix(family, address, length)
        if self.is_free(family, address, length):
            return f"ip route add local {prefix} dev lo"
        bits = FAMILY_BITS[family]
        device = self._link_of(family, address, length)
        if length == bits:
            add = f"ip address add {prefix}/{bits} dev {shell(device)}"
            return f"{add}, if no other host has this address"
        return (
            f"ip address add ADDRESS/{bits} dev {shell(device)}, for each address of {prefix} that "
            "this host is to have (a local route to all of them would cut it off from the others)"
        )

    def remedy_that_lasts(self, family: int, address: int, length: int) -> str:
        """The same, with what to write for the next boot."""
        prefix = format_prefix(family, address, length)
        now = self.remedy(family, address, length)
        if self.is_free(family, address, length):
            lasting = (
                f"{now}; permanently, in the .network file of an interface (systemd.network(5)): "
                f"[Route] Destination={prefix} Type=local Table=local"
            )
            if length == FAMILY_BITS[family]:
                return lasting
            return f"{lasting}. This host then no longer reaches other hosts in {prefix}"
        one = f"{prefix if length == FAMILY_BITS[family] else 'ADDRESS'}/{FAMILY_BITS[family]}"
        return (
            f"{now}; permanently, in the .network file of the interface (systemd.network(5)): "
            f"[Network] Address={one}"
        )

    def _link_of(self, family: int, address: int, length: int) -> str:
        """The interface whose neighbours are to find an address of this prefix: that of the longest
        connected prefix around it or in it. INTERFACE if several have one, lo if none has.
        """
        first, last = _bounds(family, address, length)
        longest = -1
        names: set[str] = set()
        for each in self._on_link:
            if each.family != family:
                continue
            begin, end = _bounds(family, each.address, each.length)
            if first > end or last < begin:
                continue
            if each.length > longest:
                longest, names = each.length, set()
            if each.length == longest:
                names.add(each.on_link)
        if not names and not self._is_link_local(family, address, length):
            return "lo"
        return names.pop() if len(names) == 1 else "INTERFACE"

    def _is_link_local(self, family: int, address: int, length: int) -> bool:
        link = _bounds(family, *_LINK_LOCAL[family])
        first, last = _bounds(family, address, length)
        return first <= link[1] and link[0] <= last


def locality(routes: Routes) -> Locality:
    """The local addresses that these routes make."""
    return Locality(routes.local, routes.broadcast, routes.elsewhere)


def _share(ranges: tuple[list[int], list[int]], bounds: tuple[int, int]) -> Local:
    first, last = bounds
    begins, ends = ranges
    # The last range that begins before or at the end of the prefix.
    at = bisect_right(begins, last) - 1
    if at < 0 or ends[at] < first:
        return Local.NONE
    return Local.ALL if begins[at] <= first and last <= ends[at] else Local.SOME


def _merged(prefixes: Iterable[LocalPrefix], family: int) -> tuple[list[int], list[int]]:
    """The first and the last addresses of ranges that neither overlap nor touch."""
    begins: list[int] = []
    ends: list[int] = []
    for first, last in sorted(_bounds(*prefix) for prefix in prefixes if prefix.family == family):
        if ends and first <= ends[-1] + 1:
            ends[-1] = max(last, ends[-1])
        else:
            begins.append(first)
            ends.append(last)
    return begins, ends


def _bounds(family: int, address: int, length: int) -> tuple[int, int]:
    return address, address | ((1 << (FAMILY_BITS[family] - length)) - 1)

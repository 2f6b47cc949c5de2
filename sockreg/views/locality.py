"""Whether packets to a prefix arrive here at all. Pure.

Rules apply to packets for local addresses. The addresses of interfaces are local. A route of type
local (ip-route(8), "AnyIP") makes others local.
"""

from bisect import bisect_right
from collections.abc import Iterable
from enum import StrEnum

from sockreg.host.routes import LocalPrefix
from sockreg.model import FAMILY_BITS


class Local(StrEnum):
    """How much of a prefix is local."""

    ALL = "all"
    SOME = "some"
    NONE = "none"


class Locality:
    """The local addresses of a network namespace."""

    def __init__(self, prefixes: Iterable[LocalPrefix]) -> None:
        self._ranges = {family: _merged(prefixes, family) for family in FAMILY_BITS}

    def of(self, family: int, address: int, length: int) -> Local:
        """How much of this prefix is local."""
        first, last = _bounds(family, address, length)
        begins, ends = self._ranges[family]
        # The last range that begins before or at the end of the prefix.
        at = bisect_right(begins, last) - 1
        if at < 0 or ends[at] < first:
            return Local.NONE
        return Local.ALL if begins[at] <= first and last <= ends[at] else Local.SOME


def route_command(prefix: str) -> str:
    """The command that makes a prefix local."""
    return f"ip route add local {prefix} dev lo"


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

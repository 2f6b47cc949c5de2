"""Whether packets to a prefix arrive here at all. Pure.

Rules are about packets for local addresses. Those of interfaces are local; others by a
route of type local (ip-route(8)), "AnyIP".
"""

from bisect import bisect_right
from collections.abc import Iterable
from enum import StrEnum

from sockreg.kernel.routes import LocalPrefix
from sockreg.model import FAMILY_BITS
from sockreg.rules.syntax import format_prefix


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
        ranges = self._ranges[family]
        # The last range that begins at or before the prefix ends.
        at = bisect_right(ranges, last, key=lambda it: it[0]) - 1
        if at < 0 or ranges[at][1] < first:
            return Local.NONE
        return Local.ALL if ranges[at][0] <= first and last <= ranges[at][1] else Local.SOME


def route_command(family: int, address: int, length: int) -> str:
    """The command that makes a prefix local."""
    return f"ip route add local {format_prefix(family, address, length)} dev lo"


def _merged(prefixes: Iterable[LocalPrefix], family: int) -> list[tuple[int, int]]:
    """Ranges of addresses, both ends included, that neither overlap nor touch."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(_bounds(*it) for it in prefixes if it.family == family):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _bounds(family: int, address: int, length: int) -> tuple[int, int]:
    return address, address | ((1 << (FAMILY_BITS[family] - length)) - 1)

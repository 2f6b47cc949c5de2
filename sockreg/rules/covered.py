"""Bindings that can never win, because other bindings win all their packets. Pure."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import attrgetter

from sockreg.model import FAMILY_BITS, Binding
from sockreg.rules.precedence import rank
from sockreg.rules.taken import is_conditional

_NEARBY = 512  # limit on the bindings inside a binding's prefix that are compared with it
_LONGEST = 128  # prefix

Prefix = tuple[int, int]  # address, length

_prefix: Callable[[Binding], Prefix] = attrgetter("address", "length")


def never_win(bindings: Sequence[Binding]) -> Iterator[tuple[Binding, list[Binding]]]:
    """Each binding that can never win, with the bindings that cover it together.

    Every result is right, but not every such binding is found. Bindings with more than a few
    hundred others inside their prefix are skipped, and so are bindings that are only covered by
    several source prefixes or interfaces together.
    """
    groups: dict[tuple[int, int], list[Binding]] = defaultdict(list)
    for binding in bindings:
        groups[binding.protocol, binding.family].append(binding)
    for (_, family), group in groups.items():
        # Shorter prefixes come first: a later binding that begins inside a prefix lies in it.
        group.sort(key=_prefix)
        prefixes = list(map(_prefix, group))
        for binding in _perhaps_covered(group, FAMILY_BITS[family]):
            _, last = _range(binding)
            start = bisect_left(prefixes, _prefix(binding))
            inside = group[start : bisect_right(prefixes, (last, _LONGEST))]
            if len(inside) <= _NEARBY:
                stronger = [other for other in inside if _wins_over(other, binding)]
                if not any(map(is_conditional, inside)) or _cover(stronger, binding):
                    yield binding, stronger


def _perhaps_covered(group: Iterable[Binding], bits: int) -> Iterator[Binding]:
    """The bindings that would be covered if none of the others had conditions.

    Usually these are few of very many. Only these need to be compared with the bindings inside
    their prefix.
    """
    there: dict[Prefix, list[Binding]] = defaultdict(list)
    for binding in group:
        there[_prefix(binding)].append(binding)
    covered = _covered_by_longer(there, bits)
    for prefix, alike in there.items():
        taken = covered.get(prefix, 0)
        if taken or len(alike) > 1:
            for _, equals in groupby(sorted(alike, key=rank), key=rank):
                before = taken
                for binding in equals:
                    ports = _ports(binding.first, binding.last)
                    if not ports & ~before:
                        yield binding
                    taken |= ports


def _covered_by_longer(there: Mapping[Prefix, list[Binding]], bits: int) -> dict[Prefix, int]:
    """The ports on which longer prefixes cover all of a prefix; bit n is port n.

    They cover a prefix if they cover both its halves.
    """
    covered: dict[Prefix, int] = {}
    by_length: dict[int, set[int]] = defaultdict(set)
    for address, length in there:
        by_length[length].add(address)

    def ports(prefix: Prefix) -> int:
        found = covered.get(prefix, 0)
        for binding in there.get(prefix, ()):
            found |= _ports(binding.first, binding.last)
        return found

    for length in range(bits, 0, -1):
        half = 1 << (bits - length)
        for address in by_length[length]:
            if not address & half and address | half in by_length[length]:
                both = ports((address, length)) & ports((address | half, length))
                if both:
                    covered[address, length - 1] = both
                    by_length[length - 1].add(address)
    return covered


@lru_cache(maxsize=4096)
def _ports(first: int, last: int) -> int:
    return (2 << last) - (1 << first)


def _wins_over(one: Binding, other: Binding) -> bool:
    """Whether ``one``, from inside the other's prefix, wins all packets that both match."""
    return (
        one.first <= other.last
        and other.first <= one.last
        and (one.length > other.length or rank(one) < rank(other))
        and one.interface in (None, other.interface)
        and (one.source is None or (other.source is not None and _source_inside(other, one)))
    )


def _source_inside(inner: Binding, outer: Binding) -> bool:
    (address, length), (prefix, shorter) = inner.source or (0, 0), outer.source or (0, 0)
    host_bits = FAMILY_BITS[inner.family] - shorter
    return length >= shorter and address >> host_bits == prefix >> host_bits


def _cover(stronger: Sequence[Binding], binding: Binding) -> bool:
    """Whether the bindings cover all addresses on all ports of the given one."""
    edges = {binding.first}
    for other in stronger:
        edges.update((other.first, other.last + 1))
    # Between two edges the same bindings match.
    for port in sorted(edge for edge in edges if binding.first <= edge <= binding.last):
        matching = (other for other in stronger if other.first <= port <= other.last)
        ranges = sorted(map(_range, matching))
        missing, last = _range(binding)
        for begin, end in ranges:
            if begin > missing:
                break
            missing = max(missing, end + 1)
        if missing <= last:
            return False
    return True


def _range(binding: Binding) -> tuple[int, int]:
    host_bits = FAMILY_BITS[binding.family] - binding.length
    return binding.address, binding.address | ((1 << host_bits) - 1)

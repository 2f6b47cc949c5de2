"""Bindings that can never win, because others win all their packets. Pure."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from sockreg.model import FAMILY_BITS, Binding
from sockreg.rules.precedence import rank

_NEARBY = 512  # bindings inside a binding's prefix that are compared with it


def never_win(bindings: Sequence[Binding]) -> Iterator[tuple[Binding, list[Binding]]]:
    """Each binding that can never win, and those that cover it together.

    What is told is so. Not all is told: bindings with more than a few hundred others inside
    their prefix are passed over, and so are those covered only by several source prefixes
    or interfaces together.
    """
    groups: dict[tuple[int, int], list[Binding]] = defaultdict(list)
    for binding in bindings:
        groups[binding.protocol, binding.family].append(binding)
    for group in groups.values():
        group.sort(key=lambda it: it.address)
        addresses = [it.address for it in group]
        for binding in group:
            first, last = _range(binding)
            inside = slice(bisect_left(addresses, first), bisect_right(addresses, last))
            if 1 < inside.stop - inside.start <= _NEARBY:
                stronger = [it for it in group[inside] if _wins_over(it, binding)]
                if stronger and _cover(stronger, binding):
                    yield binding, stronger


def _wins_over(one: Binding, other: Binding) -> bool:
    """Whether ``one`` wins every packet that both match and whose prefix and port it has."""
    return (
        one is not other
        and one.length >= other.length
        and rank(one) < rank(other)
        and one.first <= other.last
        and other.first <= one.last
        and one.interface in (None, other.interface)
        and (one.source is None or (other.source is not None and _source_inside(other, one)))
    )


def _source_inside(inner: Binding, outer: Binding) -> bool:
    (address, length), (prefix, shorter) = inner.source or (0, 0), outer.source or (0, 0)
    host_bits = FAMILY_BITS[inner.family] - shorter
    return length >= shorter and address >> host_bits == prefix >> host_bits


def _cover(stronger: Iterable[Binding], binding: Binding) -> bool:
    """Whether they leave none of its addresses on any of its ports."""
    candidates = list(stronger)
    edges = {binding.first}
    for it in candidates:
        edges.update((it.first, it.last + 1))
    # Between two edges the same bindings match.
    for port in sorted(edge for edge in edges if binding.first <= edge <= binding.last):
        ranges = sorted(_range(it) for it in candidates if it.first <= port <= it.last)
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

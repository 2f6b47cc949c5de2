"""Which bindings take packets away from an ordinary listening socket. Pure."""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import NamedTuple

from sockreg.model import FAMILY_BITS, PROTOCOL_NAMES, Action, Binding
from sockreg.rules.byport import ByPort
from sockreg.rules.precedence import rank
from sockreg.rules.syntax import format_prefix


class Endpoint(NamedTuple):
    """Where a socket listens in one family. ``address`` is as in Binding; None is all addresses."""

    protocol: int
    family: int
    address: int | None
    port: int


def takers(rules: ByPort, endpoint: Endpoint, leaves: Callable[[Binding], bool]) -> list[Binding]:
    """The bindings that win packets for this endpoint.

    For a wildcard endpoint, these are the bindings that decide for some prefix, apart from longer
    prefixes inside it. ``leaves`` says whether a BIND binding takes nothing away, because the
    packet reaches the same socket in the end. A binding with ``from`` or ``dev`` takes a part.
    """
    about = rules.about(endpoint.protocol, endpoint.family, endpoint.port)
    if endpoint.address is not None:
        bits = FAMILY_BITS[endpoint.family]
        candidates = [b for b in about if _holds(b, endpoint.address, bits)]
        return list(_deciding(candidates, leaves))
    found: list[Binding] = []
    about.sort(key=_prefix)
    for _, same_prefix in groupby(about, key=_prefix):
        found += _deciding(list(same_prefix), leaves)
    return found


def pass_line(endpoint: Endpoint, taker: Binding) -> str:
    """The line that leaves an endpoint the packets that ``taker`` would win."""
    family, address, length = endpoint.family, taker.address, taker.length
    if endpoint.address is not None:
        address, length = endpoint.address, FAMILY_BITS[family]
    prefix = format_prefix(family, address, length)
    return f"Pass={PROTOCOL_NAMES[endpoint.protocol]} {prefix} {endpoint.port}"


def is_conditional(binding: Binding) -> bool:
    """Whether the binding matches only some of the packets to its prefix and ports."""
    return binding.source is not None or binding.interface is not None


def _deciding(
    candidates: Iterable[Binding], leaves: Callable[[Binding], bool]
) -> Iterable[Binding]:
    """Among bindings for the same addresses: those with conditions, up to the first without."""
    for binding in sorted(candidates, key=rank):
        if binding.action is not Action.PASS and not (
            binding.action is Action.BIND and leaves(binding)
        ):
            yield binding
        if not is_conditional(binding):
            return


def _prefix(binding: Binding) -> tuple[int, int]:
    return binding.address, binding.length


def _holds(binding: Binding, address: int, bits: int) -> bool:
    host_bits = bits - binding.length
    return address >> host_bits == binding.address >> host_bits

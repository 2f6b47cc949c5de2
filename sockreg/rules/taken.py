"""Which bindings take packets away from an ordinary listening socket. Pure."""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import NamedTuple

from sockreg.model import FAMILY_BITS, PROTOCOL_NAMES, Action, Binding
from sockreg.rules.byport import ByPort
from sockreg.rules.precedence import rank
from sockreg.rules.prefixes import format_prefix


class Endpoint(NamedTuple):
    """Where a socket listens in one family. ``address`` is as in Binding; None is all addresses."""

    protocol: int
    family: int
    address: int | None
    port: int


class Taker(NamedTuple):
    """A binding that wins packets for an endpoint. ``whole``: neither it nor a stronger one leaves
    any to the endpoint.
    """

    binding: Binding
    whole: bool


def takers(rules: ByPort, endpoint: Endpoint, leaves: Callable[[Binding], bool]) -> list[Taker]:
    """The bindings that win packets for this endpoint.

    For a wildcard endpoint, these are the bindings that decide for some prefix, apart from longer
    prefixes inside it. ``leaves`` says whether a BIND binding takes nothing away, because the
    packet reaches the same socket in the end. A binding with ``from`` or ``dev`` takes a part.
    """
    about = rules.about(endpoint.protocol, endpoint.family, endpoint.port)
    if endpoint.address is not None:
        bits = FAMILY_BITS[endpoint.family]
        candidates = [b for b in about if _holds(b, endpoint.address, bits)]
        return _deciding(candidates, leaves)[0]
    found: list[Taker] = []
    leaving = False
    about.sort(key=_prefix)
    for _, same_prefix in groupby(about, key=_prefix):
        of_prefix, leaves_some = _deciding(list(same_prefix), leaves)
        found += of_prefix
        leaving = leaving or leaves_some
    return [
        each._replace(whole=each.whole and not leaving and each.binding.length == 0)
        for each in found
    ]


def pass_line(endpoint: Endpoint, taker: Binding) -> str:
    """The line that leaves an endpoint the packets that ``taker`` would win; empty if none does.

    A line without conditions wins no packet of a rule for the same addresses and the same port, and
    ties with it if that has no conditions, either.
    """
    family, address, length = endpoint.family, taker.address, taker.length
    if endpoint.address is not None:
        address, length = endpoint.address, FAMILY_BITS[family]
    if length == taker.length and taker.first == taker.last:
        return ""
    prefix = format_prefix(family, address, length)
    return f"Pass={PROTOCOL_NAMES[endpoint.protocol]} {prefix} {endpoint.port}"


def is_conditional(binding: Binding) -> bool:
    """Whether the binding matches only some of the packets to its prefix and ports."""
    return binding.source is not None or binding.interface is not None


def _deciding(
    candidates: Iterable[Binding], leaves: Callable[[Binding], bool]
) -> tuple[list[Taker], bool]:
    """Among bindings for the same addresses: those with conditions, up to the first without. And
    whether one of them leaves packets to the endpoint.
    """
    found: list[Taker] = []
    leaving = False
    for binding in sorted(candidates, key=rank):
        if binding.action is Action.PASS or (binding.action is Action.BIND and leaves(binding)):
            leaving = True
        else:
            found.append(Taker(binding, not leaving and not is_conditional(binding)))
        if not is_conditional(binding):
            break
    return found, leaving


def _prefix(binding: Binding) -> tuple[int, int]:
    return binding.address, binding.length


def _holds(binding: Binding, address: int, bits: int) -> bool:
    host_bits = bits - binding.length
    return address >> host_bits == binding.address >> host_bits

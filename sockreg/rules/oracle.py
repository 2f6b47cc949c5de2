"""The meaning of a rule set, written as simply as possible.

Slow on purpose: every binding is compared. The tests compare the compiled tables and the live
program with the oracle. It therefore shares only the order of precedence with the compiler.
"""

from __future__ import annotations

from collections.abc import Iterable

from sockreg.model import FAMILY_BITS, Binding, Packet
from sockreg.rules.precedence import rank


def decide(bindings: Iterable[Binding], packet: Packet) -> Binding | None:
    """The binding that wins the packet, or None for ordinary lookup."""
    return min((b for b in bindings if matches(b, packet)), key=rank, default=None)


def ranking(bindings: Iterable[Binding], packet: Packet) -> list[Binding]:
    """All bindings that match the packet, the winner first."""
    return sorted((b for b in bindings if matches(b, packet)), key=rank)


def matches(binding: Binding, packet: Packet) -> bool:
    """Whether a binding matches this packet."""
    return (
        binding.protocol == packet.protocol
        and binding.family == packet.family
        and _inside(packet.family, packet.address, binding.address, binding.length)
        and binding.first <= packet.port <= binding.last
        and (binding.interface is None or binding.interface == packet.interface)
        and (
            binding.source is None or _inside(packet.family, packet.source_address, *binding.source)
        )
    )


def _inside(family: int, address: int, prefix: int, length: int) -> bool:
    """Whether the first ``length`` bits of the address equal those of the prefix."""
    host_bits = FAMILY_BITS[family] - length
    return address >> host_bits == prefix >> host_bits

"""Addresses that the kernel never looks for a listener at, so no rule for them can match. Pure.

Datagrams to multicast and broadcast addresses go to all sockets that asked for them, by a lookup
without the sk_lookup hook, and TCP does not know such addresses. A packet for an unspecified
address cannot exist: a client on this host that connects there reaches the loopback address.
"""

from __future__ import annotations

from sockreg.model import INET, INET6

_MULTICAST = {INET: (0xE << 28, 4), INET6: (0xFF << 120, 8)}
_BROADCAST = (INET, 0xFFFFFFFF, 32)
_UNSPECIFIED = {(INET, 0, 32): "0.0.0.0", (INET6, 0, 128): "::"}
# Everything below is none of these, apart from an address of 0: most rules are done with this.
_FIRST = {family: address for family, (address, _) in _MULTICAST.items()}


def why_unasked(family: int, address: int, length: int) -> str:
    """Why no packet to this prefix meets a rule: a sentence, or empty if packets may."""
    if 0 < address < _FIRST[family]:
        return ""
    name = _UNSPECIFIED.get((family, address, length))
    if name is not None:
        return f"no packet has the address {name}; write {name}/0 for all addresses"
    if (family, address, length) == _BROADCAST:
        return "the kernel delivers broadcasts without looking at any rule"
    first, bits = _MULTICAST[family]
    if address >= first and length >= bits and _is_within(family, address):
        return "the kernel delivers multicast without looking at any rule"
    return ""


def _is_within(family: int, address: int) -> bool:
    return family == INET6 or address < 0xF << 28

"""Sockets that are bound to an interface (SO_BINDTODEVICE, or a link-local address). Pure.

The sk_lookup hook may select such a socket for any packet, but the kernel answers through the
socket's interface, and does not find the connection of a packet from another one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sockreg.host.links import Above


def arriving(
    interface: str | None, indices: Mapping[str, int], inner: Mapping[str, Above]
) -> Collection[int] | None:
    """The interfaces by which sockets get the packets of this one; None if it may be any."""
    if interface is None:
        return None
    above = inner.get(interface)
    return {indices[interface]} if above is None else {above.index, above.member} - {0}


def unanswered(bound_to: int, names: Mapping[int, str], arriving_on: Collection[int] | None) -> str:
    """What is wrong with a socket that is bound to an interface, for packets that arrive on these.

    Empty if they are answered. ``bound_to`` is an index, 0 for none.
    """
    if not bound_to or (arriving_on is not None and bound_to in arriving_on):
        return ""
    name = names.get(bound_to)
    if name is None:
        return (
            f"bound to an interface that is gone (its index was {bound_to}): no client gets an "
            "answer until its server binds again"
        )
    return f"bound to interface {name}: clients that come by another one get no answer"

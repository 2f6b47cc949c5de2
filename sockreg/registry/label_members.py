"""The members of a label."""

from typing import NamedTuple

from sockreg.errors import SockregError
from sockreg.registry.destinations import of_label
from sockreg.registry.maps import Maps
from sockreg.registry.members import Member, members_of
from sockreg.terms import ONLY


class Registered(NamedTuple):
    """A member, and the family and protocol in which it serves its label."""

    family: int
    protocol: int
    member: Member


def registered_under(maps: Maps, label: str) -> list[Registered]:
    """The members of a label, by family and protocol. A dual-stack socket appears twice."""
    found: dict[tuple[int, int, int], Registered] = {}
    for (_, family, protocol, _), slot in sorted(of_label(maps, label).items()):
        for member in members_of(maps, slot):
            # A destination for one listener may have what the one for the only listener has.
            entry = Registered(family, protocol, member)
            found.setdefault((family, protocol, member.cookie), entry)
    return list(found.values())


def several_listeners(maps: Maps, label: str, family: int, protocol: int) -> list[str]:
    """``mail.socket 127.0.0.1:8143`` of the listeners of units that have several.

    Rules that do not say which one they mean lead to none of them.
    """
    there = of_label(maps, label)
    only = there.get((label, family, protocol, ONLY))
    clear = set() if only is None else {member.unit for member in members_of(maps, only)}
    return [
        f"{member.unit} {member.address}"
        for key, slot in sorted(there.items())
        if key[:3] == (label, family, protocol) and key[3] != ONLY
        for member in members_of(maps, slot)
        if member.unit not in clear
    ]


def nothing_registered(label: str, unit: str | None = None) -> SockregError:
    """A label, or a unit under it, has no member."""
    of_unit = f" of {unit}" if unit is not None else ""
    return SockregError(
        f"label {label} has no socket{of_unit}",
        "'sockreg status' shows the labels with sockets",
    )

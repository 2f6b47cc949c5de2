"""The members of a label."""

from typing import NamedTuple

from sockreg.errors import SockregError
from sockreg.registry.destinations import read_destinations
from sockreg.registry.maps import Maps
from sockreg.registry.members import Member, members_of


class Registered(NamedTuple):
    """A member, and the family and protocol in which it serves its label."""

    family: int
    protocol: int
    member: Member


def registered_under(maps: Maps, label: str) -> list[Registered]:
    """The members of a label, by family and protocol. A dual-stack socket appears twice."""
    found = []
    for (name, family, protocol), slot in sorted(read_destinations(maps).items()):
        if name == label:
            for member in members_of(maps, slot):
                found.append(Registered(family, protocol, member))
    return found


def nothing_registered(label: str, unit: str | None = None) -> SockregError:
    """A label, or a unit under it, has no member."""
    of_unit = f" of {unit}" if unit is not None else ""
    return SockregError(
        f"label {label} has no socket{of_unit}",
        "'sockreg status' shows the labels with sockets",
    )

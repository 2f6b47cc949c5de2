"""The members of a label."""

from typing import NamedTuple

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

"""What is registered under a label."""

from typing import NamedTuple

from sockreg.registry import sockets


class Registered(NamedTuple):
    """A member, and the family and protocol in which it serves its label."""

    family: int
    protocol: int
    member: sockets.Member


def members_of(maps: sockets.Maps, label: str) -> list[Registered]:
    """The members of a label, by family and protocol. A dual-stack socket shows up twice."""
    found = []
    for (name, family, protocol), slot in sorted(sockets.read_destinations(maps).items()):
        if name == label:
            for member in sockets.members_of(maps, slot):
                found.append(Registered(family, protocol, member))
    return found

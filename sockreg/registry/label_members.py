"""The members of a label."""

from typing import NamedTuple

from sockreg.errors import SockregError
from sockreg.registry.destinations import of_label
from sockreg.registry.maps import Maps
from sockreg.registry.members import Member, members_of


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


def nothing_registered(label: str, unit: str | None = None) -> SockregError:
    """A label, or a unit under it, has no member."""
    of_unit = f" of {unit}" if unit is not None else ""
    return SockregError(
        f"label {label} has no socket{of_unit}",
        "'sockreg status' shows the labels with sockets",
    )

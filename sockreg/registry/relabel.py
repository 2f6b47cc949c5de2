"""Sockets follow the label in their unit's files, when the rules of the unit do.

The sockets are put under the new label before its rules come into force, and taken from the old one
afterwards, so no packet meets an empty slot. Callers hold the lock of the registry's directory.
"""

from collections.abc import Mapping

from sockreg.registry import pools
from sockreg.registry.claims import Registrant, refuse_foreign
from sockreg.registry.destinations import add_destinations, read_destinations
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of
from sockreg.terms import DEFAULT_WEIGHT

Labels = Mapping[str, tuple[str, str]]  # unit -> label before, label after


def refuse_taken(maps: Maps, units: Mapping[str, tuple[str, bool]]) -> None:
    """Raises RefusedError if others have a socket under a label and do not share it.

    ``units`` are the units that get a label, with it and whether their files say a weight.
    """
    for unit, (label, weight_said) in units.items():
        refuse_foreign(
            maps, Registrant(unit, DEFAULT_WEIGHT, weight_said=weight_said), label, set()
        )


def enter_new(maps: Maps, labels: Labels) -> None:
    """Register the sockets of these units under their new labels, too."""
    for (label, family, protocol), slot in _ours(maps, labels):
        for member in members_of(maps, slot):
            before, after = labels.get(member.unit, ("", ""))
            if before == label:
                key = (after, family, protocol)
                place = add_destinations(maps, [key])[key]
                pools.copy_in(maps, place, member)


def leave_old(maps: Maps, labels: Labels) -> None:
    """Take the sockets of these units from their old labels."""
    for (label, _, _), slot in _ours(maps, labels):
        for member in members_of(maps, slot):
            if labels.get(member.unit, ("", ""))[0] == label:
                pools.leave(maps, slot, member)


def _ours(maps: Maps, labels: Labels) -> list[tuple[tuple[str, int, int], int]]:
    """The destinations of the old labels."""
    old = {before for before, _ in labels.values()}
    return [(key, slot) for key, slot in read_destinations(maps).items() if key[0] in old]

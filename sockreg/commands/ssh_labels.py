"""Keeping the socket of ssh under the label by which a rule leads to it."""

from sockreg.registry import ssh_labels
from sockreg.registry.destinations import destination_name, of_label
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of


def refuse_removal(maps: Maps, label: str, unit: str | None, *, what: str) -> None:
    """Raise RefusedError if the label's sockets, or that of ``unit``, carry ssh.

    ``what`` is what is refused. Callers hold the lock of the registry's directory, and go on with
    it: an apply may make the label that of ssh at any time.
    """
    marked = ssh_labels.marks(maps.registry)
    if not marked:
        return
    for key, slot in of_label(maps, label).items():
        if slot not in marked:
            continue
        if any(unit in (None, member.unit) for member in members_of(maps, slot)):
            destination = destination_name(*key)
            ssh_labels.refuse_others(maps.registry, slot, destination, "", None, what=what)

"""Keeping the socket of ssh under the label by which a rule leads to it."""

from sockreg.registry import ssh_labels
from sockreg.registry.destinations import destination_name, of_label
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of


def refuse_removal(registry: str, label: str, unit: str | None, *, what: str) -> None:
    """Raise RefusedError if the label's sockets, or that of ``unit``, carry ssh.

    ``what`` is what is refused.
    """
    marked = ssh_labels.marks(registry)
    if not marked:
        return
    with Maps(registry, read_only=True) as maps:
        for key, slot in of_label(maps, label).items():
            if slot not in marked:
                continue
            if any(unit in (None, member.unit) for member in members_of(maps, slot)):
                destination = destination_name(*key)
                ssh_labels.refuse_others(registry, slot, destination, "", None, what=what)

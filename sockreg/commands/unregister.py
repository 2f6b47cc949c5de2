"""Removing the sockets of a label from the registry."""

from sockreg import interrupts
from sockreg.commands.ssh_labels import refuse_removal
from sockreg.context import Context
from sockreg.registry import registration
from sockreg.registry.label_members import nothing_registered
from sockreg.registry.locks import REGISTRATION_PATIENCE, Lock
from sockreg.registry.maps import Maps


def unregister(context: Context, label: str, unit: str | None) -> int:
    """Returns how many slots were emptied.

    Raises SockregError if the label has no such socket, and RefusedError if it is that of ssh, to
    which a rule leads.
    """
    registry = context.loaded_registry()
    with Maps(registry) as maps, Lock(registry, REGISTRATION_PATIENCE), interrupts.dropped():
        refuse_removal(maps, label, unit, what="nothing is unregistered")
        removed = registration.remove_members(maps, label=label, unit=unit)
    count = registration.tell_all_removed(removed)
    if count == 0:
        raise nothing_registered(label, unit)
    return count

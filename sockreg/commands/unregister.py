"""Removing the sockets of a label from the registry."""

from sockreg.commands.ssh_labels import refuse_removal
from sockreg.context import Context
from sockreg.registry import registration
from sockreg.registry.label_members import nothing_registered


def unregister(context: Context, label: str, unit: str | None) -> int:
    """Returns how many slots were emptied.

    Raises SockregError if the label has no such socket, and RefusedError if it is that of ssh, to
    which a rule leads.
    """
    registry = context.loaded_registry()
    refuse_removal(registry, label, unit, what="nothing is unregistered")
    count = registration.unregister(registry, label=label, unit=unit)
    if count == 0:
        raise nothing_registered(label, unit)
    return count

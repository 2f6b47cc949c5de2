"""Removing the sockets of a label from the registry."""

from sockreg.context import Context
from sockreg.errors import SockregError
from sockreg.registry import registration


def unregister(context: Context, label: str, unit: str | None) -> int:
    """Returns how many slots were emptied. Raises SockregError if the label has no such socket."""
    count = registration.unregister(context.loaded_registry(), label=label, unit=unit)
    if count == 0:
        of_unit = f" of {unit}" if unit is not None else ""
        raise SockregError(
            f"label {label} has no socket{of_unit}",
            "'sockreg status' shows the labels with sockets",
        )
    return count

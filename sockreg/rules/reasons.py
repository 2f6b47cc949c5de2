"""Why one binding beats another, in words."""

from sockreg.model import Binding


def why_first(winner: Binding, other: Binding) -> str:
    """What decides for ``winner`` when both match a packet: the first step that differs."""
    if winner.length != other.length:
        return f"its prefix is longer, /{winner.length} over /{other.length}"
    width, other_width = winner.last - winner.first, other.last - other.first
    if width != other_width:
        return "its port is exact" if width == 0 else "its port range is narrower"
    if (winner.interface is None) != (other.interface is None):
        return "it names the interface"
    return "its source prefix is longer"

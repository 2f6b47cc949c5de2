"""Why one binding beats another, in words."""

from sockreg.model import Binding


def why_first(winner: Binding, other: Binding) -> str:
    """The first step of precedence that ``winner`` wins over ``other``.

    Reads as the object of "has": ``the longer prefix, /24 over /8``.
    """
    if winner.length != other.length:
        return f"the longer prefix, /{winner.length} over /{other.length}"
    width, other_width = winner.last - winner.first, other.last - other.first
    if width != other_width:
        return "an exact port" if width == 0 else "the narrower port range"
    if (winner.interface is None) != (other.interface is None):
        return "an interface"
    return "the longer source prefix"

"""Labels, units and weights as they are given: by the command line or by a program."""

from sockreg.errors import UsageError
from sockreg.terms import WEIGHT_MAX, label_problem


def check_label(label: str) -> None:
    """Raises UsageError if the label is invalid."""
    problem = label_problem(label)
    if problem:
        raise UsageError(f"label {label!r:.300} {problem}", "")


def check_unit_name(unit: str) -> None:
    """Raises UsageError if the unit name is invalid."""
    if not 0 < len(unit) <= 255 or not all("!" <= c <= "~" for c in unit):
        raise UsageError(
            f"unit {unit!r:.300}: not the name of a unit",
            "a unit name has up to 255 ASCII characters and no spaces",
        )


def check_weight(weight: int) -> None:
    """Raises UsageError if the weight is invalid."""
    if not 0 <= weight <= WEIGHT_MAX:
        raise UsageError(f"weight {weight} is not from 0 to {WEIGHT_MAX}", "")

"""Names as they are typed: of labels and units."""

from sockreg.errors import UsageError
from sockreg.terms import label_problem


def check_label(label: str) -> None:
    """Raises UsageError if the label is invalid."""
    problem = label_problem(label)
    if problem:
        raise UsageError(f"label {label!r:.300} {problem}", "")


def check_unit_name(unit: str) -> None:
    """Raises UsageError if the unit name is invalid."""
    if not 0 < len(unit) <= 255 or not all("!" <= c <= "~" for c in unit):
        raise UsageError(
            f"--unit {unit!r:.300}: not the name of a unit",
            "a unit name has up to 255 ASCII characters and no spaces",
        )

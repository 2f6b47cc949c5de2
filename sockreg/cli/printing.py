"""Tables for people, JSON for programs.

By hand, since rich takes two thirds of the time of a whole `status` to import, and cuts cells to
80 columns where the output is a pipe.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from typing import TextIO

SCHEMA_VERSION = 1
_MANY = 1000  # larger lists are not indented
_encode = json.JSONEncoder(default=vars).encode  # dataclasses as objects


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as needed, two spaces apart. Numbers are right-aligned."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    numeric = [
        bool(cells) and all(row[i].lstrip("-").isdigit() for row in cells)
        for i in range(len(header))
    ]
    form = "  ".join(
        f"{{:{'>' if right else '<'}{width}}}" for width, right in zip(widths, numeric, strict=True)
    )
    print("\n".join(form.format(*row).rstrip() for row in [header, *cells]))


def say(message: str, *, to: TextIO | None = None) -> None:
    """Print what a command has logged to the journal, unless our output is the journal."""
    from sockreg.commands import tell

    if not tell.is_seen():
        print(message, file=to)


def print_json(kind: str, content: object) -> None:
    """One object with the name and version of its schema; dataclasses are objects, too."""
    print(_json({"schema": f"sockreg.{kind}", "version": SCHEMA_VERSION, kind: content}))


def _json(value: object, margin: str = "") -> str:
    """Indented by two, but with one line per element for long lists.

    The json module indents in Python, which takes a second and a half for 100,000 rules. Printing
    each rule in one line takes a fifth of that.
    """
    inner = f"{margin}  "
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, dict) and value:
        members = [
            f"{inner}{_encode(key)}: {_json(member, inner)}" for key, member in value.items()
        ]
        return "\n".join(["{", ",\n".join(members), f"{margin}}}"])
    if isinstance(value, list) and len(value) > _MANY:
        return "\n".join(
            ["[", ",\n".join(inner + _encode(element) for element in value), f"{margin}]"]
        )
    if isinstance(value, list) and value:
        elements = [inner + _json(element, inner) for element in value]
        return "\n".join(["[", ",\n".join(elements), f"{margin}]"])
    return _encode(value)

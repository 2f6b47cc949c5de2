"""Tables for people, JSON for programs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass

SCHEMA_VERSION = 1


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as needed, two spaces apart; numbers to the right."""
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


def print_json(kind: str, content: object) -> None:
    """One object with the name and version of its schema."""
    body = asdict(content) if is_dataclass(content) and not isinstance(content, type) else content
    print(
        json.dumps({"schema": f"sockreg.{kind}", "version": SCHEMA_VERSION, kind: body}, indent=2)
    )


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

"""Tables for people, JSON for programs.

By hand, since rich takes two thirds of the time of a whole `status` to import, and cuts cells to
80 columns where the output is a pipe.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import is_dataclass

from sockreg.printable import printable
from sockreg.streams import out, out_document, out_lines

TYPE_CHECKING = False  # that of the typing module takes longer
if TYPE_CHECKING:
    from sockreg.streams import Tone

SCHEMA_VERSION = 1
_MANY = 1000  # larger lists are not indented
_encoded = json.JSONEncoder(default=vars).encode  # dataclasses as objects
# In encoded text: a backslash, a character of two surrogates, and a surrogate of its own.
_SURROGATES = re.compile(r"\\\\|\\ud[89ab]..\\ud[c-f]..|(\\ud[89a-f]..)")


def print_table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    tones: "list[Tone] | None" = None,
) -> None:
    """Columns as wide as needed, two spaces apart. Numbers are right-aligned.

    There is one of ``tones`` for each row.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    if not "".join(["".join(row) for row in cells]).isprintable():
        cells = [list(map(printable, row)) for row in cells]  # as wide as they are shown
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    numeric = [
        bool(cells) and all(row[i].lstrip("-").isdigit() for row in cells)
        for i in range(len(header))
    ]
    form = "  ".join(
        f"{{:{'>' if right else '<'}{width}}}" for width, right in zip(widths, numeric, strict=True)
    )
    lines = [form.format(*row).rstrip() for row in [header, *cells]]
    out_lines(lines, None if tones is None else ["", *tones])


def say(message: str, *, to: Callable[[str], None] = out) -> None:
    """Print what a command has logged to the journal, unless our output is the journal."""
    from sockreg.commands import tell

    if not tell.is_seen():
        to(message)


def print_json(kind: str, content: object) -> None:
    """One object with the name and version of its schema; dataclasses are objects, too."""
    text = _json({"schema": f"sockreg.{kind}", "version": SCHEMA_VERSION, kind: content})
    out_document(f"{text}\n")


def print_json_line(kind: str, content: object) -> None:
    """The same in one line, for streams of them."""
    text = _encode({"schema": f"sockreg.{kind}", "version": SCHEMA_VERSION, kind: content})
    out_document(f"{text}\n")


def _encode(value: object) -> str:
    """JSON in ASCII. It has nothing for a byte that is not UTF-8, which is shown as elsewhere."""
    text = _encoded(value)
    if "\\ud" not in text:
        return text
    return _SURROGATES.sub(lambda found: f"\\{found[1]}" if found[1] else found[0], text)


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

"""A Graph in the language of Graphviz: dot(1). Pure."""

from collections.abc import Sequence

from sockreg.printable import dot as inside_quotes
from sockreg.views.graph import Band, Graph


def dot(graph: Graph) -> str:
    """The picture as a directed graph, for dot -Tsvg and similar."""
    lines = [
        "digraph sockreg {",
        "  rankdir=LR;",
        '  node [shape=box, fontname="monospace", fontsize=10];',
    ]
    units: dict[str, None] = {}
    for number, band in enumerate(graph.bands):
        lines += _band(number, band, graph.rejected)
        units |= {sock.unit: None for sock in band.sockets}
    lines += [
        f"  {_quoted([f'unit {unit}'])} [label={_quoted([unit if unit != '-' else 'of no unit'])}];"
        for unit in units
    ]
    return "\n".join([*lines, "}", ""])


def _band(number: int, band: Band, rejected: int) -> list[str]:
    label = f"label{number}"
    lookups = sum(count.lookups for count in band.counts)
    lost = sum(count.misses + count.errors for count in band.counts)
    names = {
        "label": [band.name, f"{lookups} lookups", *([f"{lost} lost"] if lost else [])],
        "reject": ["reject", f"{rejected} refused"],
        "pass": ["pass", "to ordinary lookup"],
    }
    lines = [f"  {label} [label={_quoted(names[band.kind])}, style=rounded];"]
    if band.rules:
        rows = [*band.rows, *([f"and {band.hidden} more"] if band.hidden else [])]
        lines.append(f"  traffic{number} [label={_quoted(rows, left=True)}];")
        lines.append(f"  traffic{number} -> {label};")
    for sock in band.sockets:
        socket = _quoted([f"socket {sock.cookie}"])
        text = [f"{sock.protocol} {sock.address}", f"{sock.cookie}, weight {sock.weight}"]
        lines.append(f"  {socket} [label={_quoted(text)}];")
        lines.append(f"  {label} -> {socket};")
        lines.append(f"  {socket} -> {_quoted([f'unit {sock.unit}'])};")
    if band.kind == "label" and not band.sockets:
        lines.append(f"  nothing{number} [label={_quoted(['no socket'])}, style=dashed];")
        lines.append(f"  {label} -> nothing{number};")
    return lines


def _quoted(lines: Sequence[str], *, left: bool = False) -> str:
    """A string of the language. Its lines are centred or left-aligned."""
    escaped = list(map(inside_quotes, lines))
    end = "\\l" if left else "\\n"
    return '"' + end.join(escaped) + (end if left else "") + '"'

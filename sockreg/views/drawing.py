"""A Graph as SVG. Pure.

There are four columns: traffic, label, sockets, units. A band is as high as its tallest column; the
others are centred in it. Text uses a monospaced font, so that its width is known without a font.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from sockreg.plural import plural
from sockreg.printable import printable, xml
from sockreg.terms import NO_UNIT
from sockreg.views.graph import Band, Count, Graph, Socket

_ADVANCE = (
    0.602  # width of a monospaced character, relative to the size of the font (DejaVu, Liberation)
)
_SIZE, _SMALL = 13, 12  # of the font, px
_LINE = 20
_PADDING = 10
_MARGIN = 20
_HEAD = 48  # above the first band
_FOOT = 40
_BAND_GAP = 18
_BOX_GAP = 8
_COLUMN_GAP = 64
_LONGEST = 56  # characters per line
_THIN, _THICK = 1.5, 7.0  # of an edge
_HEADINGS = ("traffic", "label, packets", "socket", "unit")

_STYLE = """\
text { font: 13px ui-monospace, "DejaVu Sans Mono", "Liberation Mono", monospace; fill: #1b1f24 }
.head { font-weight: bold; fill: #57606a }
.name { font-weight: bold }
.small { font-size: 12px; fill: #57606a }
.bad { font-size: 12px; fill: #cf222e }
rect { fill: #f6f8fa; stroke: #8c959f }
rect.paper { fill: #fff; stroke: none }
rect.good { fill: #dafbe1; stroke: #1a7f37 }
rect.bad { fill: #ffebe9; stroke: #cf222e; stroke-dasharray: 5 3 }
rect.idle { stroke-dasharray: 5 3 }
path { fill: none; stroke: #8c959f }
path.good { stroke: #1a7f37; stroke-opacity: .55 }
path.bad { stroke: #cf222e; stroke-dasharray: 5 3 }"""


class _Line(NamedTuple):
    """A line of text in a box; ``style`` is a class of the style sheet."""

    text: str
    style: str = ""

    @property
    def width(self) -> float:
        size = _SMALL if self.style in {"small", "bad"} else _SIZE
        return _ADVANCE * size * len(_fitting(self.text))


@dataclass(frozen=True)
class _Box:
    """``to``: position in the next column of a connected box -> weight of the edge, 0 to 1."""

    lines: list[_Line]
    style: str = ""
    to: Mapping[int, float] = field(default_factory=dict)

    @property
    def height(self) -> float:
        return _LINE * len(self.lines) + _PADDING


class _Place(NamedTuple):
    """The place of a box."""

    box: _Box
    x: float
    y: float
    width: float

    @property
    def middle(self) -> float:
        return self.y + self.box.height / 2


def svg(graph: Graph) -> str:
    """The picture as an SVG document."""
    busiest = max((_lookups(band) for band in graph.bands), default=0)
    bands = [_columns(band, graph, busiest) for band in graph.bands]
    widths = [
        max([len(heading) * _SIZE * _ADVANCE, *(_width(bands, at))])
        for at, heading in enumerate(_HEADINGS)
    ]
    lefts = [_MARGIN + sum(widths[:at]) + at * _COLUMN_GAP for at in range(len(widths))]
    drawn: list[str] = []
    top: float = _HEAD
    for columns in bands:
        height = max(map(_height, columns))
        drawn += _band(columns, lefts, widths, top, height)
        top += height + _BAND_GAP
    width, height = lefts[-1] + widths[-1] + _MARGIN, top + _FOOT
    captions = [
        f'<text class="head" x="{left:g}" y="30">{heading}</text>'
        for left, heading in zip(lefts, _HEADINGS, strict=True)
    ]
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    caption = xml(_caption(graph))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
        f'<title id="title">{caption}</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{width:.0f}" height="{height:.0f}"/>',
        *captions,
        *drawn,
        f'<text class="small" x="{_MARGIN}" y="{top + 16:g}">{caption}</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _caption(graph: Graph) -> str:
    rules = plural(graph.rules, "rule", ",")
    in_force = f"generation {graph.generation}" if graph.generation else "nothing in force"
    hidden = f", {graph.hidden} quieter labels not shown" if graph.hidden else ""
    return f"sockreg: {in_force}, {rules}, network namespace {graph.netns}{hidden}"


def _lookups(band: Band) -> int:
    return sum(count.lookups for count in band.counts)


def _share(value: float, most: float) -> float:
    """From 0 to 1, by order of magnitude."""
    return math.log1p(value) / math.log1p(most) if most else 0.0


# The content of the columns


def _columns(band: Band, graph: Graph, busiest: int) -> list[list[_Box]]:
    share = _share(_lookups(band), busiest)
    if band.kind == "reject":
        refused = _Line(f"{plural(graph.rejected, 'packet', ',')} refused", "bad")
        return [[_traffic(band, 0.0)], [_Box([_Line("reject", "name"), refused], "bad")], [], []]
    if band.kind == "pass":
        lines = [_Line("pass", "name"), _Line("to ordinary lookup", "small")]
        return [[_traffic(band, 0.0)], [_Box(lines)], [], []]
    name = [_Line(band.name, "name"), *map(_count, band.counts)]
    if not band.sockets:
        why = "its packets are refused" if band.rules else "nothing leads there"
        nothing = _Box([_Line("no socket", "name"), _Line(why, "bad")], "bad")
        return [[_traffic(band, 0.0)], [_Box(name, to={0: 0.0})], [nothing], []]
    total = sum(sock.weight for sock in band.sockets) or 1
    shares = [share * sock.weight / total for sock in band.sockets]
    units = list(dict.fromkeys(sock.unit for sock in band.sockets))
    sockets = [
        _socket(sock, units.index(sock.unit), own)
        for sock, own in zip(band.sockets, shares, strict=True)
    ]
    made_for = [_Box([_Line(unit if unit != NO_UNIT else "of no unit")]) for unit in units]
    return [[_traffic(band, share)], [_Box(name, to=dict(enumerate(shares)))], sockets, made_for]


def _traffic(band: Band, share: float) -> _Box:
    if not band.rules:
        return _Box([_Line("no rule", "small")], "idle")
    lines = [_Line(row) for row in band.rows]
    if band.hidden:
        lines.append(_Line(f"and {band.hidden:,} more", "small"))
    return _Box(lines, to={0: share})


def _count(counted: Count) -> _Line:
    text = f"{counted.protocol} {counted.family} {counted.lookups:,}"
    lost = [f"{counted.misses:,} without a socket"] if counted.misses else []
    lost += [f"{counted.errors:,} refused by the kernel"] if counted.errors else []
    return _Line(", ".join([text, *lost]), "bad" if lost else "small")


def _socket(sock: Socket, unit: int, share: float) -> _Box:
    drained = ", drained" if sock.weight == 0 else ""
    lines = [
        _Line(f"{sock.protocol} {sock.address}"),
        _Line(f"{sock.cookie}, weight {sock.weight}{drained}", "small"),
    ]
    return _Box(lines, "idle" if drained else "good", {unit: share})


# Position and style


def _width(bands: Sequence[Sequence[Sequence[_Box]]], at: int) -> list[float]:
    return [
        line.width + 2 * _PADDING for columns in bands for box in columns[at] for line in box.lines
    ]


def _height(column: Sequence[_Box]) -> float:
    return sum(box.height for box in column) + _BOX_GAP * max(0, len(column) - 1)


def _band(
    columns: Sequence[Sequence[_Box]],
    lefts: Sequence[float],
    widths: Sequence[float],
    top: float,
    height: float,
) -> Iterator[str]:
    places = [
        list(_stacked(column, left, width, top + (height - _height(column)) / 2))
        for column, left, width in zip(columns, lefts, widths, strict=True)
    ]
    for column, following in pairwise(places):
        for place in column:
            for at, weight in place.box.to.items():
                yield _edge(place, following[at], weight)
    for column in places:
        for place in column:
            yield from _drawn(place)


def _stacked(column: Sequence[_Box], x: float, width: float, y: float) -> Iterator[_Place]:
    for box in column:
        yield _Place(box, x, y, width)
        y += box.height + _BOX_GAP


def _edge(one: _Place, other: _Place, weight: float) -> str:
    start, end = one.x + one.width, other.x
    bend = (start + end) / 2
    style = "bad" if other.box.style == "bad" else "good" if weight else ""
    return (
        f'<path class="{style}" stroke-width="{_THIN + (_THICK - _THIN) * weight:.1f}" '
        f'd="M{start:g} {one.middle:g}C{bend:g} {one.middle:g} {bend:g} {other.middle:g} '
        f'{end:g} {other.middle:g}"/>'
    )


def _drawn(place: _Place) -> Iterator[str]:
    box = place.box
    yield (
        f'<rect class="{box.style}" x="{place.x:g}" y="{place.y:g}" width="{place.width:g}" '
        f'height="{box.height:g}" rx="6"/>'
    )
    for number, line in enumerate(box.lines):
        shown = _fitting(line.text)
        whole = f"<title>{xml(line.text)}</title>" if shown != line.text else ""
        yield (
            f'<text class="{line.style}" x="{place.x + _PADDING:g}" '
            f'y="{place.y + _PADDING / 2 + _LINE * number + 14:g}">{whole}{xml(shown)}</text>'
        )


def _fitting(text: str) -> str:
    """The text, or its beginning and its end if it is too long."""
    text = printable(text)
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 16]}…{text[-15:]}"

"""Plots as SVG, written by hand: lines over a logarithmic axis, and bars with their spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple
from xml.sax.saxutils import escape

_WIDTH = 760
_LEFT, _RIGHT = 64, 210  # room for numbers and for names
_TOP, _PLOT, _BOTTOM = 78, 300, 58
_BAR, _GAP = 18, 26
_NAMES = 250  # width of the names of bars
# Told apart also by those who see red and green alike (Okabe and Ito's colours).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000")


class Line(NamedTuple):
    """``points`` are (x, y), x in ascending order. Lines of one kind share a colour."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


class Bar(NamedTuple):
    """``low`` and ``high`` are where the spread begins and ends."""

    name: str
    value: float
    low: float
    high: float
    colour: str
    text: str


class Group(NamedTuple):
    """Bars under a heading of their own."""

    name: str
    bars: Sequence[Bar]


def line_chart(
    title: str,
    subtitle: str,
    axes: tuple[str, str],
    lines: Sequence[Line],
    *,
    log_y: bool = False,
) -> str:
    """Lines over powers of ten. ``axes`` name x and y, with their units."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_of = _log_scale(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT)
    if log_y:
        low, high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))
        y_of = _log_scale(low, high, _TOP + _PLOT, _TOP)
        y_ticks = _powers(low, high)
    else:
        y_ticks = _even_ticks(max(ys))
        y_of = _even_scale(0, y_ticks[-1], _TOP + _PLOT, _TOP)
    parts = [_heading(title, subtitle)]
    for y in y_ticks:
        parts.append(_rule(_LEFT, y_of(y), _WIDTH - _RIGHT, y_of(y), "#dddddd"))
        parts.append(_text(_LEFT - 8, y_of(y) + 4, _number(y), anchor="end"))
    bottom = _TOP + _PLOT
    for x in _powers(min(xs), max(xs)):
        parts.append(_rule(x_of(x), bottom, x_of(x), bottom + 5, "#333333"))
        parts.append(_text(x_of(x), bottom + 20, _number(x), anchor="middle"))
    parts.append(_rule(_LEFT, bottom, _WIDTH - _RIGHT, bottom, "#333333"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 42, axes[0], anchor="middle"))
    parts.append(_text(_LEFT - 52, _TOP - 14, axes[1]))
    ends = _apart([y_of(line.points[-1][1]) for line in lines], 15, bottom)
    for line, end in zip(lines, ends, strict=True):
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line.points)
        dash = ' stroke-dasharray="6 4"' if line.dashed else ""
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2"{dash}/>'
        )
        for x, y in line.points:
            parts.append(
                f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="2.5" fill="{line.colour}"/>'
            )
        parts.append(_text(_WIDTH - _RIGHT + 10, end + 4, line.name, colour=line.colour))
    return _picture(_TOP + _PLOT + _BOTTOM, parts)


def bar_chart(title: str, subtitle: str, axis: str, groups: Sequence[Group]) -> str:
    """Horizontal bars from 0, each with its value in words and a line for its spread."""
    bars = [bar for group in groups for bar in group.bars]
    ticks = _even_ticks(max(bar.high for bar in bars))
    x_of = _even_scale(0, ticks[-1], _NAMES, _WIDTH - 110)
    top = _TOP - 14  # no name of an axis up here
    height = top + sum(_GAP + _BAR * len(group.bars) for group in groups)
    parts = [_heading(title, subtitle)]
    for tick in ticks:
        parts.append(_rule(x_of(tick), top, x_of(tick), height, "#dddddd"))
        parts.append(_text(x_of(tick), height + 18, _number(tick), anchor="middle"))
    parts.append(_text((_NAMES + _WIDTH - 110) / 2, height + 40, axis, anchor="middle"))
    y = float(top)
    for group in groups:
        y += _GAP
        parts.append(_text(12, y - 7, group.name, weight="bold"))
        for bar in group.bars:
            parts += _bar(
                bar, x_of(max(0.0, bar.low)), x_of(max(0.0, bar.value)), x_of(bar.high), y
            )
            y += _BAR
    return _picture(height + _BOTTOM, parts)


def _bar(bar: Bar, low: float, value: float, high: float, y: float) -> list[str]:
    middle = y + _BAR / 2 - 2
    size = f'width="{value - _NAMES:.1f}" height="{_BAR - 4}"'
    return [
        _text(_NAMES - 8, y + 12, bar.name, anchor="end"),
        f'<rect x="{_NAMES}" y="{y:.1f}" {size} fill="{bar.colour}"/>',
        _rule(low, middle, high, middle, "#333333"),
        _text(max(high, value) + 6, y + 12, bar.text),
    ]


class _Scale(NamedTuple):
    """From values between two ends to positions between two others."""

    first: float
    last: float
    begin: float
    end: float
    logarithmic: bool

    def __call__(self, value: float) -> float:
        first, last = self.first, self.last
        if self.logarithmic:
            first, last, value = math.log10(first), math.log10(last), math.log10(value)
        return self.begin + (value - first) / (last - first) * (self.end - self.begin)


def _log_scale(first: float, last: float, begin: float, end: float) -> _Scale:
    return _Scale(first, last if last > first else first * 10, begin, end, True)


def _even_scale(first: float, last: float, begin: float, end: float) -> _Scale:
    return _Scale(first, last, begin, end, False)


def _powers(low: float, high: float) -> list[float]:
    """The powers of ten from ``low`` to ``high``."""
    first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
    return [10.0**power for power in range(first, last + 1)]


def _even_ticks(highest: float) -> list[float]:
    """Four to eight even numbers from 0 to above ``highest``."""
    size = 10 ** math.floor(math.log10(highest))
    step = next(s * size for s in (0.2, 0.5, 1, 2) if highest / (s * size) <= 7)
    return [step * number for number in range(math.ceil(highest / step) + 1)]


def _apart(positions: Sequence[float], distance: float, bottom: float) -> list[float]:
    """The same order, each at least ``distance`` below the one above, none below ``bottom``."""
    order = sorted(range(len(positions)), key=lambda at: positions[at])
    placed = list(positions)
    for above, below in pairwise(order):
        placed[below] = max(placed[below], placed[above] + distance)
    placed[order[-1]] = min(placed[order[-1]], bottom)
    for below, above in pairwise(reversed(order)):
        placed[above] = min(placed[above], placed[below] - distance)
    return placed


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:g}"


def _heading(title: str, subtitle: str) -> str:
    return (
        f'<text x="12" y="22" font-size="16" font-weight="bold">{escape(title)}</text>'
        f'<text x="12" y="40" fill="#555555">{escape(subtitle)}</text>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    colour: str = "#333333",
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _picture(height: float, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
        f'width="{_WIDTH}" height="{height:.0f}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )

"""Plots of the figures of a run: ``python -m tests.bench.plots FIGURES.json DIRECTORY``.

The figures are what ``python -m tests.bench --json FIGURES.json`` writes. Each part has its
plot; a part that was not measured has none, and its old plot stays as it is. The same figures
make the same files, byte by byte. Takes matplotlib, the extra ``bench``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from tests.bench import apply, contenders

Figures = Any  # of one part: what its measure() put into Part.figures

# Okabe and Ito's, which those who see red and green alike can tell apart, too.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
)  # fmt: skip
GREY, PALE, BLACK = "#7f7f7f", "#dddddd", "#000000"
_STYLE = {
    "svg.hashsalt": "sockreg",  # else the names of elements are drawn by lot
    "svg.fonttype": "none",  # text stays text: it can be searched, and read aloud
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": PALE,
}
_WAYS = {
    contenders.WILDCARD: GREY,
    contenders.EMPTY: GREY,
    contenders.ATTACHED: SKY,
    contenders.REGISTERED: SKY,
    contenders.STEERED: BLUE,
    contenders.PEER: VERMILION,
    contenders.TPROXY: ORANGE,
    contenders.REDIRECT: ORANGE,
}
_PEER = "design (c), two trie walks"


class Line(NamedTuple):
    """``points`` are (x, y), x in ascending order. Lines of one kind share a colour."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


class Bar(NamedTuple):
    """A share in percent, and the quartiles around it."""

    name: str
    value: float
    low: float
    high: float


def draw(content: Any, directory: Path) -> list[Path]:
    """Write the plots of a run into a directory; returns their paths."""
    said = f"{content['machine']}; {content['date']}"
    plots: dict[str, tuple[str, Callable[[Figures, str], Figure]]] = {
        "bench-lookup-hot.svg": ("lookup", _hot),
        "bench-lookup-streaming.svg": ("lookup", _streaming),
        "bench-apply.svg": ("apply", _apply),
        "bench-fullpath.svg": ("fullpath", _full_path),
        "bench-connections.svg": ("connections", _connections),
    }
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (part, plot) in plots.items():
        if part in content["parts"]:
            path = directory / name
            with mpl.rc_context(_STYLE):
                figure = plot(content["parts"][part]["figures"], said)
                figure.savefig(path, metadata={"Date": None, "Creator": None})
            # Lines end in spaces where matplotlib writes them, which no editor leaves alone.
            path.write_text("".join(f"{it.rstrip()}\n" for it in path.read_text().splitlines()))
            written.append(path)
    return written


def _hot(figures: Figures, said: str) -> Figure:
    """Medians over all packets that hit a rule, and over those that miss far."""

    def line(
        name: str, program: str, kind: str, colour: str, only: str = "", *, dashed: bool = False
    ) -> Line:
        points = []
        for size in figures:
            times = [
                it["nanoseconds"][program]
                for it in size["hot"]
                if it["kind"].startswith(kind) and (it["name"] == only if only else it["hit"])
            ]
            if times:
                points.append((size["rules"], median(times)))
        return Line(name, points, colour, dashed)

    lines = [
        line(f"{_PEER}, IPv4", "peer", "IPv4", VERMILION),
        line(f"{_PEER}, IPv6", "peer", "IPv6", VERMILION, dashed=True),
        line("sockreg, IPv4", "sockreg", "IPv4", BLUE),
        line("sockreg, IPv6", "sockreg", "IPv6", BLUE, dashed=True),
        line("sockreg, no rule is near", "sockreg", "IP", SKY, "far miss"),
        # It is for TCP and IPv4, with IPv6 beside it.
        line("one hard-coded rule", "one_rule", "IPv4 tcp", GREEN, "host, one port"),
        line("empty program", "empty", "IP", GREY),
    ]
    return _lines(
        "A lookup, hot: the same packet again and again, all in the cache",
        said,
        "nanoseconds of a run",
        lines,
    )


def _streaming(figures: Figures, said: str) -> Figure:
    """What is added to an empty program that reads the same packets."""

    def line(name: str, program: str, kind: str, colour: str, *, dashed: bool = False) -> Line:
        points = [
            (size["rules"], size["streams"][kind][program] - size["streams"][kind]["empty"])
            for size in figures
            if kind in size["streams"]
        ]
        return Line(name, points, colour, dashed)

    lines = [
        line(f"{_PEER}, IPv4", "peer", "IPv4", VERMILION),
        line(f"{_PEER}, IPv6", "peer", "IPv6", VERMILION, dashed=True),
        line("sockreg, IPv4", "sockreg", "IPv4", BLUE),
        line("sockreg, IPv6", "sockreg", "IPv6", BLUE, dashed=True),
    ]
    return _lines(
        "A lookup, streaming: tens of thousands of packets take turns",
        said,
        "nanoseconds more than an empty program",
        lines,
    )


def _apply(figures: Figures, said: str) -> Figure:
    whole = [(it["rules"], min(cost[0] for cost in it["rounds"])) for it in figures]
    lines = [Line("the whole command", whole, BLUE)]
    colours = (VERMILION, GREEN, PURPLE, ORANGE, SKY)
    for step, colour in zip(apply.STEPS, colours, strict=True):
        lines.append(Line(step, [(it["rules"], it["steps"][step]) for it in figures], colour))
    limits = [(float(rules), limit) for rules, limit in apply.LIMITS.items()]
    lines.append(Line("goal for the whole", limits, GREY, True))
    return _lines("sockreg apply, and its steps", said, "seconds", lines, log_y=True)


def _full_path(figures: Figures, said: str) -> Figure:
    groups = _groups(
        (it["flood"], it["contender"], *(-it["change"][k] for k in ("median", "high", "low")))
        for it in figures
    )
    return _bars(
        "Packets on one core: how many fewer than to an ordinary socket without a program",
        said,
        "% fewer packets a second; black: from quartile to quartile",
        groups,
    )


def _connections(figures: Figures, said: str) -> Figure:
    groups = _groups(
        (
            f"IPv{it['version']}",
            it["contender"],
            *(1 - it["ratio"][key] for key in ("median", "high", "low")),
        )
        for it in figures
    )
    return _bars(
        "Short connections on one core: how many fewer than to an ordinary socket",
        said,
        "% fewer connections a second; black: from quartile to quartile",
        groups,
    )


def _groups(rows: Iterable[tuple[str, str, float, float, float]]) -> dict[str, list[Bar]]:
    """The bars under each heading. What sockreg is compared with is no bar: it is 0."""
    groups: dict[str, list[Bar]] = {}
    for group, name, value, low, high in rows:
        if name in _WAYS:
            groups.setdefault(group, []).append(Bar(name, 100 * value, 100 * low, 100 * high))
    return groups


def _lines(
    title: str, said: str, axis: str, lines: Sequence[Line], *, log_y: bool = False
) -> Figure:
    """Lines over the number of rules, named from the top to the bottom of their right ends."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.add_subplot()
    _head(figure, axes, title, said)
    for line in sorted(lines, key=lambda line: -line.points[-1][1]):
        axes.plot(
            *zip(*line.points, strict=True),
            color=line.colour,
            linestyle="--" if line.dashed else "-",
            marker="o",
            markersize=3.5,
            label=line.name,
        )
    axes.set_xscale("log")
    axes.set_xlabel("rules")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.minorticks_off()
    axes.set_ylabel(f"{axis} (less is better)")
    if log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return figure


def _bars(title: str, said: str, axis: str, groups: dict[str, list[Bar]]) -> Figure:
    """Horizontal bars from 0 under the heading of their group, each with its value."""
    count = sum(len(bars) for bars in groups.values())
    figure = Figure(figsize=(9, 1.2 + 0.45 * len(groups) + 0.23 * count), layout="constrained")
    rows = figure.subplots(len(groups), sharex=True, squeeze=False)[:, 0]
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    for number, (axes, (group, bars)) in enumerate(zip(rows, groups.items(), strict=True)):
        heading = f"{said}\n\n" if number == 0 else ""
        axes.set_title(f"{heading}{group}", loc="left", fontsize="medium")
        drawn = axes.barh(
            [bar.name for bar in bars],
            [max(0.0, bar.value) for bar in bars],
            color=[_WAYS[bar.name] for bar in bars],
        )
        for place, bar in enumerate(bars):
            ends = max(0.0, bar.low), max(0.0, bar.high)
            axes.plot(ends, (place, place), color=BLACK, linewidth=1)
            axes.annotate(
                f"{bar.value:.1f} %",
                (max(ends[1], drawn[place].get_width()), place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(left=0)
        axes.grid(axis="x")
    rows[-1].set_xlabel(f"{axis} (less is better)")
    return figure


def _head(figure: Figure, axes: Any, title: str, said: str) -> None:
    """A title, and under it where and when the figures were measured."""
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    axes.set_title(said, loc="left", fontsize="medium", color="#555555", pad=12)


if __name__ == "__main__":
    figures_file, target = sys.argv[1:]
    for drawn in draw(json.loads(Path(figures_file).read_text()), Path(target)):
        print(drawn)

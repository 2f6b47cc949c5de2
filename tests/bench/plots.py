"""Plots of the figures of a run: ``python -m tests.bench.plots FIGURES.json DIRECTORY``.

The figures are what ``python -m tests.bench --json FIGURES.json`` writes. Each part has its
plot; a part that was not measured has none, and its old plot stays as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import apply, contenders
from tests.bench.chart import COLOURS, Bar, Group, Line, bar_chart, line_chart

Figures = Any  # of one part: what its measure() put into Part.figures
_WAYS = {
    contenders.WILDCARD: COLOURS[6],
    contenders.EMPTY: COLOURS[6],
    contenders.ATTACHED: COLOURS[5],
    contenders.REGISTERED: COLOURS[5],
    contenders.STEERED: COLOURS[0],
    contenders.PEER: COLOURS[1],
    contenders.TPROXY: COLOURS[4],
    contenders.REDIRECT: COLOURS[4],
}


def draw(content: Any, directory: Path) -> list[Path]:
    """Write the plots of a run into a directory; returns their paths."""
    said = f"{content['machine']}; {content['date']}"
    plots: dict[str, tuple[str, Callable[[Figures, str], str]]] = {
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
            path.write_text(plot(content["parts"][part]["figures"], said))
            written.append(path)
    return written


def _hot(figures: Figures, said: str) -> str:
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

    ours, peers, floor, empty = COLOURS[0], COLOURS[1], COLOURS[2], COLOURS[6]
    lines = [
        line("design (c), IPv4", "peer", "IPv4", peers),
        line("design (c), IPv6", "peer", "IPv6", peers, dashed=True),
        line("sockreg, IPv4", "sockreg", "IPv4", ours),
        line("sockreg, IPv6", "sockreg", "IPv6", ours, dashed=True),
        line("sockreg, far miss", "sockreg", "IP", COLOURS[5], "far miss"),
        # It is for TCP and IPv4, with IPv6 beside it.
        line("one hard-coded rule", "one_rule", "IPv4 tcp", floor, "host, one port"),
        line("empty program", "empty", "IP", empty),
    ]
    return line_chart(
        "A lookup, hot: one packet again and again", said, ("rules", "ns of a run"), lines
    )


def _streaming(figures: Figures, said: str) -> str:
    """What is added to an empty program that reads the same packets."""

    def line(name: str, program: str, kind: str, colour: str, *, dashed: bool = False) -> Line:
        points = [
            (size["rules"], size["streams"][kind][program] - size["streams"][kind]["empty"])
            for size in figures
            if kind in size["streams"]
        ]
        return Line(name, points, colour, dashed)

    lines = [
        line("design (c), IPv4", "peer", "IPv4", COLOURS[1]),
        line("design (c), IPv6", "peer", "IPv6", COLOURS[1], dashed=True),
        line("sockreg, IPv4", "sockreg", "IPv4", COLOURS[0]),
        line("sockreg, IPv6", "sockreg", "IPv6", COLOURS[0], dashed=True),
    ]
    title = "A lookup, streaming: what it adds to an empty program"
    return line_chart(title, said, ("rules", "ns of a run"), lines)


def _apply(figures: Figures, said: str) -> str:
    whole = [(it["rules"], min(cost[0] for cost in it["rounds"])) for it in figures]
    lines = [Line("whole command", whole, COLOURS[0])]
    for step, colour in zip(apply.STEPS, COLOURS[1:], strict=False):
        lines.append(Line(step, [(it["rules"], it["steps"][step]) for it in figures], colour))
    limits = [(float(rules), limit) for rules, limit in apply.LIMITS.items()]
    lines.append(Line("limit", limits, COLOURS[6], True))
    return line_chart("sockreg apply", said, ("rules", "seconds"), lines, log_y=True)


def _full_path(figures: Figures, said: str) -> str:
    groups = _groups(
        (it["flood"], it["contender"], *(-it["change"][k] for k in ("median", "high", "low")))
        for it in figures
    )
    return bar_chart(
        "Packets on one core: what is lost against an ordinary socket without a program",
        said,
        "% of the packets a second that are lost; the line is from quartile to quartile",
        groups,
    )


def _connections(figures: Figures, said: str) -> str:
    groups = _groups(
        (
            f"IPv{it['version']}",
            it["contender"],
            *(1 - it["ratio"][key] for key in ("median", "high", "low")),
        )
        for it in figures
    )
    return bar_chart(
        "Short connections on one core: what is lost against an ordinary socket",
        said,
        "% of the connections a second that are lost; the line is from quartile to quartile",
        groups,
    )


def _groups(rows: Iterable[tuple[str, str, float, float, float]]) -> list[Group]:
    groups: dict[str, list[Bar]] = {}
    for group, name, value, low, high in rows:
        if name in _WAYS:
            text = f"{100 * value:.1f} %"
            bar = Bar(name, 100 * value, 100 * low, 100 * high, _WAYS[name], text)
            groups.setdefault(group, []).append(bar)
    return [Group(name, bars) for name, bars in groups.items()]


if __name__ == "__main__":
    figures_file, target = sys.argv[1:]
    for drawn in draw(json.loads(Path(figures_file).read_text()), Path(target)):
        print(drawn)

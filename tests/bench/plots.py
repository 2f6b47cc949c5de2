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
_DESIGNS = {"sockreg": COLOURS[0], "peers": COLOURS[1], "one rule": COLOURS[2], "empty": COLOURS[6]}
_WAYS = {
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
    return _lookups("One packet again and again", "hot", figures, said)


def _streaming(figures: Figures, said: str) -> str:
    return _lookups("Tens of thousands of different packets", "streaming", figures, said)


def _lookups(title: str, mode: str, figures: Figures, said: str) -> str:
    """Medians over all kinds of packets that hit, and of those that miss far."""
    lines = []
    for design, colour in _DESIGNS.items():
        for hits, dashed in ((True, False), (False, True)):
            for family in ("ipv4", "ipv6") if design in ("sockreg", "peers") else (None,):
                points = _points(
                    it
                    for it in figures
                    if (it["mode"], it["design"]) == (mode, design)
                    and (it["packet"] == "far miss") is not hits
                    and it["packet"] != "near miss"
                    and family in (None, it["family"])
                )
                if points:
                    words = [design, family or "", "" if hits else "far miss"]
                    lines.append(Line(" ".join(filter(None, words)), points, colour, dashed))
    return line_chart(f"{title}: ns of a lookup", said, ("rules", "ns"), lines)


def _points(figures: Iterable[Any]) -> list[tuple[float, float]]:
    by_rules: dict[int, list[float]] = {}
    for it in figures:
        by_rules.setdefault(it["rules"], []).append(it["ns"])
    return [(rules, median(values)) for rules, values in sorted(by_rules.items())]


def _apply(figures: Figures, said: str) -> str:
    whole = [(it["rules"], min(cost[0] for cost in it["rounds"])) for it in figures]
    lines = [Line("whole command", whole, COLOURS[0])]
    for step, colour in zip(apply.STEPS, COLOURS[1:], strict=False):
        lines.append(Line(step, [(it["rules"], it["steps"][step]) for it in figures], colour))
    limits = [(float(rules), limit) for rules, limit in apply.LIMITS.items()]
    lines.append(Line("limit", limits, COLOURS[6], True))
    return line_chart("sockreg apply: seconds", said, ("rules", "s"), lines, log_y=True)


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

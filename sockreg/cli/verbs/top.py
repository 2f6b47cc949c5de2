"""``sockreg top``: what arrives where, live on a terminal.

With curses of Python's own library: the live screens of rich read no keys.
"""

from __future__ import annotations

import argparse
import select
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sockreg import streams
from sockreg.api import Registry
from sockreg.cli import arguments
from sockreg.cli.verb import Group, Verb
from sockreg.errors import SockregError, UsageError
from sockreg.printable import printable

if TYPE_CHECKING:
    import curses

    from sockreg.views.status import Status
    from sockreg.views.top import Line

_INTERVAL = 1.0  # s
_STEP = 0.1  # s to wait for a key before the clock is checked again


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=arguments.seconds,
        default=_INTERVAL,
        help=f"refresh interval ({_INTERVAL:g})",
    )
    parser.add_argument(
        "--rules", action="store_true", help="show the rules that decide, by a trace"
    )


def _run(registry: Registry, options: argparse.Namespace) -> None:
    if options.json or not (
        streams.out_is_terminal() and sys.stdin is not None and sys.stdin.isatty()
    ):
        raise UsageError(
            "top needs a terminal",
            "'sockreg status --watch' prints the same line by line, also with --json",
        )
    if options.interval <= 0:
        raise UsageError("--interval: the interval must be more than 0 s", "")
    registry.context.loaded_registry()
    import curses

    try:
        curses.wrapper(_rules if options.rules else _live, registry, options.interval)
    except curses.error as error:
        raise UsageError(
            f"this terminal is not supported: {error}", "set TERM to the type of your terminal"
        ) from None


def _live(screen: curses.window, registry: Registry, interval: float) -> None:
    import curses

    from sockreg.views.rates import rates
    from sockreg.views.top import Line, lines

    styles = _styles()
    screen.timeout(round(_STEP * 1000))
    shown: list[Line] = []
    before: Status | None = None
    when, due = 0.0, 0.0
    while True:
        now = time.monotonic()
        if now >= due:
            try:
                seen = registry.status()
            except SockregError as error:  # unloaded meanwhile: it may come back
                shown, before = [Line(error.message, "bad"), Line(error.hint)], None
            else:
                known = rates(before, seen, now - when) if before is not None else {}
                shown, before, when = lines(seen, known, time.time_ns()), seen, now
            due = now + interval
            _draw(screen, shown, styles)
        key = screen.getch()
        if key in (ord("q"), ord("Q")) or _is_hung_up():
            return
        if key == curses.KEY_RESIZE:
            _draw(screen, shown, styles)


def _rules(screen: curses.window, registry: Registry, interval: float) -> None:
    import curses

    from sockreg.views import trace
    from sockreg.views.decisions import Summary, Wanted
    from sockreg.views.top import rule_lines

    styles = _styles()
    screen.timeout(0)
    with trace.running(registry.context, Wanted()) as running:
        total, recent = Summary(), Summary()
        begin = time.monotonic()
        shown = rule_lines(running, total, recent, 0.0)
        _draw(screen, shown, styles)
        while running.is_running():
            for one in running.told(min(begin + interval, time.monotonic() + _STEP)):
                if one is not None:
                    total.add(*one)
                    recent.add(*one)
            if (now := time.monotonic()) >= begin + interval:
                shown = rule_lines(running, total, recent, now - begin)
                recent, begin = Summary(), now
                _draw(screen, shown, styles)
            key = screen.getch()
            if key in (ord("q"), ord("Q")) or _is_hung_up():
                return
            if key == curses.KEY_RESIZE:
                _draw(screen, shown, styles)
        raise running.ended()


def _is_hung_up() -> bool:
    """Whether the terminal is gone. getch() would no longer wait, and not report it."""
    terminal = select.poll()
    terminal.register(sys.stdin, 0)  # POLLHUP and POLLERR are always reported
    return bool(terminal.poll(0))


def _styles() -> dict[str, int]:
    import curses

    styles = {"head": curses.A_BOLD, "bad": curses.A_REVERSE, "": curses.A_NORMAL}
    if curses.has_colors() and streams.out_has_colours():
        curses.use_default_colors()
        curses.init_pair(1, curses.COLOR_RED, -1)
        styles["bad"] = curses.color_pair(1) | curses.A_BOLD
    curses.curs_set(0)
    return styles


def _draw(screen: curses.window, shown: Sequence[Line], styles: Mapping[str, int]) -> None:
    screen.erase()
    height, width = screen.getmaxyx()
    for row, line in enumerate(shown[:height]):
        # The last column stays free: writing to the last cell of a screen is an error.
        screen.addnstr(row, 0, printable(line.text), width - 1, styles[line.style])
    screen.refresh()


VERB = Verb(
    name="top",
    group=Group.LOOK,
    summary="show live traffic",
    description=(
        "Show live traffic on a terminal, busiest labels first. Labels whose clients are "
        "refused are highlighted. q quits."
    ),
    add_arguments=_add_arguments,
    run=_run,
)

"""``sockreg trace``: what the program decides, live."""

from __future__ import annotations

import argparse
import signal
import time
from typing import TYPE_CHECKING

from sockreg import streams
from sockreg.api import Registry
from sockreg.cli import arguments, rule_filter
from sockreg.cli.printing import print_json, print_json_line, print_table
from sockreg.cli.verb import Group, Verb
from sockreg.plural import plural
from sockreg.streams import err, out

if TYPE_CHECKING:
    from sockreg.streams import Tone
    from sockreg.views.decisions import Summary, Told
    from sockreg.views.trace import Trace

# By outcome; what goes to ordinary lookup has none.
_TONES: dict[str, Tone] = {
    "socket": "good",
    "reject": "doubtful",
    "no-socket": "bad",
    "error": "bad",
}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    rule_filter.add(parser, of="decisions")
    parser.add_argument(
        "--outcome",
        metavar="OUTCOME",
        action="append",
        choices=("socket", "reject", "no-socket", "error", "passed"),
        default=[],
        help="only this outcome: socket, reject, no-socket, error or passed (repeatable)",
    )
    parser.add_argument("--count", metavar="N", type=arguments.count, help="end after N decisions")
    parser.add_argument(
        "--seconds", metavar="S", type=arguments.seconds, help="end after S seconds"
    )
    parser.add_argument(
        "--sample",
        metavar="N",
        type=arguments.count,
        default=1,
        help="show one of N decisions, chosen at random",
    )
    parser.add_argument(
        "--summary",
        action="store_true",
        help="print counts at the end: outcomes, rules, sources, ports",
    )
    parser.add_argument(
        "--guard", metavar="TOKEN", help="for the process that ends a trace whose tracer dies"
    )


def _run(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.views import decisions, trace

    if options.guard is not None:
        trace.guard(registry.context, options.guard)
        return
    wanted = decisions.Wanted(
        rule_filter.read(options, "trace"), decisions.outcomes_of(options.outcome)
    )
    counted = decisions.Summary()
    begin = time.monotonic()
    with trace.running(registry.context, wanted, options.sample) as running:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: running.stop())
        err(f"tracing generation {running.generation}; Ctrl-C ends it")
        _follow(running, counted, begin, options)
        seconds = time.monotonic() - begin
        ended = not running.is_running()
        lost = running.lost
        if options.summary:
            _summarize(running, counted, seconds, options)
    if lost:
        err(
            f"{plural(lost, 'decision')} came too fast to be shown: '--sample 10' takes one in "
            "10, and '--summary' only counts"
        )
    if ended:
        raise running.ended()


def _follow(running: Trace, counted: Summary, begin: float, options: argparse.Namespace) -> None:
    until = None if options.seconds is None else begin + options.seconds
    for one in running.told(until):
        if one is None:
            streams.flush()
            if streams.lost():
                return  # nobody reads it any more
            continue
        position, told = one
        counted.add(position, told)
        if not options.summary:
            _print(told, options)
        if counted.total == options.count:
            return


def _print(told: Told, options: argparse.Namespace) -> None:
    from sockreg.views import decisions

    if options.json:
        print_json_line("decision", told)
    else:
        out(decisions.line(told), _TONES.get(told.outcome, ""))


def _summarize(
    running: Trace, counted: Summary, seconds: float, options: argparse.Namespace
) -> None:
    from sockreg.views import decisions

    found = decisions.summary(running.reader, counted, seconds, options.sample)
    if options.json:
        print_json("trace", vars(found) | {"lost": running.lost})
        return
    sampled = f", a sample of one in {options.sample}" if options.sample > 1 else ""
    out(f"{plural(found.total, 'decision')} in {seconds:.1f} s{sampled}")
    for title, rows in (
        ("OUTCOME", found.outcomes),
        ("RULE", found.rules),
        ("SOURCE", found.sources),
        ("PORT", found.ports),
    ):
        if rows:
            out()
            print_table(
                [title, "DECISIONS", "PER S"],
                [[it.what, it.decisions, f"{it.rate:.1f}"] for it in rows],
            )


VERB = Verb(
    name="trace",
    group=Group.LOOK,
    summary="show decisions on packets, live",
    description="Show what the program decides, one line for each packet that asks for a socket, "
    "until Ctrl-C: where it comes from, where it goes, what became of it and by which rule. "
    "Meanwhile a program that tells this runs in place of the one in force. A change of rules "
    "ends the trace. Costs nothing while nobody traces.",
    add_arguments=_add_arguments,
    run=_run,
)

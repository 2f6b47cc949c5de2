"""``sockreg status``: what is attached, which labels have sockets, what the counters say."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from sockreg import streams
from sockreg.api import Registry
from sockreg.cli import arguments
from sockreg.cli.printing import print_json, print_table
from sockreg.cli.verb import Group, Verb
from sockreg.errors import EXIT_OK, UsageError
from sockreg.plural import plural
from sockreg.streams import out, out_lines
from sockreg.terms import NO_UNIT

if TYPE_CHECKING:
    from sockreg.model import Place
    from sockreg.streams import Tone
    from sockreg.views.rates import Key, Rate
    from sockreg.views.status import (
        DestinationStatus,
        Ending,
        ExpectedUnit,
        LastApply,
        Member,
        Status,
    )

_INTERVAL = 2.0  # s
_ENDING = 5  # lines whose rules end by themselves, before the rest is summarized
# Fields of Causes.
_CAUSES = {
    "closed": "it was shut down, or connected to one peer",
    "family": "it is of another address family; 'sockreg register' puts none there",
    "protocol": "it is of another protocol; 'sockreg register' puts none there",
    "other": "for a reason that this version of sockreg does not know",
}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--lines", type=int, default=5, help="journal lines to show (5)")
    parser.add_argument("--slots", action="store_true", help="show the slots of the socket map")
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=arguments.seconds,
        const=_INTERVAL,
        help=f"refresh every SECONDS ({_INTERVAL:g}), and show rates",
    )


def _run(registry: Registry, options: argparse.Namespace) -> None:
    if options.watch is None:
        _print(registry.status(), options, None)
        return
    if options.watch <= 0:
        raise UsageError("--watch: the interval must be more than 0 s", "")
    for seen, rates in _looks(registry, options.watch):
        if streams.out_is_terminal():
            streams.out_control("\033[H\033[2J")  # cursor home, erase display (ECMA-48)
        _print(seen, options, rates)
        if not (streams.out_is_terminal() or options.json):
            out()
        streams.flush()
        if streams.lost():
            return  # nobody reads it any more


def _looks(registry: Registry, interval: float) -> Iterator[tuple[Status, Mapping[Key, Rate]]]:
    """Refresh every ``interval`` seconds, with the rates since the last refresh; does not end."""
    from sockreg.views.rates import rates

    before, when = None, 0.0
    while True:
        seen, now = registry.status(), time.monotonic()
        yield seen, rates(before, seen, now - when) if before is not None else {}
        before, when = seen, now
        time.sleep(max(0.0, now + interval - time.monotonic()))


def _print(seen: Status, options: argparse.Namespace, rates: Mapping[Key, Rate] | None) -> None:
    if options.json:
        print_json("status", _body(seen))
        return
    _print_head(seen)
    out()
    _print_destinations(seen, options.slots, rates)
    from sockreg.views.status import latest_entries

    entries = latest_entries(options.lines)
    if entries:
        out()
        out_lines(entries)


def _body(seen: Status) -> dict[str, object]:
    from sockreg.views import left_out, rules

    header = dict(vars(seen.header)) if seen.header else None
    if header is not None:
        # The first is bookkeeping of commands/earlier.py; the others are said below.
        del header["parts"], header["left_out"], header["ends"]
    return vars(seen) | {
        "program": seen.program._asdict() if seen.program else None,
        "header": header,
        "left_out": list(map(left_out.body, seen.left_out)),
        "ending": [rules.body(it.rule) | rules.end_body(it.until) for it in seen.ending],
    }


def _print_head(seen: Status) -> None:
    out(f"registry    {seen.registry} (network namespace {seen.netns})")
    if seen.header is None:
        out("in force    nothing: no program of this registry is attached; start it:", "bad")
        out("            'systemctl start sockreg.service' or 'sockreg load'")
    else:
        header = seen.header
        out(
            f"in force    generation {seen.generation}, {plural(header.count, 'rule')}, "
            f"{_duration(header.created)} old; sockreg {header.version}",
            "good",
        )
        if seen.program is None:
            out("program     not shown: opening programs takes root")
        else:
            out(
                f"program     {seen.program.name}, id {seen.program.id}, tag {seen.program.tag}, "
                f"table {header.table_bytes} bytes"
            )
        for name, count in header.absent.items():
            out(
                f"pending     {plural(count, 'rule')}: {header.why_pending(name)}; "
                "'sockreg rules' shows where",
                "doubtful",
            )
    for text in _ending(seen.ending):
        out(text)
    if seen.trial is not None:
        out(
            f"on trial    generation {seen.trial.generation} comes back in "
            f"{seen.trial.seconds_left} s, unless you run 'sockreg confirm'",
            "doubtful",
        )
    if seen.traced:
        out("traced      'sockreg trace' tells the decisions; 'sockreg apply' ends it", "doubtful")
    if seen.applied is not None and seen.applied.status != EXIT_OK:
        out(f"last apply  {_failure(seen.applied)}", "bad")
    _print_left_out(seen)
    out(f"units       {', '.join(seen.units) or 'none'}")
    if seen.expected is not None:
        units = ", ".join(map(_expected, seen.expected)) or "no unit"
        out(f"sock_ops    attached; expects {units}")
    for program in seen.others or ():
        out(f"also        {program} {program.effect}")


def _ending(ending: list[Ending]) -> list[str]:
    """The rules that end by themselves, one line for each line of a file."""
    if not ending:
        return []
    from sockreg.views import rules

    of_line: dict[Place, list[Ending]] = {}
    for it in ending:
        of_line.setdefault(it.rule.place, []).append(it)
    lines: list[str] = []
    for first, *others in list(of_line.values())[:_ENDING]:
        head = "" if lines else "ending"
        also = f" (and {plural(len(others), 'more rule')} of the line)" if others else ""
        end = rules.end_text(first.until)
        lines.append(f"{head:12}{rules.line(first.rule)}{also} {end}")
    if len(of_line) > _ENDING:
        more = plural(len(of_line) - _ENDING, "more line")
        lines.append(f"{'':12}and {more}; 'sockreg rules' shows all")
    return lines


def _print_left_out(seen: Status) -> None:
    for left in seen.left_out:
        out(f"wrong       {left.part}: {left.outcome}", "bad")
        for place, text in left.problems:
            out(f"            {place}: {text}", "bad")
    if seen.left_out:
        out("            correct this, then run 'systemctl reload sockreg' or 'sockreg apply'")


def _print_destinations(seen: Status, slots: bool, rates: Mapping[Key, Rate] | None) -> None:
    head = ["LABEL", "PROTO", "FAMILY", "RULES", "LOOKUPS", "MISSES", "ERRORS",
            "SOCKET", "ADDRESS", "WEIGHT", "UNIT"]  # fmt: skip
    everyone = [member for destination in seen.destinations for member in destination.members]
    with_flows = any(member.flows is not None for member in everyone)
    # A queue that is all right is of interest to who keeps watching.
    with_queues = rates is not None or any(
        m.queue is not None and (m.queue.full or m.queue.dropped) for m in everyone
    )
    if rates is not None:
        head.insert(5, "PER S")
    if with_queues:
        head[-1:-1] = ["QUEUE", "DROPPED"]
    if with_flows:
        head.insert(-1, "FLOWS")
    rows = [
        row
        for destination in seen.destinations
        for row in _rows(destination, slots, rates, with_flows=with_flows, with_queues=with_queues)
    ]
    tones = [tone for destination in seen.destinations for tone in _tones(destination)]
    print_table([*head, "SLOT"] if slots else head, rows, tones)
    for destination in seen.destinations:
        for sentence in remarks(destination):
            out(sentence, "doubtful")
    if seen.flows is not None:
        out(
            f"{plural(seen.flows.noted, 'flow')} noted, room for {seen.flows.room}, "
            f"{seen.flows.evicted} had to give way"
        )
    if seen.rejected:
        unless = ", unless another program selected a socket" if seen.others else ""
        out(f"{plural(seen.rejected, 'packet')} refused by reject rules{unless}")


def _rows(
    destination: DestinationStatus,
    slots: bool,
    rates: Mapping[Key, Rate] | None,
    *,
    with_flows: bool,
    with_queues: bool,
) -> list[list[object]]:
    """A line for the destination with its first member, and one line per further member."""
    from sockreg.views.rates import key_of, rate_text
    from sockreg.views.status import queue_text

    def queue(member: Member) -> list[object]:
        dropped = "-" if member.queue is None else member.queue.dropped
        return [queue_text(member.queue, destination.protocol), dropped]

    first: list[object] = [
        destination.name,
        destination.protocol,
        destination.family,
        destination.rules,
    ]
    first += [
        destination.counters.lookups,
        destination.counters.misses,
        destination.counters.errors,
    ]
    if rates is not None:
        rate = rates.get(key_of(destination))
        first.insert(5, "-" if rate is None else rate_text(rate.lookups))
    rows: list[list[object]] = [
        [
            m.cookie,
            m.address,
            m.weight,
            *(queue(m) if with_queues else []),
            *(["-" if m.flows is None else m.flows] if with_flows else []),
            m.unit,
            *([m.slot] if slots else []),
        ]
        for m in destination.members
    ] or [
        [
            "none",
            "-",
            "-",
            *(["-", "-"] if with_queues else []),
            *(["-"] if with_flows else []),
            NO_UNIT,
            *([destination.slot] if slots else []),
        ]
    ]
    return [(first if index == 0 else [""] * len(first)) + row for index, row in enumerate(rows)]


def _tones(destination: DestinationStatus) -> list[Tone]:
    """One for each line of _rows(): bad if clients are refused, doubtful if one member fails."""
    takes_any = any(member.weight for member in destination.members)
    if destination.unclear or (destination.rules and not takes_any):
        return ["bad"] * max(1, len(destination.members))
    return [
        "doubtful" if m.stalled or not m.weight or (m.queue is not None and m.queue.full) else ""
        for m in destination.members
    ] or [""]


def remarks(destination: DestinationStatus) -> list[str]:
    """What is wrong with a destination, in words; nothing if all is well."""
    from sockreg.views.status import full_text, unclear_text

    proto = destination.protocol
    name = f"{destination.name} ({destination.protocol}, {destination.family})"
    found = []
    if destination.unclear:
        rules = plural(destination.rules, "rule")
        found.append(f"{name}: {rules}: {unclear_text(destination.label, destination.unclear)}")
    if destination.counters.misses:
        many = plural(destination.counters.misses, "packet")
        if not destination.members:
            found.append(f"{name}: {many} found no socket, and there is none now")
        elif not any(member.weight for member in destination.members):
            found.append(f"{name}: {many} found no socket: all have weight 0")
        else:
            found.append(f"{name}: {many} found no socket; there is one now")
    for member in destination.members:
        if member.stalled:
            found.append(f"{name}: {member.unit} is stalled, and gets nothing new (Drain=stalled)")
        if member.queue is not None and member.queue.full:
            found.append(f"{name}: the queue of {member.unit} {full_text(member.queue, proto)}")
    for cause, count in vars(destination.counters.causes).items():
        if count:
            many = plural(count, "packet")
            found.append(f"{name}: the kernel refused the socket for {many}: {_CAUSES[cause]}")
    return found


def _expected(expected: ExpectedUnit) -> str:
    port = f" on port {expected.port}" if expected.port else ""
    failed = (
        f", {plural(expected.failed, 'socket')} refused by the kernel" if expected.failed else ""
    )
    return f"{expected.unit}{port} for {expected.label}{failed}"


def _failure(applied: LastApply) -> str:
    before = f"; it succeeded {_duration(applied.succeeded)} ago" if applied.succeeded else ""
    return (
        f"failed {_duration(applied.attempted)} ago with status {applied.status}{before}; "
        "'journalctl -t sockreg' says why, 'sockreg apply --check' what is wrong now"
    )


def _duration(since: int) -> str:
    """The age in the largest unit that fits."""
    seconds = max(0, time.time_ns() - since) // 10**9
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


VERB = Verb(
    name="status",
    group=Group.LOOK,
    summary="show program, labels, sockets, counters",
    description="Show what is attached, the labels with their sockets, and the counters.",
    add_arguments=_add_arguments,
    run=_run,
)

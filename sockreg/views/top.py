"""What ``sockreg top`` shows: destinations by their current traffic. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sockreg.host.queues import queue_text
from sockreg.plural import plural
from sockreg.views import rules
from sockreg.views.decisions import Summary
from sockreg.views.rates import Key, Rate, key_of, rate_text
from sockreg.views.status import DestinationStatus, Ending, Status
from sockreg.views.trace import Trace

_NO_RATE = Rate(0.0, 0.0, 0.0)
_HEAD = ("LABEL", "PROTO", "FAMILY", "LOOKUPS/S", "MISSES/S", "ERRORS/S", "LOOKUPS", "QUEUE",
         "DROPPED", "SOCKETS", "UNITS")  # fmt: skip
_LEFT = (0, 1, 2, 10)  # columns with text
_LONGEST = 32  # of a label


class Line(NamedTuple):
    """A line of the screen; ``style`` is ``head``, ``bad`` or empty."""

    text: str
    style: str = ""


def lines(seen: Status, rates: Mapping[Key, Rate], now: int) -> list[Line]:
    """The whole screen, of any height and width; ``now`` is ns since the epoch."""
    busiest = sorted(
        seen.destinations,
        key=lambda destination: (
            -rates.get(key_of(destination), _NO_RATE).lookups,
            -destination.counters.lookups,
        ),
    )
    rows = [_row(destination, rates.get(key_of(destination))) for destination in busiest]
    return [
        Line(_in_force(seen, now), "head"),
        Line(_together(rates)),
        *([Line(_ending(seen.ending))] if seen.ending else []),
        Line(""),
        *_table(
            rows,
            [
                _is_bad(destination, rates.get(key_of(destination), _NO_RATE))
                for destination in busiest
            ],
        ),
    ]


def _in_force(seen: Status, now: int) -> str:
    if seen.header is None:
        return "sockreg: nothing in force"
    age = max(0, now - seen.header.created) // 10**9
    hours, minutes, seconds = age // 3600, age // 60 % 60, age % 60
    return (
        f"sockreg: generation {seen.generation}, {seen.header.count} rules, in force for "
        f"{hours}:{minutes:02}:{seconds:02}; {seen.rejected} packets rejected"
    )


def _ending(ending: list[Ending]) -> str:
    first = ending[0]
    left = rules.left_text(first.until)
    when = f"in {left}" if left != "ended" else "is over"
    return f"{plural(len(ending), 'rule')} with an end; the next {when}: {rules.line(first.rule)}"


def _together(rates: Mapping[Key, Rate]) -> str:
    sums = (sum(column) for column in zip(*rates.values(), strict=True))
    found = [rate_text(value) for value in sums] or ["-", "-", "-"]
    return "per second: {} lookups, {} without a socket, {} refused by the kernel".format(*found)


def _row(destination: DestinationStatus, rate: Rate | None) -> tuple[str, ...]:
    name = destination.name
    label = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."
    units = sorted({member.unit for member in destination.members})
    return (
        label,
        destination.protocol,
        destination.family,
        *(("-", "-", "-") if rate is None else map(rate_text, rate)),
        str(destination.counters.lookups),
        *_queue(destination),
        str(len(destination.members)),
        ", ".join(units) or "none",
    )


def _queue(destination: DestinationStatus) -> tuple[str, str]:
    """The fullest queue of the members, and what did not fit in all of them."""
    known = [member.queue for member in destination.members if member.queue is not None]
    if not known:
        return "-", "-"
    fullest = max(known, key=lambda queue: queue.waiting / max(1, queue.limit))
    return queue_text(fullest, destination.protocol), str(sum(queue.dropped for queue in known))


def _is_bad(destination: DestinationStatus, rate: Rate) -> bool:
    """Whether clients are refused, or would be."""
    usable = any(member.weight for member in destination.members)
    full = any(member.queue is not None and member.queue.full for member in destination.members)
    return bool(rate.misses or rate.errors or full or (destination.rules and not usable))


def _table(rows: list[tuple[str, ...]], bad: list[bool]) -> list[Line]:
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]

    def text(cells: tuple[str, ...]) -> str:
        padded = (
            cell.ljust(width) if at in _LEFT else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    return [
        Line(text(_HEAD), "head"),
        *(Line(text(row), "bad" if is_bad else "") for row, is_bad in zip(rows, bad, strict=True)),
    ]


_RULES_HEAD = ("DECISIONS/S", "DECISIONS", "RULE", "PLACE")


def rule_lines(running: Trace, total: Summary, recent: Summary, seconds: float) -> list[Line]:
    """The screen of the rules that decide, of any height; ``seconds`` is what ``recent`` covers."""
    busiest = sorted(total.rules, key=lambda at: (-recent.rules[at], -total.rules[at], at))
    rows = []
    for at in busiest:
        rule = running.reader.winners[at]
        rate = rate_text(recent.rules[at] / seconds) if seconds else "-"
        rows.append((rate, str(total.rules[at]), rules.line(rule), str(rule.place)))
    widths = [max(map(len, column)) for column in zip(_RULES_HEAD, *rows, strict=True)]
    lost = f"; {running.lost} came too fast to be counted" if running.lost else ""
    return [
        Line(f"sockreg: decisions of generation {running.generation}", "head"),
        Line(f"{total.total} decisions, {total.total - total.rules.total()} by no rule{lost}"),
        Line(""),
        *(
            Line(
                f"{row[0]:>{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:<{widths[2]}}  {row[3]}",
                "head" if row is _RULES_HEAD else "",
            )
            for row in (_RULES_HEAD, *rows)
        ),
    ]

"""The page of a report: HTML without scripts, and without anything from elsewhere. Pure.

It is well-formed XML, too, so that a test can read it. All text goes through xml(), and none of
it is in an attribute.
"""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Iterable, Sequence

from sockreg.check.finding import Severity
from sockreg.plural import plural
from sockreg.printable import xml
from sockreg.report.gather import Report
from sockreg.rules.ending import format_time
from sockreg.rules.prefixes import SET
from sockreg.terms import NO_UNIT
from sockreg.views import rules
from sockreg.views.inspect import Details
from sockreg.views.listeners import summed_up
from sockreg.views.sets import SetOfPrefixes
from sockreg.views.status import Status

_RULES = 1000  # shown of all
_LISTENERS = 200
_PREFIXES = 12  # of a set
_TEXT = ("remarks", "processes", "contents", "used in")  # columns whose cells have several lines
_NUMBER = ' class="number"'

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #fff; --card: #f6f8fa;
  --line: #d0d7de; --error: #a40e26; --warning: #7d4e00; --note: #0550ae; --good: #116329 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --paper: #0d1117;
  --card: #151b23; --line: #3d444d; --error: #ff8182; --warning: #e3b341; --note: #79c0ff;
  --good: #56d364 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; margin: 0 }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; border-bottom: 1px solid var(--line) }
p { margin: .25rem 0 } .soft { color: var(--soft) }
code, pre, td { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .85rem }
pre { background: var(--card); padding: .75rem; border-radius: .4rem; white-space: pre-wrap }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem;
  margin: 1rem 0; padding: 0; list-style: none }
.figures li { background: var(--card); border: 1px solid var(--line); border-radius: .4rem;
  padding: .6rem .8rem } .figures b { display: block; font-size: 1.4rem }
.finding { border-left: .3rem solid var(--line); padding: .2rem .8rem; margin: .75rem 0 }
.error { border-color: var(--error) } .error b, .bad { color: var(--error) }
.warning { border-color: var(--warning) } .warning b { color: var(--warning) }
.note { border-color: var(--note) } .note b { color: var(--note) } .good { color: var(--good) }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem;
  border-bottom: 1px solid var(--line); white-space: nowrap }
th { font-size: .8rem; color: var(--soft) } .number { text-align: right }
td.text { white-space: normal; min-width: 12rem } img { max-width: 100%; height: auto;
  background: #fff; border-radius: .4rem }
@media print { body { max-width: none; padding: 0; font-size: .8rem } .wide { overflow: visible }
  td { white-space: normal } h2 { break-after: avoid } .finding, tr { break-inside: avoid } }
"""


def html(report: Report) -> str:
    """The whole page."""
    title = f"sockreg on {report.host}"
    body = "\n".join(
        [
            f"<h1>{xml(title)}</h1>",
            *_head(report),
            *_findings(report),
            *_picture(report),
            *_labels(report),
            *_members(report),
            *_rules(report),
            *_sets(report),
            *_listeners(report),
            *_entries(report),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8" />\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1" />\n'
        f"<title>{xml(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )


def _head(report: Report) -> Iterable[str]:
    seen = report.status
    when = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(report.when))
    yield f'<p class="soft">{xml(when)}, network namespace {seen.netns}</p>'
    if seen.header is None:
        yield '<p class="bad">Nothing is in force: no program of this registry is attached.</p>'
    severe = sum(it.severity is Severity.ERROR for it in report.findings)
    members = sum(map(len, report.details.values()))
    figures = [
        (str(seen.generation or "-"), "generation"),
        (f"{len(report.rules.bindings):,}", "rules"),
        (f"{len(report.rules.pending):,}", "pending rules"),
        (f"{members:,}", "sockets"),
        (f"{sum(it.counters.lookups for it in seen.destinations):,}", "lookups"),
        (f"{sum(it.counters.misses for it in seen.destinations):,}", "misses"),
        (f"{seen.rejected:,}", "rejected packets"),
        (str(severe), "errors found"),
    ]
    yield '<ul class="figures">'
    yield from (f"<li><b>{xml(number)}</b> {xml(what)}</li>" for number, what in figures)
    yield "</ul>"
    if seen.trial is not None:
        yield (
            f'<p class="bad">On trial: generation {seen.trial.generation} comes back in '
            f"{seen.trial.seconds_left} s, unless somebody confirms.</p>"
        )
    for left in seen.left_out:
        yield f'<p class="bad">{xml(f"{left.part}: {left.outcome}")}</p>'
    for program in seen.others or ():
        yield f"<p>{xml(f'{program} {program.effect}')}</p>"


def _findings(report: Report) -> Iterable[str]:
    yield "<h2>What check finds</h2>"
    if not report.findings:
        yield '<p class="good">Nothing: rules, units, sockets and kernel fit together.</p>'
    for found in report.findings:
        yield f'<div class="finding {found.severity.value}">'
        yield f"<p><b>{found.severity.value}</b> {xml(found.where)}: {xml(found.what)}</p>"
        yield f'<p class="soft">{xml(found.why)}</p>'
        yield f"<p>To do: <code>{xml(found.fix)}</code></p></div>"


def _picture(report: Report) -> Iterable[str]:
    data = base64.b64encode(report.picture.encode()).decode()
    yield "<h2>Who gets what</h2>"
    yield (
        '<img alt="Prefixes and ports, the labels that they point to, sockets and units" '
        f'src="data:image/svg+xml;base64,{data}" />'
    )


def _labels(report: Report) -> Iterable[str]:
    yield "<h2>Labels</h2>"
    yield from _table(
        ["label", "protocol", "family", "rules", "sockets", "lookups", "misses", "errors"],
        [
            [
                it.name,
                it.protocol,
                it.family,
                it.rules,
                len(it.members),
                it.counters.lookups,
                it.counters.misses,
                it.counters.errors,
            ]
            for it in report.status.destinations
        ],
        "No label has a socket or a rule.",
    )


def _members(report: Report) -> Iterable[str]:
    yield "<h2>Sockets and their health</h2>"
    flows = _flows(report.status)
    stalled = {it.cookie for one in report.status.destinations for it in one.members if it.stalled}
    head = ["label", "socket", "address", "unit", "weight", "waiting", "limit", "dropped"]
    rows = []
    for label, details in report.details.items():
        for it in details:
            held = [flows.get(it.cookie, "-")] if flows else []
            remarks = [*(["stalled: gets nothing new"] if it.cookie in stalled else []), *it.notes]
            rows.append([label, *_member(it), *held, "; ".join(remarks)])
    yield from _table(
        [*head, *(["flows"] if flows else []), "remarks"], rows, "No socket is registered."
    )
    counts = report.status.flows
    if counts is not None:
        yield (
            f'<p class="soft">{plural(counts.noted, "UDP flow")} with a member, room for '
            f"{counts.room:,}; {counts.evicted:,} had to give way.</p>"
        )


def _flows(seen: Status) -> Counter[str]:
    """How many flows of both families stay with each socket of a sticky pool."""
    found: Counter[str] = Counter()
    for destination in seen.destinations:
        for it in destination.members:
            if it.flows is not None:
                found[it.cookie] += it.flows
    return found


def _member(it: Details) -> list[object]:
    queue: list[object] = ["-", "-", "-"]
    if it.queue is not None:
        limit = "-" if it.queue.limit is None else it.queue.limit
        queue = [it.queue.waiting, limit, it.queue.dropped]
    unit = "-" if it.unit == NO_UNIT else it.unit
    return [it.cookie, f"{it.protocol} {it.address}", unit, it.weight, *queue]


def _rules(report: Report) -> Iterable[str]:
    there, ends = report.rules.bindings, report.rules.ends
    yield "<h2>Rules in force</h2>"
    head: list[str] = ["action", "label", "rule", "place"]
    rows: list[Sequence[object]] = [rules.row(it) for it in there[:_RULES]]
    if ends:
        head.append("until")
        rows = [[*row, _until(ends.get(it.place))] for row, it in zip(rows, there, strict=False)]
    yield from _table(head, rows, "There is no rule.")
    yield from _more(len(there) - _RULES, "rule", "sockreg rules")
    for text in rules.pending_lines(report.rules.pending, report.rules.refused):
        yield f"<p>{xml(text)}</p>"


def _until(end: int | None) -> str:
    if end is None:
        return "-"
    left = rules.left_text(end)
    return f"{format_time(end)}, {left if left == 'ended' else f'{left} left'}"


def _sets(report: Report) -> Iterable[str]:
    if report.sets:
        yield "<h2>Sets of prefixes</h2>"
        yield from _table(
            ["set", "prefixes", "contents", "place", "used in"],
            [_set(it) for it in report.sets],
            "",
        )


def _set(it: SetOfPrefixes) -> list[object]:
    shown = it.prefixes[:_PREFIXES]
    if len(it.prefixes) > _PREFIXES:
        shown.append(f"and {len(it.prefixes) - _PREFIXES:,} more")
    contents = it.problem or ", ".join(shown) or "-"
    users = ", ".join(map(str, it.users)) or "nothing"
    return [SET + it.name, len(it.prefixes), contents, str(it.place), users]


def _listeners(report: Report) -> Iterable[str]:
    yield "<h2>What else listens</h2>"
    yield from _table(
        ["protocol", "local", "socket", "unit", "processes", "labels", "remarks"],
        [
            [
                it.protocol,
                it.local,
                it.cookie,
                "-" if it.unit == NO_UNIT else it.unit,
                ", ".join(it.processes),
                ", ".join(it.labels),
                "; ".join([*([it.problem] if it.problem else []), *summed_up(it.shadows)]),
            ]
            for it in report.listeners[:_LISTENERS]
        ],
        "Nothing listens.",
    )
    yield from _more(len(report.listeners) - _LISTENERS, "socket", "sockreg listeners")


def _entries(report: Report) -> Iterable[str]:
    if report.entries:
        yield "<h2>From the journal</h2>"
        lines = "\n".join(map(xml, report.entries))
        yield f"<pre>{lines}</pre>"


def _more(count: int, what: str, command: str) -> Iterable[str]:
    if count > 0:
        yield f'<p class="soft">and {plural(count, f"more {what}")}: <code>{command}</code></p>'


def _table(head: Sequence[str], rows: Iterable[Sequence[object]], nothing: str) -> Iterable[str]:
    there = list(rows)
    if not there:
        yield f'<p class="soft">{xml(nothing)}</p>'
        return
    titles = "".join(
        f"<th{_NUMBER if isinstance(cell, int) else ''}>{xml(title)}</th>"
        for title, cell in zip(head, there[0], strict=True)
    )
    yield f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>'
    for row in there:
        cells = "".join(_cell(cell, title) for cell, title in zip(row, head, strict=True))
        yield f"<tr>{cells}</tr>"
    yield "</tbody></table></div>"


def _cell(cell: object, title: str) -> str:
    if isinstance(cell, int):
        return f"<td{_NUMBER}>{cell:,}</td>"
    style = ' class="text"' if title in _TEXT else ""
    return f"<td{style}>{xml(str(cell))}</td>"

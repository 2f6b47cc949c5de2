"""``sockreg listeners``: what listens where, steered or not."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from sockreg import garbage
from sockreg.api import Registry
from sockreg.cli.printing import print_json
from sockreg.cli.verb import Group, Verb
from sockreg.streams import err, out_lines
from sockreg.terms import NO_UNIT

if TYPE_CHECKING:
    from sockreg.streams import Tone
    from sockreg.views.listeners import Listener, Steered

_HEAD = ("PROTO", "LOCAL", "SOCKET", "SERVED BY")
_NARROW = 80


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-t", "--tcp", action="store_true", help="TCP only")
    parser.add_argument("-u", "--udp", action="store_true", help="UDP only")


class _Row(NamedTuple):
    """``port`` orders the rows; ``remarks`` are printed below.

    ``of_line`` is whether they are about a line of a file, which may make many rules.
    """

    protocol: str
    port: int
    local: str
    socket: str
    served_by: str
    remarks: list[str]
    of_line: bool = False


def _run(registry: Registry, options: argparse.Namespace) -> None:
    with garbage.paused():
        _read_and_show(registry, options)


def _read_and_show(registry: Registry, options: argparse.Namespace) -> None:
    found = registry.listeners()
    wanted = {name for name in ("tcp", "udp") if getattr(options, name)} or {"tcp", "udp"}
    listeners = [listener for listener in found.listeners if listener.protocol in wanted]
    steered = [rule for rule in found.steered if rule.protocol in wanted]
    if options.json:
        rules = [rule._asdict() for rule in steered]
        print_json("listeners", vars(found) | {"listeners": listeners, "steered": rules})
        return
    _show(sorted([*map(_of_listener, listeners), *map(_of_rule, steered)]))
    if not found.loaded:
        err("nothing is loaded in this network namespace: no rules")
    if any(not listener.processes for listener in listeners) and found.hidden_processes:
        err("some processes could not be read and are left out; run it as root to see all")


def _of_listener(listener: Listener) -> _Row:
    from sockreg.views.listeners import summed_up

    by = [
        *(f"label {label}" for label in listener.labels),
        *([listener.unit] if listener.unit != NO_UNIT else []),
    ]
    if listener.processes:
        more = f" and {len(listener.processes) - 1} more" if len(listener.processes) > 1 else ""
        by.append(listener.processes[0] + more)
    remarks = [*([listener.problem] if listener.problem else []), *summed_up(listener.shadows)]
    return _Row(
        listener.protocol,
        listener.port,
        listener.local,
        listener.cookie,
        ", ".join(by) or "-",
        remarks,
    )


def _of_rule(rule: Steered) -> _Row:
    if rule.action == "bind":
        served_by = f"label {rule.label}"
        sockets = rule.sockets[0] if len(rule.sockets) == 1 else f"{len(rule.sockets)} sockets"
        sockets = sockets if rule.sockets else "none"
    else:
        sockets, served_by = "-", {"reject": "reject", "pass": "pass: ordinary lookup"}[rule.action]
    remarks = [f"{problem} ({rule.place})" for problem in rule.problems]
    until = f"until {rule.until}" if rule.until else ""
    return _Row(
        rule.protocol,
        rule.first_port,
        rule.local,
        sockets,
        ", ".join(filter(None, (served_by, rule.conditions, until))),
        remarks,
        of_line=True,
    )


def _show(rows: list[_Row]) -> None:
    columns = [(row.protocol, row.local, row.socket) for row in rows]
    widths = [max(map(len, column)) for column in zip(_HEAD[:3], *columns, strict=True)]
    width = max(shutil.get_terminal_size((_NARROW, 0)).columns, _NARROW)
    margin = " " * (widths[0] + 2)
    form = "".join(f"{{:{widest}}}  " for widest in widths) + "{}"
    lines = [form.format(*_HEAD)]
    tones: list[Tone] = [""]
    said: dict[str, None] = {}
    for row in rows:
        lines.append(form.format(row.protocol, row.local, row.socket, row.served_by))
        tones.append("")
        for remark in row.remarks:
            if row.of_line and remark in said:
                continue
            said[remark] = None
            lines += _wrapped(f"{margin}! {remark}", width, f"{margin}  ")
            tones += ["doubtful"] * (len(lines) - len(tones))
    out_lines(lines, tones)


def _wrapped(text: str, width: int, margin: str) -> Iterator[str]:
    """The lines of a text. Words that are longer than a line stay whole.

    textwrap would take ten times as long, and there may be a remark for each of very many rules.
    """
    while len(text) > width:
        at = text.rfind(" ", len(margin), width + 1)
        if at < 0:
            at = text.find(" ", width)
        if at < 0:
            break
        yield text[:at]
        text = margin + text[at + 1 :]
    yield text


VERB = Verb(
    name="listeners",
    group=Group.LOOK,
    summary="show what listens where, steered or not",
    description=(
        "Show ordinary sockets and steered prefixes in one list, like ss -ltun: which rules "
        "take packets from which sockets, which rules have no socket, and which have no "
        "route."
    ),
    add_arguments=_add_arguments,
    run=_run,
)

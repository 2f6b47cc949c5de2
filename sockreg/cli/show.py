"""What the commands print, and what they tell the journal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sockreg import collector, journal
from sockreg.cli.printing import plural, print_json, print_table
from sockreg.model import PROTOCOL_NAMES, Binding
from sockreg.rules.syntax import format_rule

if TYPE_CHECKING:  # numpy, which rules are compiled with, would double the start-up time
    from sockreg.commands.apply import Change
    from sockreg.commands.context import Context
    from sockreg.commands.load import Loaded
    from sockreg.views.status import DestinationStatus, ExpectedUnit, Status

_LINES = 20  # of a change, before it is summed up


def _say(message: str, message_id: str, fields: journal.Fields, *, as_json: bool = False) -> None:
    sys.stdout.flush()  # the journal takes what was printed before as coming before
    logged = journal.record(message, message_id, fields=fields) and journal.under_systemd()
    if not (logged or as_json):
        print(message)


def loaded(context: Context, result: Loaded, *, as_json: bool) -> None:
    if result.created:
        _say(
            f"loaded: the registry is at {context.registry}",
            journal.LOADED,
            {"SOCKREG_REGISTRY": context.registry},
            as_json=as_json,
        )
    for program in result.others:
        print(f"sockreg: note: {program} is attached here too; see sockreg(8)", file=sys.stderr)
    applied(result.change, as_json=as_json)


def unloaded(context: Context, *, as_json: bool) -> None:
    _say(
        f"unloaded: nothing of sockreg is attached any more; {context.registry} is gone",
        journal.UNLOADED,
        {"SOCKREG_REGISTRY": context.registry},
        as_json=as_json,
    )
    if as_json:
        print_json("unloaded", {"registry": context.registry})


def sock_ops(what: str) -> None:
    _say(f"sock_ops program: {what}", journal.NOTICE, {})


def checked(change: Change, *, as_json: bool) -> None:
    if as_json:
        print_json("change", _change_body(change))
        return
    for notice in change.notices:
        print(notice, file=sys.stderr)
    _print_difference(change)
    print(
        f"the configured rules are sound: {plural(change.count, 'rule')}; "
        f"{_difference(change)} if applied"
    )


def applied(change: Change, *, as_json: bool) -> None:
    for notice in change.notices:
        journal.say(notice, journal.NOTICE)
    if as_json:
        print_json("change", _change_body(change))
    else:
        _print_difference(change)
    count = plural(change.count, "rule")
    if change.swapped:
        message = f"generation {change.generation} in force: {count} ({_difference(change)})"
    else:
        message = f"nothing to change: generation {change.generation} has {count}"
    fields: journal.Fields = {
        "SOCKREG_GENERATION": str(change.generation),
        "SOCKREG_RULES": str(change.count),
    }
    _say(message, journal.APPLIED, fields, as_json=as_json)
    _notify(message)


def _difference(change: Change) -> str:
    return f"{len(change.added)} added, {len(change.removed)} removed"


def _print_difference(change: Change) -> None:
    for sign, bindings in (("+", change.added), ("-", change.removed)):
        for binding in bindings[:_LINES]:
            print(f"{sign} {_rule_line(binding)}")
        if len(bindings) > _LINES:
            print(f"{sign} and {len(bindings) - _LINES} more")


def _notify(message: str) -> None:
    """The line that 'systemctl status' shows under Status:."""
    if "NOTIFY_SOCKET" in os.environ:
        from systemd import daemon

        daemon.notify(f"STATUS=last start or reload: {message}")


def _change_body(change: Change) -> dict[str, object]:
    return {
        "generation": change.generation,
        "swapped": change.swapped,
        "count": change.count,
        "added": [_rule_body(b) for b in change.added],
        "removed": [_rule_body(b) for b in change.removed],
        "notices": change.notices,
    }


def _rule_line(binding: Binding) -> str:
    return f"{binding.action.name.lower()} {binding.label}: {format_rule(binding)}"


def _rule_body(binding: Binding) -> dict[str, object]:
    return {
        "label": binding.label,
        "action": binding.action.name.lower(),
        "rule": format_rule(binding),
        "protocol": PROTOCOL_NAMES[binding.protocol],
        "first_port": binding.first,
        "last_port": binding.last,
        "file": binding.place.path,
        "line": binding.place.line,
    }


def rules(bindings: Sequence[Binding], *, as_json: bool) -> None:
    with collector.paused():
        if as_json:
            print_json("rules", [_rule_body(b) for b in bindings])
            return
        print_table(
            ("ACTION", "LABEL", "RULE", "PLACE"),
            [(b.action.name.lower(), b.label, format_rule(b), b.place) for b in bindings],
        )


def status(result: Status, lines: int, slots: bool, *, as_json: bool) -> None:
    if as_json:
        body = asdict(result)
        body["program"] = result.program._asdict() if result.program else None
        print_json("status", body)
        return
    print(f"registry    {result.registry} (network namespace {result.netns})")
    if result.program is None or result.header is None:
        print(
            "in force    nothing: no program of this registry is attached; 'sockreg load' heals it"
        )
    else:
        header = result.header
        print(
            f"in force    generation {result.generation}, {plural(header.count, 'rule')}, "
            f"{_age(header.created)}; sockreg {header.version}"
        )
        print(
            f"program     {result.program.name}, id {result.program.id}, tag {result.program.tag}, "
            f"table {header.table_bytes} bytes"
        )
    print(f"units       {', '.join(result.units) or 'none'}")
    if result.expected is not None:
        units = ", ".join(map(_expected, result.expected)) or "nobody"
        print(f"sock_ops    attached; expects {units}")
    for program in result.others or ():
        print(f"also        {program} is attached to this network namespace")
    print()
    head = ["LABEL", "PROTO", "FAMILY", "RULES", "LOOKUPS", "MISSES", "ERRORS",
            "SOCKET", "ADDRESS", "WEIGHT", "UNIT"]  # fmt: skip
    rows = [row for destination in result.destinations for row in _rows(destination, slots)]
    print_table([*head, "SLOT"] if slots else head, rows)
    if result.rejected:
        print(f"{plural(result.rejected, 'packet')} refused by reject rules")
    from sockreg.views import journal as journal_view  # loads libsystemd

    entries = journal_view.latest(lines) if lines > 0 else []
    if entries:
        print()
        print("\n".join(entries))


def _rows(destination: DestinationStatus, slots: bool) -> list[list[object]]:
    """A line for the destination with its first member, and one for each other member."""
    counters = destination.counters
    first: list[object] = [
        destination.label,
        destination.protocol,
        destination.family,
        destination.rules,
        counters.lookups,
        counters.misses,
        counters.errors,
    ]
    rows = [
        [m.cookie, m.address, m.weight, m.unit, *([m.slot] if slots else [])]
        for m in destination.members
    ] or [["none", "-", "-", "-", *([destination.slot] if slots else [])]]
    return [(first if index == 0 else [""] * len(first)) + row for index, row in enumerate(rows)]


def _expected(it: ExpectedUnit) -> str:
    port = f" on port {it.port}" if it.port else ""
    failed = f", {plural(it.failed, 'socket')} refused by the kernel" if it.failed else ""
    return f"{it.unit}{port} for {it.label}{failed}"


def _age(created: int) -> str:
    """How long ago that was, in the largest unit that fits."""
    seconds = max(0, time.time_ns() - created) // 10**9
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} old"
    return f"{seconds} s old"


def installed(paths: Sequence[Path]) -> None:
    for path in paths:
        print(f"wrote {path}")
    print("next: 'systemctl enable --now sockreg@NAME.service' for a NAME.socket")

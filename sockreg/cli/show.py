"""What the commands print, and what they tell the journal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sockreg import garbage
from sockreg.cli.printing import plural, print_json, print_table
from sockreg.model import ACTION_NAMES, PROTOCOL_NAMES, Binding
from sockreg.rules.syntax import format_prefix, format_rule
from sockreg.systemd import journal, notify

if TYPE_CHECKING:  # numpy, which rules are compiled with, would double the start-up time
    from sockreg.commands.apply import Change
    from sockreg.commands.load import Loaded
    from sockreg.context import Context

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
        journal.say(str(notice), journal.NOTICE)
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
    notify.status(f"last start or reload: {message}")


def _difference(change: Change) -> str:
    return f"{len(change.added)} added, {len(change.removed)} removed"


def _print_difference(change: Change) -> None:
    for sign, bindings in (("+", change.added), ("-", change.removed)):
        for binding in bindings[:_LINES]:
            print(f"{sign} {_rule_line(binding)}")
        if len(bindings) > _LINES:
            print(f"{sign} and {len(bindings) - _LINES} more")


def _change_body(change: Change) -> dict[str, object]:
    return {
        "generation": change.generation,
        "swapped": change.swapped,
        "count": change.count,
        "added": [_rule_body(b) for b in change.added],
        "removed": [_rule_body(b) for b in change.removed],
        "notices": list(map(str, change.notices)),
    }


def _rule_line(binding: Binding) -> str:
    return f"{ACTION_NAMES[binding.action]} {binding.label}: {format_rule(binding)}"


def _rule_body(binding: Binding) -> dict[str, object]:
    return {
        "label": binding.label,
        "action": ACTION_NAMES[binding.action],
        "rule": format_rule(binding),
        "protocol": PROTOCOL_NAMES[binding.protocol],
        "prefix": format_prefix(binding.family, binding.address, binding.length),
        "first_port": binding.first,
        "last_port": binding.last,
        "from": format_prefix(binding.family, *binding.source) if binding.source else None,
        "interface": binding.interface,
        "missing_pass": binding.missing_pass,
        "file": binding.place.path,
        "line": binding.place.line,
    }


def rules(bindings: Sequence[Binding], *, as_json: bool) -> None:
    with garbage.paused():
        if as_json:
            print_json("rules", [_rule_body(b) for b in bindings])
            return
        print_table(
            ("ACTION", "LABEL", "RULE", "PLACE"),
            [(ACTION_NAMES[b.action], b.label, format_rule(b), b.place) for b in bindings],
        )


def installed(paths: Sequence[Path]) -> None:
    for path in paths:
        print(f"wrote {path}")
    print("next: 'systemctl enable --now sockreg@NAME.service' for a NAME.socket")

"""``sockreg bind`` and ``sockreg unbind``: add or remove a rule."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from sockreg.api import Registry
from sockreg.cli.arguments import add_force
from sockreg.cli.change import show_change
from sockreg.cli.verb import Group, Verb
from sockreg.errors import UsageError

if TYPE_CHECKING:
    from sockreg.commands.change import Change

_STDIN = "-"
_SIZE_MAX = 16 << 20  # bytes
_NOTHING = "nothing was changed"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    _add_rule(parser)
    parser.add_argument("--runtime", action="store_true", help="only until the next boot")
    parser.add_argument(
        "--for",
        dest="lasting",
        metavar="SPAN",
        help="the rule ends by itself after SPAN, such as 2h or '1h 30min', by the wall clock",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace rules for the same packets that bind added, in one step",
    )
    add_force(parser)


def _add_unbind_arguments(parser: argparse.ArgumentParser) -> None:
    _add_rule(parser)
    add_force(parser)


def _add_rule(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "label",
        metavar="LABEL",
        help="or '-' and nothing after it: standard input has a rule in each line, label first",
    )
    parser.add_argument("protocol", metavar="PROTO", nargs="?", help="tcp or udp")
    parser.add_argument(
        "prefix",
        metavar="PREFIX",
        nargs="?",
        help="192.0.2.0/24, 2001:db8::/32, 192.0.2.1-192.0.2.9, or a set, @NAME",
    )
    parser.add_argument("ports", metavar="PORTS", nargs="?", help="80, 8000-8999, 80,443 or '*'")
    parser.add_argument(
        "conditions",
        metavar="CONDITION",
        nargs="*",
        help="to PORT, from PREFIX, dev INTERFACE, missing=pass, until=TIME",
    )


def _bind(registry: Registry, options: argparse.Namespace) -> None:
    how = {name: getattr(options, name) for name in ("runtime", "force", "replace", "lasting")}
    change: Change
    if _reads_list(options):
        change = registry.bind_all(_list(), **how)
    else:
        change = registry.bind(options.label, _rule(options), **how)
    show_change(change, as_json=options.json)


def _unbind(registry: Registry, options: argparse.Namespace) -> None:
    change: Change
    if _reads_list(options):
        change = registry.unbind_all(_list(), force=options.force)
    else:
        change = registry.unbind(options.label, _rule(options), force=options.force)
    show_change(change, as_json=options.json)


def _reads_list(options: argparse.Namespace) -> bool:
    """Whether the rules are in standard input. Raises UsageError if the rule is not complete."""
    if options.label == _STDIN and options.protocol is None:
        return True
    for name in ("protocol", "prefix", "ports"):
        if getattr(options, name) is None:
            missing = {"protocol": "PROTO", "prefix": "PREFIX", "ports": "PORTS"}[name]
            raise UsageError(
                f"{options.verb}: {missing} is missing",
                f"'sockreg help {options.verb}' explains it",
            )
    return False


def _list() -> list[tuple[str, str]]:
    """The labels and rules in standard input, one in each line; '#' begins a comment line."""
    if sys.stdin is None:
        raise UsageError("standard input is closed", _NOTHING)
    content = sys.stdin.buffer.read(_SIZE_MAX + 1)
    if len(content) > _SIZE_MAX:
        raise UsageError(f"standard input: longer than {_SIZE_MAX >> 20} MiB", _NOTHING)
    rules: list[tuple[str, str]] = []
    for line in content.decode(errors="surrogateescape").split("\n"):
        words = line.split()
        if words and not words[0].startswith("#"):
            rules.append((words[0], " ".join(words[1:])))
    if not rules:
        raise UsageError("standard input has no rules", _NOTHING)
    return rules


def _rule(options: argparse.Namespace) -> str:
    return " ".join([options.protocol, options.prefix, options.ports, *options.conditions])


BIND = Verb(
    name="bind",
    usage="sockreg bind [OPTION]... LABEL PROTO PREFIX PORTS [CONDITION]...\n"
    "       sockreg bind [OPTION]... -",
    group=Group.CHANGE,
    summary="add a rule to its file and apply",
    description="Add a rule to /etc/sockreg/90-bind.conf and apply.",
    add_arguments=_add_arguments,
    run=_bind,
)
UNBIND = Verb(
    name="unbind",
    usage="sockreg unbind [OPTION]... LABEL PROTO PREFIX PORTS [CONDITION]...\n"
    "       sockreg unbind [OPTION]... -",
    group=Group.CHANGE,
    summary="remove a rule that bind added",
    description="Remove a rule that bind added from its file and apply.",
    add_arguments=_add_unbind_arguments,
    run=_unbind,
)

"""``sockreg bind`` and ``sockreg unbind``: add or remove a rule."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli.arguments import add_force
from sockreg.cli.change import show_change
from sockreg.cli.verb import Group, Verb


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
    parser.add_argument("label", metavar="LABEL")
    parser.add_argument("protocol", metavar="PROTO", help="tcp or udp")
    parser.add_argument("prefix", metavar="PREFIX", help="192.0.2.0/24, 2001:db8::/32, 192.0.2.1")
    parser.add_argument("ports", metavar="PORTS", help="80, 8000-8999, 80,443 or '*'")
    parser.add_argument(
        "conditions",
        metavar="CONDITION",
        nargs="*",
        help="to PORT, from PREFIX, dev INTERFACE, missing=pass, until=TIME",
    )


def _bind(registry: Registry, options: argparse.Namespace) -> None:
    change = registry.bind(
        options.label,
        _rule(options),
        runtime=options.runtime,
        force=options.force,
        replace=options.replace,
        lasting=options.lasting,
    )
    show_change(change, as_json=options.json)


def _unbind(registry: Registry, options: argparse.Namespace) -> None:
    change = registry.unbind(options.label, _rule(options), force=options.force)
    show_change(change, as_json=options.json)


def _rule(options: argparse.Namespace) -> str:
    return " ".join([options.protocol, options.prefix, options.ports, *options.conditions])


BIND = Verb(
    name="bind",
    group=Group.RULES,
    summary="add a rule to its file and apply",
    description="Add a rule to /etc/sockreg/90-bind.conf and apply.",
    add_arguments=_add_arguments,
    run=_bind,
)
UNBIND = Verb(
    name="unbind",
    group=Group.RULES,
    summary="remove a rule that bind added",
    description="Remove a rule that bind added from its file and apply.",
    add_arguments=_add_unbind_arguments,
    run=_unbind,
)

"""``sockreg rules``: the rules in force."""

from __future__ import annotations

import argparse

from sockreg import garbage
from sockreg.api import Registry
from sockreg.cli.printing import print_json, print_table
from sockreg.cli.verb import Group, Verb
from sockreg.plural import plural
from sockreg.streams import err, out
from sockreg.terms import PROTOCOL_NAMES

_FILTERS = ("label", "proto", "prefix", "port")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--label", metavar="LABEL", help="only rules of this label")
    parser.add_argument(
        "--proto", choices=tuple(PROTOCOL_NAMES.values()), metavar="PROTO", help="tcp or udp"
    )
    parser.add_argument(
        "--prefix", metavar="PREFIX", help="only rules for addresses in this prefix, also in part"
    )
    parser.add_argument(
        "--port", metavar="PORTS", help="only rules for these ports: 80, 8000-8999 or 80,443"
    )


def _run(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.views import rules

    notices: list[str] = []
    wanted = rules.filter_of(options.label, options.proto, options.prefix, options.port, notices)
    for notice in notices:
        err(notice)
    everything = rules.read(registry.context)
    with garbage.paused():
        found = everything.chosen(wanted)
        if options.json:
            print_json("rules", rules.bodies(found))
        else:
            print_table(("ACTION", "LABEL", "RULE", "PLACE"), list(map(rules.row, found.bindings)))
            for text in rules.pending_lines(found.pending, found.refused):
                out(text)
    if everything.bindings and not found.bindings:
        given = ((name, getattr(options, name)) for name in _FILTERS)
        conditions = " ".join(f"--{name} {value}" for name, value in given if value is not None)
        total = plural(len(everything.bindings), "rule")
        err(f"none of {total} matches {conditions}")


VERB = Verb(
    name="rules",
    group=Group.VIEWS,
    summary="show the rules in force",
    description="Show the rules in force, or those that meet all conditions given. If there are "
    "none, says so; this is no failure.",
    add_arguments=_add_arguments,
    run=_run,
)

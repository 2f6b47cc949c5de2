"""``sockreg rules``: the rules in force."""

from __future__ import annotations

import argparse

from sockreg import garbage
from sockreg.api import Registry
from sockreg.cli.printing import print_json, print_table
from sockreg.cli.verb import Group, Verb


def _run(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.views import rules

    found = rules.read(registry.context)
    with garbage.paused():
        if options.json:
            print_json("rules", rules.bodies(found))
            return
        print_table(("ACTION", "LABEL", "RULE", "PLACE"), list(map(rules.row, found.bindings)))
    for text in rules.pending_lines(found.pending):
        print(text)


VERB = Verb(
    name="rules",
    group=Group.VIEWS,
    summary="show the rules in force",
    description="Show the rules in force.",
    run=_run,
)

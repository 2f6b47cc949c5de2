"""``sockreg rules``: the rules in force."""

from __future__ import annotations

import argparse

from sockreg import garbage
from sockreg.api import Registry
from sockreg.cli.printing import print_json, print_table
from sockreg.cli.verb import Group, Verb


def _run(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.views import rules

    found = registry.rules()
    with garbage.paused():
        if options.json:
            print_json("rules", list(map(rules.body, found)))
        else:
            print_table(("ACTION", "LABEL", "RULE", "PLACE"), list(map(rules.row, found)))


VERB = Verb(
    name="rules",
    group=Group.VIEWS,
    summary="show the rules in force",
    description="Show the rules in force.",
    run=_run,
)

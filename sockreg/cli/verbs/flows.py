"""``sockreg flows``: the UDP flows that stay with a member."""

from __future__ import annotations

import argparse

from sockreg import garbage
from sockreg.api import Registry
from sockreg.cli.printing import print_json, print_table
from sockreg.cli.verb import Group, Verb
from sockreg.plural import plural
from sockreg.streams import out


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL", nargs="?", help="only of this label")


def _run(registry: Registry, options: argparse.Namespace) -> None:
    with garbage.paused():
        found = registry.flows(options.label)
        if options.json:
            print_json("flows", found)
            return
        rows = [
            [
                flow.label,
                flow.remote,
                flow.local,
                flow.cookie if flow.alive else f"{flow.cookie}, closed",
                flow.unit,
                f"{flow.seconds} s",
            ]
            for flow in found.flows
        ]
        print_table(["LABEL", "FROM", "TO", "SOCKET", "UNIT", "AGE"], rows)
        out(
            f"{plural(len(found.flows), 'flow')}; there is room for {found.room}; "
            f"{found.evicted} had to give way"
        )


VERB = Verb(
    name="flows",
    group=Group.LOOK,
    summary="show which UDP flows stay with which member",
    description=(
        "Show the flows that Flows=sticky keeps with the member that got their first "
        "datagram, the latest last."
    ),
    add_arguments=_add_arguments,
    run=_run,
)

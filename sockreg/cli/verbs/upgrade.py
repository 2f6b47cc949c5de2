"""``sockreg upgrade``: replace the attached program by this version's."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli.change import show_change
from sockreg.cli.verb import Group, Verb


def _run(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands.load import upgrade

    show_change(upgrade(registry.context), as_json=options.json)


VERB = Verb(
    name="upgrade",
    group=Group.SYSTEM,
    summary="replace the program with this version's, in one step",
    description="Load this version's program with the configured rules and swap it in, keeping "
    "sockets and counters.",
    run=_run,
)

"""``sockreg rollback``: put the previous generation back in force."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli.arguments import add_force
from sockreg.cli.change import show_change
from sockreg.cli.verb import Group, Verb


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unconfirmed",
        metavar="TOKEN",
        help="end the trial of apply --confirm if it has not been confirmed",
    )
    add_force(parser)


def _run(registry: Registry, options: argparse.Namespace) -> None:
    if options.unconfirmed is None:
        show_change(registry.rollback(force=options.force), as_json=options.json)
        return
    from sockreg.commands.confirm import end_trial

    change = end_trial(registry.context, options.unconfirmed)
    if change is not None:
        show_change(change, as_json=options.json)


VERB = Verb(
    name="rollback",
    group=Group.CHANGE,
    summary="put the previous generation back in force",
    description="Swap back to the generation that was replaced last. Files stay as they are; "
    "'sockreg apply' puts them in force again.",
    add_arguments=_add_arguments,
    run=_run,
)

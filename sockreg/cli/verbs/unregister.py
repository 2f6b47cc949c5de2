"""``sockreg unregister``: remove the sockets of a label."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli.verb import Group, Verb


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL")
    parser.add_argument("--unit", help="only the sockets of this unit")


def _run(registry: Registry, options: argparse.Namespace) -> None:
    registry.unregister(options.label, unit=options.unit)


VERB = Verb(
    name="unregister",
    group=Group.HAND_OVER,
    summary="remove the sockets of a label",
    description="Remove the sockets of a label from the registry. Its rules then refuse.",
    add_arguments=_add_arguments,
    run=_run,
)

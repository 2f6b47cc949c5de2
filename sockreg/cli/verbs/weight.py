"""``sockreg weight`` and ``sockreg drain``: the share of flows that a socket gets."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli import arguments
from sockreg.cli.verb import Group, Verb
from sockreg.errors import UsageError


def _add_weight_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL")
    parser.add_argument(
        "weight",
        metavar="WEIGHT",
        nargs="?",
        type=arguments.weight,
        help="0 to 65535 (default: Weight= in the unit's files, or 100)",
    )
    parser.add_argument("--unit", help="only the socket of this unit")


def _weigh(registry: Registry, options: argparse.Namespace) -> None:
    registry.weigh(options.label, options.weight, unit=options.unit)


def _add_drain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL", nargs="?")
    parser.add_argument("unit", metavar="UNIT", nargs="?", help="only the socket of this unit")
    parser.add_argument(
        "--stalled",
        action="store_true",
        help="look at the sockets of units with Drain=stalled, and do what that says",
    )


def _drain(registry: Registry, options: argparse.Namespace) -> None:
    if options.stalled and options.label is not None:
        raise UsageError("--stalled is about all units with Drain=stalled: leave LABEL out", "")
    if options.stalled:
        from sockreg.commands.stalls import look

        look(registry.context)
        return
    if options.label is None:
        raise UsageError("drain: a LABEL is expected", "'sockreg status' lists the labels")
    registry.weigh(options.label, 0, unit=options.unit)


WEIGHT = Verb(
    name="weight",
    group=Group.CHANGE,
    summary="change the share of flows of a label's sockets",
    description="Change the weight of a label's sockets in their pool, until they register again.",
    add_arguments=_add_weight_arguments,
    run=_weigh,
)
DRAIN = Verb(
    name="drain",
    group=Group.CHANGE,
    summary="stop new traffic to a label's sockets",
    description="Set the weight of a label's sockets to 0: nothing new arrives, and existing "
    "connections continue.",
    add_arguments=_add_drain_arguments,
    run=_drain,
)

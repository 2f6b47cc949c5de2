"""``sockreg expect``: a unit announces that it will listen."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli import arguments
from sockreg.cli.verb import Group, Verb


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL")
    parser.add_argument(
        "port", metavar="PORT", nargs="?", type=arguments.port, help="the local port"
    )


def _run(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands.expect import expect

    expect(registry.context, options.label, options.port)


VERB = Verb(
    name="expect",
    group=Group.HAND_OVER,
    summary="register this unit's TCP socket when it listens",
    description="Let the sock_ops program register the TCP socket that this unit is about to "
    "listen on. Use it in ExecStartPre=+ of a unit. Without PORT, it is the first "
    "socket; with PORT, the one on this local port. Several commands may name "
    "several ports. UDP servers do not call listen(2), so this does not work for "
    "them.",
    add_arguments=_add_arguments,
    run=_run,
)

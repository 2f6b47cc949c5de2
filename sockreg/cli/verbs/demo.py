"""``sockreg demo``: what sockreg does, shown."""

from __future__ import annotations

import argparse
import sys

from sockreg.api import Registry
from sockreg.cli.verb import Group, Verb


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--serve",
        metavar="NAME",
        help="instead, be an example server of this name on the sockets passed by systemd",
    )


def _run(_: Registry, options: argparse.Namespace) -> None:
    if options.serve is not None:
        from sockreg.demo import server

        server.serve(options.serve)
        return
    from sockreg.demo import place

    status = place.play()
    if status:
        sys.exit(status)


VERB = Verb(
    name="demo",
    group=Group.LOOK,
    summary="show what sockreg does, in namespaces of its own",
    description="Play ten steps with real servers and clients in namespaces of their own, where "
    "nothing of this host is seen or changed, and fail if a client sees something else than the "
    "step says.",
    add_arguments=_add_arguments,
    run=_run,
)

"""``sockreg unload``: detach the program and forget everything."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli.printing import print_json, say
from sockreg.cli.verb import Group, Verb


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--sock-ops", action="store_true", help="only detach the sock_ops program")
    what.add_argument(
        "--keep",
        action="store_true",
        help="only detach the program; keep sockets and counters for the next load",
    )


def _run(registry: Registry, options: argparse.Namespace) -> None:
    if options.sock_ops:
        from sockreg.commands.load import unload_sock_ops

        said = unload_sock_ops(registry.context)
    else:
        said = registry.unload(keep=options.keep)
    if options.json:
        print_json(
            "unloaded",
            {
                "registry": registry.path,
                "sock_ops_only": bool(options.sock_ops),
                "kept": bool(options.keep or options.sock_ops),
            },
        )
    else:
        say(said)


VERB = Verb(
    name="unload",
    group=Group.SYSTEM,
    summary="detach; forget sockets, rules in force, counters",
    description="Detach the program and forget sockets, rules in force and counters. The system "
    "is as it was before load. Configuration files stay.",
    add_arguments=_add_arguments,
    run=_run,
)

"""``sockreg load``: attach the program with the configured rules."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli.arguments import add_force
from sockreg.cli.change import show_change
from sockreg.cli.printing import say
from sockreg.cli.verb import Group, Verb
from sockreg.errors import PartlyError
from sockreg.streams import err


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    sock_ops = parser.add_mutually_exclusive_group()
    sock_ops.add_argument(
        "--sock-ops",
        action="store_true",
        help="also attach the sock_ops program, for units that use 'sockreg expect'",
    )
    sock_ops.add_argument(
        "--sock-ops-only",
        action="store_true",
        help="attach only that program, beside the registry that is there",
    )
    parser.add_argument(
        "--units",
        action="store_true",
        help="also register what started units have open and the registry lacks",
    )
    parser.add_argument(
        "--state",
        metavar="DIRECTORY",
        help="keep the rules in force in DIRECTORY for the next boot (/var/lib/sockreg in the "
        "network namespace of systemd, nowhere in others)",
    )
    add_force(parser)


def _run(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands import tell

    if options.sock_ops_only:
        _load_sock_ops(registry, options)
        return
    loaded = registry.load(force=options.force, units=options.units, state=options.state)
    if loaded.created and not options.json:
        say(loaded.summary)
    for program in loaded.others:
        err(f"sockreg: note: {program} {program.effect}; see sockreg(8)")
    show_change(loaded.change, as_json=options.json)
    if options.sock_ops:
        _load_sock_ops(registry, options)
    # The loader's own unit must not fail for others: it has told the journal.
    if loaded.missing and not tell.is_seen():
        raise PartlyError(loaded.missing)


def _load_sock_ops(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands.load import load_sock_ops

    attached = load_sock_ops(registry.context)
    if not options.json:
        say(attached)


VERB = Verb(
    name="load",
    group=Group.SYSTEM,
    summary="attach to the network namespace and apply the rules",
    description="Attach the program to the network namespace and put the configured rules in "
    "force. Units and files that are wrong cost only their own rules. If it is loaded already, "
    "this is an apply.",
    add_arguments=_add_arguments,
    run=_run,
)

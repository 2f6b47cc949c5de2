"""``sockreg apply`` puts the configured rules in force, ``sockreg confirm`` keeps them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from sockreg.api import Registry
from sockreg.cli import arguments
from sockreg.cli.arguments import add_force
from sockreg.cli.change import show_change, show_preview
from sockreg.cli.printing import print_json
from sockreg.cli.verb import Group, Verb
from sockreg.errors import UsageError
from sockreg.streams import out


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--check", action="store_true", help="print what would change, and change nothing"
    )
    how.add_argument(
        "--confirm",
        metavar="SECONDS",
        type=int,
        help="revert by itself unless 'sockreg confirm' follows within SECONDS",
    )
    how.add_argument(
        "--interfaces",
        action="store_true",
        help="look which interfaces there are, for rules that name one; reads no file",
    )
    how.add_argument(
        "--ended",
        metavar="TIME",
        type=arguments.count,
        help="at TIME, in seconds since the epoch, take rules that have ended out of force; reads "
        "no file",
    )
    parser.add_argument(
        "--put",
        metavar=("PATH", "SOURCE"),
        nargs=2,
        action="append",
        default=[],
        help="in the same step, write what is in SOURCE to the conf file PATH",
    )
    parser.add_argument(
        "--remove",
        metavar="PATH",
        action="append",
        default=[],
        help="in the same step, remove the conf file PATH",
    )
    parser.add_argument("--start", metavar="UNIT", help="from now on, count UNIT.socket as active")
    parser.add_argument("--stop", metavar="UNIT", help="no longer count UNIT.socket as active")
    add_force(parser)


def _run(registry: Registry, options: argparse.Namespace) -> None:
    if options.check:
        from sockreg.commands.apply import preview

        change = preview(registry.context, force=options.force, files=_files(registry, options))
        show_preview(change, as_json=options.json)
    elif options.interfaces:
        _look_at_interfaces(registry, options)
    elif options.ended is not None:
        _end_rules(registry, options)
    elif options.confirm is not None:
        _apply_on_trial(registry, options)
    else:
        from sockreg.commands.apply import apply

        change = apply(
            registry.context,
            start=options.start,
            stop=options.stop,
            force=options.force,
            files=_files(registry, options),
        )
        show_change(change, as_json=options.json)


def _files(registry: Registry, options: argparse.Namespace) -> Mapping[str, str | None]:
    """The conf files that come with the command, with their texts; None for one that goes."""
    if not options.put and not options.remove:
        return {}
    from sockreg.commands.given_files import given_files

    return given_files(registry.context.root, map(tuple, options.put), options.remove)


def _look_at_interfaces(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands import interfaces

    _refuse_options("--interfaces", options)
    if interfaces.is_followed(registry.context):
        return
    change = interfaces.refresh(registry.context) or interfaces.unchanged(registry.context)
    show_change(change, as_json=options.json)


def _end_rules(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands.ending import end_rules

    _refuse_options("--ended", options)
    change = end_rules(registry.context, options.ended)
    if change is not None:
        show_change(change, as_json=options.json)


def _refuse_options(option: str, options: argparse.Namespace) -> None:
    if options.start or options.stop or options.force or options.put or options.remove:
        raise UsageError(
            f"{option} reads no file: it cannot be combined with --start, --stop, --put, --remove "
            "or --force",
            "",
        )


def _apply_on_trial(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands.confirm import apply_on_trial

    if options.start or options.stop:
        raise UsageError(
            "--confirm tries out the rules in the files: it cannot be combined with --start or "
            "--stop",
            "start the sockreg@ unit first",
        )
    change, waiting = apply_on_trial(
        registry.context,
        options.confirm,
        force=options.force,
        files=_files(registry, options),
    )
    show_change(change, as_json=options.json)
    if waiting is not None and not options.json:
        out(
            f"generation {waiting.base} comes back in {options.confirm} s, unless you run "
            "'sockreg confirm'"
        )


def _confirm(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands.confirm import confirm

    generation = confirm(registry.context)
    if options.json:
        print_json("confirmed", {"generation": generation})
    else:
        out(f"generation {generation} stays in force")


APPLY = Verb(
    name="apply",
    group=Group.CHANGE,
    summary="put the configured rules in force, in one step",
    description="Read .socket units and configuration files, compile their rules and swap them "
    "in. If anything is wrong in any of them, the rules in force stay in force.",
    add_arguments=_add_arguments,
    run=_run,
)
CONFIRM = Verb(
    name="confirm",
    group=Group.CHANGE,
    summary="keep the rules of apply --confirm",
    description="Keep the rules that 'sockreg apply --confirm' put in force for a trial.",
    run=_confirm,
)

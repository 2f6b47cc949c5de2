"""The verbs that change which rules are in force: apply, rollback, confirm, bind, unbind."""

import argparse

from sockreg.cli import show
from sockreg.cli.printing import print_json
from sockreg.context import Context
from sockreg.errors import UsageError

APPLY = (
    "Read .socket units and configuration files, compile their rules and swap them in. If "
    "anything is wrong in any of them, what is in force stays in force."
)
ROLLBACK = (
    "Swap back to the generation that the one in force replaced. Files stay as they are; "
    "'sockreg apply' puts them in force again."
)
CONFIRM = "Keep the rules that 'sockreg apply --confirm' put in force for a trial."
BIND = "Add a rule to /etc/sockreg/90-bind.conf and apply."
UNBIND = "Remove a rule that bind added from its file and apply."


def add_force(parser: argparse.ArgumentParser) -> None:
    """--force, for everything that puts new rules in force."""
    parser.add_argument(
        "--force", action="store_true", help="even if a rule takes the port by which ssh gets in"
    )


def apply_arguments(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="say what would change, change nothing")
    how.add_argument(
        "--confirm",
        metavar="SECONDS",
        type=int,
        help="go back by itself unless 'sockreg confirm' comes within SECONDS",
    )
    parser.add_argument("--start", metavar="UNIT", help="from now on count UNIT.socket as active")
    parser.add_argument("--stop", metavar="UNIT", help="no longer count UNIT.socket as active")
    add_force(parser)


def apply(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.apply import apply as put_in_force
    from sockreg.commands.apply import check

    if options.check:
        show.checked(check(context), as_json=options.json)
    elif options.confirm is not None:
        _apply_for_now(context, options)
    else:
        change = put_in_force(context, start=options.start, stop=options.stop, force=options.force)
        show.applied(change, as_json=options.json)


def _apply_for_now(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.confirm import apply_for_now

    if options.start or options.stop:
        raise UsageError(
            "--confirm tries out what the files say: it does not go with --start or --stop",
            "start the sockreg@ unit first",
        )
    change, waiting = apply_for_now(context, options.confirm)
    show.applied(change, as_json=options.json)
    if waiting is not None and not options.json:
        print(
            f"generation {waiting.base} comes back in {options.confirm} s, unless you can still "
            "say 'sockreg confirm'"
        )


def rollback_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unconfirmed",
        metavar="TOKEN",
        help="at the end of a trial by apply --confirm, if nobody has confirmed it",
    )


def rollback(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.rollback import rollback as swap_back

    if options.unconfirmed is None:
        show.applied(swap_back(context), as_json=options.json)
        return
    from sockreg.commands.confirm import go_back

    change = go_back(context, options.unconfirmed)
    if change is not None:
        show.applied(change, as_json=options.json)


def confirm(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.confirm import confirm as keep

    generation = keep(context)
    if options.json:
        print_json("confirmed", {"generation": generation})
    else:
        print(f"generation {generation} stays in force")


def rule_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL")
    parser.add_argument("protocol", metavar="PROTO", help="tcp or udp")
    parser.add_argument("prefix", metavar="PREFIX", help="192.0.2.0/24, 2001:db8::/32, 192.0.2.1")
    parser.add_argument("ports", metavar="PORTS", help="80, 8000-8999, 80,443 or '*'")
    parser.add_argument(
        "conditions",
        metavar="CONDITION",
        nargs="*",
        help="from PREFIX, dev INTERFACE, missing=pass",
    )


def bind_arguments(parser: argparse.ArgumentParser) -> None:
    rule_arguments(parser)
    parser.add_argument("--runtime", action="store_true", help="until the next boot only")
    add_force(parser)


def bind(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.bind import bind as add

    change = add(context, options.label, _words(options), options.runtime, force=options.force)
    show.applied(change, as_json=options.json)


def unbind(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.bind import unbind as remove

    show.applied(remove(context, options.label, _words(options)), as_json=options.json)


def _words(options: argparse.Namespace) -> list[str]:
    return [options.protocol, options.prefix, options.ports, *options.conditions]

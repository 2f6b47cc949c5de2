"""The verbs of the command line. Verbs change something; nouns show something."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from sockreg.cli import (
    check,
    enabling,
    explain,
    graph,
    handover,
    importing,
    listeners,
    metrics,
    register,
    ruling,
    show,
    status,
    top,
)
from sockreg.context import Context

Run = Callable[[Context, argparse.Namespace], None]


@dataclass(frozen=True)
class Verb:
    """``run`` raises SockregError when it fails. It imports what it needs, no more."""

    name: str
    summary: str
    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Run


def _nothing(_: argparse.ArgumentParser) -> None:
    pass


def _load_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sock-ops",
        action="store_true",
        help="attach the sock_ops program as well, for units that 'sockreg expect'",
    )
    ruling.add_force(parser)


def _load(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.load import load, load_sock_ops

    show.loaded(context, load(context, force=options.force), as_json=options.json)
    if options.sock_ops:
        load_sock_ops(context)
        show.sock_ops("attached to the root cgroup")


def _unload_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sock-ops", action="store_true", help="detach the sock_ops program and nothing else"
    )


def _unload(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.load import unload, unload_sock_ops

    if options.sock_ops:
        show.sock_ops("detached" if unload_sock_ops(context) else "was not attached")
        return
    unload(context)
    show.unloaded(context, as_json=options.json)


def _upgrade(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.load import upgrade

    show.applied(upgrade(context), as_json=options.json)


def _unregister_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL")
    parser.add_argument("--unit", help="only the sockets of this unit")


def _unregister(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.unregister import unregister

    unregister(context, options.label, options.unit)


def _weight_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL")
    parser.add_argument(
        "weight",
        metavar="WEIGHT",
        nargs="?",
        type=int,
        help="0 to 65535; without it what the unit's files say, 100 if they say nothing",
    )
    parser.add_argument("--unit", help="only the socket of this unit")


def _weight(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.weigh import weigh

    weigh(context, options.label, options.unit, options.weight)


def _drain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL")
    parser.add_argument("unit", metavar="UNIT", nargs="?", help="only the socket of this unit")


def _drain(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.weigh import weigh

    weigh(context, options.label, options.unit, 0)


def _rules(context: Context, options: argparse.Namespace) -> None:
    from sockreg.views import rules

    show.rules(rules.read(context), as_json=options.json)


def _inspect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL")


def _inspect(context: Context, options: argparse.Namespace) -> None:
    from sockreg.cli import inspection
    from sockreg.views import inspect

    inspection.show(options.label, inspect.read(context, options.label), as_json=options.json)


def _install_units(context: Context, _: argparse.Namespace) -> None:
    from sockreg.commands.install import install_units

    show.installed(install_units(context.root))


VERBS = (
    Verb(
        "load",
        "attach to the network namespace, put the rules in force",
        "Attach the program to the network namespace and put the configured rules in force. "
        "Loaded already, it is an apply.",
        _load_arguments,
        _load,
    ),
    Verb(
        "unload",
        "detach; forget sockets, rules in force, counters",
        "Detach the program and forget sockets, rules in force and counters. The system is as "
        "it was before load; configuration files stay.",
        _unload_arguments,
        _unload,
    ),
    Verb(
        "upgrade",
        "replace the program by this version's, in one step",
        "Load this version's program with the configured rules and swap it in, keeping sockets "
        "and counters.",
        _nothing,
        _upgrade,
    ),
    Verb(
        "apply",
        "put the configured rules in force, in one step",
        ruling.APPLY,
        ruling.apply_arguments,
        ruling.apply,
    ),
    Verb(
        "confirm",
        "keep what apply --confirm put in force",
        ruling.CONFIRM,
        _nothing,
        ruling.confirm,
    ),
    Verb(
        "rollback",
        "put the generation before back in force",
        ruling.ROLLBACK,
        ruling.rollback_arguments,
        ruling.rollback,
    ),
    Verb(
        "enable",
        "enable a .socket unit with the registry",
        enabling.ENABLE,
        enabling.enable_arguments,
        enabling.enable,
    ),
    Verb(
        "disable",
        "undo enable",
        enabling.DISABLE,
        enabling.disable_arguments,
        enabling.disable,
    ),
    Verb(
        "bind",
        "add a rule: to its file and in force",
        ruling.BIND,
        ruling.bind_arguments,
        ruling.bind,
    ),
    Verb(
        "unbind",
        "remove a rule that bind added",
        ruling.UNBIND,
        ruling.rule_arguments,
        ruling.unbind,
    ),
    Verb(
        "import",
        importing.SUMMARY,
        importing.DESCRIPTION,
        importing.add_arguments,
        importing.run,
    ),
    Verb(
        "register",
        register.SUMMARY,
        register.DESCRIPTION,
        register.add_arguments,
        register.run,
    ),
    Verb(
        "send",
        "pass inherited sockets to sockreg-receive.socket",
        handover.SEND,
        handover.send_arguments,
        handover.send,
    ),
    Verb(
        "expect",
        "register this unit's TCP socket when it listens (sock_ops)",
        handover.EXPECT,
        handover.expect_arguments,
        handover.expect,
    ),
    Verb(
        "unregister",
        "take the sockets of a label out",
        "Take the sockets of a label out of the registry; its rules then refuse.",
        _unregister_arguments,
        _unregister,
    ),
    Verb(
        "weight",
        "change the share of flows of a label's sockets",
        "Give the sockets of a label another weight in their pool, until they register again.",
        _weight_arguments,
        _weight,
    ),
    Verb(
        "drain",
        "let nothing new arrive at a label's sockets",
        "Give the sockets of a label weight 0: nothing new arrives, what is there goes on.",
        _drain_arguments,
        _drain,
    ),
    Verb("rules", "show the rules in force", "Show the rules in force.", _nothing, _rules),
    Verb("status", status.SUMMARY, status.DESCRIPTION, status.add_arguments, status.run),
    Verb(
        "inspect",
        "show a label's sockets: options, queue, processes",
        "Show the sockets of a label from within: their options, their queue, the size of their "
        "reuseport group, and the processes that have them open.",
        _inspect_arguments,
        _inspect,
    ),
    Verb("explain", explain.SUMMARY, explain.DESCRIPTION, explain.add_arguments, explain.run),
    Verb(
        "listeners",
        listeners.SUMMARY,
        listeners.DESCRIPTION,
        listeners.add_arguments,
        listeners.run,
    ),
    Verb("top", top.SUMMARY, top.DESCRIPTION, top.add_arguments, top.run),
    Verb("graph", graph.SUMMARY, graph.DESCRIPTION, graph.add_arguments, graph.run),
    Verb("metrics", metrics.SUMMARY, metrics.DESCRIPTION, metrics.add_arguments, metrics.run),
    Verb("check", check.SUMMARY, check.DESCRIPTION, check.add_arguments, check.run),
    Verb(
        "install-units",
        "install the systemd units, catalog, group, man page",
        "Write the systemd units and the journal catalog to /usr/local/lib/systemd, make the group "
        "sockreg, and write the manual page and completion for bash to /usr/local/share.",
        _nothing,
        _install_units,
    ),
)

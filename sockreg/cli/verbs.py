"""The verbs of the command line. Verbs change something; nouns show something."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from sockreg.cli import enabling, explain, handover, listeners, register, show
from sockreg.commands.context import Context

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


def _load(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.load import load, load_sock_ops

    show.loaded(context, load(context), as_json=options.json)
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


def _rollback(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.rollback import rollback

    show.applied(rollback(context), as_json=options.json)


def _apply_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--check", action="store_true", help="say what would change, change nothing"
    )
    parser.add_argument("--start", metavar="UNIT", help="from now on count UNIT.socket as active")
    parser.add_argument("--stop", metavar="UNIT", help="no longer count UNIT.socket as active")


def _apply(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.apply import apply, check

    if options.check:
        show.checked(check(context), as_json=options.json)
    else:
        change = apply(context, start=options.start, stop=options.stop)
        show.applied(change, as_json=options.json)


def _rule_arguments(parser: argparse.ArgumentParser) -> None:
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


def _bind_arguments(parser: argparse.ArgumentParser) -> None:
    _rule_arguments(parser)
    parser.add_argument("--runtime", action="store_true", help="until the next boot only")


def _bind(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.bind import bind

    change = bind(context, options.label, _words(options), options.runtime)
    show.applied(change, as_json=options.json)


def _unbind(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.bind import unbind

    show.applied(unbind(context, options.label, _words(options)), as_json=options.json)


def _words(options: argparse.Namespace) -> list[str]:
    return [options.protocol, options.prefix, options.ports, *options.conditions]


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


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--lines", type=int, default=5, help="journal lines to show (5)")
    parser.add_argument("--slots", action="store_true", help="show the slots of the socket map")


def _status(context: Context, options: argparse.Namespace) -> None:
    from sockreg.views import status

    show.status(status.read(context), options.lines, options.slots, as_json=options.json)


def _inspect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL")


def _inspect(context: Context, options: argparse.Namespace) -> None:
    from sockreg.cli import inspection
    from sockreg.views import inspect

    inspection.show(options.label, inspect.read(context, options.label), as_json=options.json)


def _install_units(context: Context, _: argparse.Namespace) -> None:
    from sockreg.commands.units import install_units

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
        "Read .socket units and configuration files, compile their rules and swap them in. If "
        "anything is wrong in any of them, what is in force stays in force.",
        _apply_arguments,
        _apply,
    ),
    Verb(
        "rollback",
        "put the generation before back in force",
        "Swap back to the generation that the one in force replaced. Files stay as they are; "
        "'sockreg apply' puts them in force again.",
        _nothing,
        _rollback,
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
        "Add a rule to /etc/sockreg/90-bind.conf and apply.",
        _bind_arguments,
        _bind,
    ),
    Verb(
        "unbind",
        "remove a rule that bind added",
        "Remove a rule that bind added from its file and apply.",
        _rule_arguments,
        _unbind,
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
    Verb(
        "status",
        "show program, labels, sockets, counters",
        "Show what is attached, the labels with their sockets, and the counters.",
        _status_arguments,
        _status,
    ),
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
    Verb(
        "install-units",
        "install the systemd units and the catalog",
        "Write the systemd units and the journal catalog to /usr/local/lib/systemd.",
        _nothing,
        _install_units,
    ),
)

"""``sockreg register``: sockets passed by systemd, or of a process."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli import arguments
from sockreg.cli.verb import Group, Verb
from sockreg.errors import PartlyError, UsageError
from sockreg.model import TCP, UDP
from sockreg.plural import plural


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "labels",
        metavar="LABEL",
        nargs="*",
        help="label (default: each socket's LISTEN_FDNAMES entry)",
    )
    parser.add_argument(
        "--unit",
        metavar="UNIT",
        help="the unit that the sockets belong to; a unit that registers again replaces only its "
        "own (default: that of the process)",
    )
    parser.add_argument(
        "--weight",
        type=arguments.weight,
        metavar="WEIGHT",
        help="share of the label's new flows (default: Weight= of the unit, or 100)",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="take the label over from another unit that has a socket under it",
    )
    parser.add_argument(
        "--no-reuseport",
        action="store_true",
        help="packets are for this socket, not for its SO_REUSEPORT group",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--pid", type=arguments.pid, metavar="PID", help="take a socket of this process"
    )
    where.add_argument(
        "--of-unit", metavar="UNIT", help="take a socket of a process of this running unit"
    )
    where.add_argument(
        "--cookie",
        type=arguments.cookie,
        metavar="COOKIE",
        help="take the socket with this cookie, sk:1a2b",
    )
    parser.add_argument(
        "--proto", choices=("tcp", "udp"), metavar="PROTO", help="take only TCP or only UDP sockets"
    )
    parser.add_argument(
        "--local",
        metavar="ADDRESS",
        help="take only the socket bound to 192.0.2.1:80, [2001:db8::1]:80 or, on any address, :80",
    )
    parser.add_argument(
        "--wait",
        type=arguments.seconds,
        metavar="SECONDS",
        help="how long to wait for the socket (5)",
    )


def _run(registry: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands.names import check_label, check_unit_name

    for label in options.labels:
        check_label(label)
    if options.unit is not None:
        check_unit_name(options.unit)
    if options.pid is None and options.of_unit is None and options.cookie is None:
        skipped = _inherited(registry, options)
    else:
        skipped = _taken(registry, options)
    # A command that follows has an exit status of its own.
    if skipped and not options.command:
        raise PartlyError(
            f"register: {plural(len(skipped), 'socket')} left out, see the lines above; "
            "the others are registered"
        )


def _inherited(registry: Registry, options: argparse.Namespace) -> list[str]:
    from sockreg.commands.register import register_passed

    for name in ("proto", "local", "wait"):
        if getattr(options, name) is not None:
            raise UsageError(
                f"--{name} selects among the sockets of a process",
                "add --pid, --of-unit or --cookie",
            )
    return register_passed(
        registry.context,
        options.labels,
        unit=options.unit,
        weight=options.weight,
        replace=options.replace,
        exact=options.no_reuseport,
        command=options.command,
    )


def _taken(registry: Registry, options: argparse.Namespace) -> list[str]:
    from sockreg.commands.take import Order, take
    from sockreg.commands.take_choice import Selector, parse_local

    if options.command:
        raise UsageError(
            "-- COMMAND is for sockets passed to this process",
            "leave out --pid, --of-unit and --cookie",
        )
    if len(options.labels) != 1:
        raise UsageError(
            f"{len(options.labels)} labels given, but a socket is taken under one",
            "sockreg register LABEL --pid PID",
        )
    protocol = {None: None, "tcp": TCP, "udp": UDP}[options.proto]
    address, port = parse_local(options.local) if options.local is not None else (None, None)
    return take(
        registry.context,
        Order(
            label=options.labels[0],
            pid=options.pid,
            of_unit=_unit_name(options.of_unit),
            cookie=options.cookie,
            selector=Selector(protocol, address, port),
            registrant=options.unit,
            weight=options.weight,
            replace=options.replace,
            exact=options.no_reuseport,
            wait=5.0 if options.wait is None else options.wait,
        ),
    )


def _unit_name(name: str | None) -> str | None:
    """A name without a suffix is that of a service, as in systemctl(1)."""
    return name if name is None or "." in name else f"{name}.service"


VERB = Verb(
    name="register",
    group=Group.HAND_OVER,
    summary="register sockets passed by systemd, or of a process",
    description=(
        "Put sockets into the registry. By default, these are the sockets passed with the "
        "LISTEN_FDS protocol: each under its name, all under one LABEL, or each under its "
        "own LABEL, in order. With '-- COMMAND', the command is run with them afterwards. "
        "--pid, --of-unit and --cookie take a socket that a running process has opened "
        "itself."
    ),
    usage="sockreg register [OPTION]... [LABEL]... [-- COMMAND [ARGUMENT]...]",
    takes_command=True,
    add_arguments=_add_arguments,
    run=_run,
)

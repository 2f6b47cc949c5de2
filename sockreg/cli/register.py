"""The verb with many ways in: register."""

import argparse
import math

from sockreg.context import Context
from sockreg.errors import UsageError
from sockreg.label import WEIGHT_MAX, label_problem
from sockreg.model import TCP, UDP

SUMMARY = "register sockets passed by systemd, or of a process"
DESCRIPTION = """\
Put sockets into the registry. Without --pid, --of-unit or --cookie they are those passed
with the LISTEN_FDS protocol, each under its name, all under one LABEL, or each under its
own LABEL in their order; with '-- COMMAND' the command is run with them afterwards.
--pid, --of-unit and --cookie take a socket that a running process has opened itself."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "sockreg register [OPTION]... [LABEL]... [-- COMMAND [ARGUMENT]...]"
    parser.add_argument(
        "labels", metavar="LABEL", nargs="*", help="instead of each socket's LISTEN_FDNAMES entry"
    )
    parser.add_argument(
        "--unit",
        metavar="UNIT",
        help="the unit the sockets belong to; registering again replaces only its own "
        "(default: that of the process)",
    )
    parser.add_argument(
        "--weight",
        type=_weight,
        metavar="WEIGHT",
        help="share of the label's new flows (default: Weight= of the unit, or 100)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--pid", type=_pid, metavar="PID", help="take a socket of this process")
    where.add_argument(
        "--of-unit", metavar="UNIT", help="take a socket of a process of this running unit"
    )
    where.add_argument(
        "--cookie", type=_cookie, metavar="COOKIE", help="take the socket with this cookie, sk:1a2b"
    )
    parser.add_argument(
        "--proto", choices=("tcp", "udp"), metavar="PROTO", help="take only one of tcp, or of udp"
    )
    parser.add_argument(
        "--local",
        metavar="ADDRESS",
        help="take only the one bound to 192.0.2.1:80, [2001:db8::1]:80 or, wherever, :80",
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="how long the process may take to open it (5)",
    )
    parser.set_defaults(takes_command=True)


def run(context: Context, options: argparse.Namespace) -> None:
    for label in options.labels:
        problem = label_problem(label)
        if problem:
            raise UsageError(f"label {label!r:.300} {problem}", "")
    if options.unit is not None and _is_no_unit_name(options.unit):
        raise UsageError(
            f"--unit {options.unit!r:.300}: not the name of a unit",
            "a unit name has up to 255 ASCII characters and no spaces",
        )
    if options.pid is None and options.of_unit is None and options.cookie is None:
        _inherited(context, options)
    else:
        _taken(context, options)


def _inherited(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands import wrap
    from sockreg.registry import registration
    from sockreg.systemd import listen_fds, unit_of

    for name in ("proto", "local", "wait"):
        if getattr(options, name) is not None:
            raise UsageError(
                f"--{name} chooses among the sockets of a process",
                "add --pid, --of-unit or --cookie",
            )
    received = wrap.labelled(listen_fds.received(), options.labels)
    if options.command:
        wrap.check_command(options.command)
    context.loaded_registry()
    unit = options.unit or unit_of.unit_of_this_process()
    registration.register(
        received, unit, context.bpffs, netns=context.netns.cookie, weight=options.weight
    )


def _taken(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.choice import Selector, parse_local
    from sockreg.commands.take import Order, take

    if options.command:
        raise UsageError(
            "-- COMMAND is for sockets passed to this process",
            "leave out --pid, --of-unit and --cookie",
        )
    if len(options.labels) != 1:
        raise UsageError(
            f"{len(options.labels)} labels given; a socket is taken under one",
            "sockreg register LABEL --pid PID",
        )
    protocol = {None: None, "tcp": TCP, "udp": UDP}[options.proto]
    address, port = parse_local(options.local) if options.local is not None else (None, None)
    take(
        context,
        Order(
            options.labels[0],
            options.pid,
            _unit_name(options.of_unit),
            options.cookie,
            Selector(protocol, address, port),
            options.unit,
            options.weight,
            5.0 if options.wait is None else options.wait,
        ),
    )


def _unit_name(name: str | None) -> str | None:
    """A name without a suffix is that of a service, as for systemctl(1)."""
    return name if name is None or "." in name else f"{name}.service"


def _is_no_unit_name(name: str) -> bool:
    return not 0 < len(name) <= 255 or not all("!" <= c <= "~" for c in name)


def _pid(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a process")
    return int(text)


def _weight(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > WEIGHT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a weight from 0 to {WEIGHT_MAX}")
    return int(text)


def _cookie(text: str) -> int:
    digits = text.removeprefix("sk:")
    try:
        cookie = int(digits, 16)
    except ValueError:
        cookie = 0
    if not digits.isalnum() or not 0 < cookie < 2**64:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a cookie such as sk:1a2b ('ss -tulne' and 'sockreg status' show them)"
        )
    return cookie


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if seconds < 0 or not math.isfinite(seconds):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds

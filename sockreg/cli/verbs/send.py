"""``sockreg send``: pass inherited sockets to a receiver."""

from __future__ import annotations

import argparse

from sockreg.api import Registry
from sockreg.cli.verb import Group, Verb
from sockreg.streams import flush, out


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "label",
        metavar="LABEL",
        nargs="?",
        help="label (default: each socket's LISTEN_FDNAMES entry)",
    )
    parser.add_argument(
        "--socket",
        metavar="PATH",
        help="socket of the receiver, @NAME for an abstract one (default: that of "
        "sockreg-receive.socket)",
    )


def _run(_: Registry, options: argparse.Namespace) -> None:
    from sockreg.commands import send

    path = send.RECEIVER if options.socket is None else options.socket
    for label in send.send(path, options.label, command=options.command):
        out(f"{label}: OK")
        flush()


VERB = Verb(
    name="send",
    group=Group.HAND_OVER,
    summary="pass inherited sockets to sockreg-receive.socket",
    description="Pass the sockets of this process (LISTEN_FDS) to sockreg-receive.socket, each "
    "under its name or all under LABEL, and print the answers. With '-- COMMAND', "
    "run the command with them afterwards. Needs no privileges, only permission to "
    "connect.",
    usage="sockreg send [OPTION]... [LABEL] [-- COMMAND [ARGUMENT]...]",
    takes_command=True,
    add_arguments=_add_arguments,
    run=_run,
)

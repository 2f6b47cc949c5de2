"""The verbs by which sockets come in without being registered directly: send and expect."""

import argparse

from sockreg.context import Context
from sockreg.receive import protocol

SEND = """\
Pass the sockets of this process (LISTEN_FDS) to sockreg-receive.socket, each under its name or
all under LABEL, print the answers, and with '-- COMMAND' run the command with them afterwards.
Needs no privilege but to be let in there."""

EXPECT = """\
Let the sock_ops program register the TCP socket that this unit is about to listen on: for
ExecStartPre=+ of a unit. Without PORT it is the first one, with PORT the one on that local port;
several commands may name several ports. UDP servers do not listen(2): nothing is seen of them."""


def send_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "sockreg send [OPTION]... [LABEL] [-- COMMAND [ARGUMENT]...]"
    parser.add_argument(
        "label", metavar="LABEL", nargs="?", help="instead of each socket's LISTEN_FDNAMES entry"
    )
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=protocol.SOCKET,
        help=f"where the receiver listens ({protocol.SOCKET})",
    )
    parser.set_defaults(takes_command=True)


def send(_: Context, options: argparse.Namespace) -> None:
    from sockreg.commands import wrap
    from sockreg.commands.send import send as pass_sockets

    if options.command:
        wrap.check_command(options.command)
    for label in pass_sockets(options.socket, options.label):
        print(f"{label}: OK")


def expect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL")
    parser.add_argument("port", metavar="PORT", nargs="?", type=_port, help="the local port")


def expect(context: Context, options: argparse.Namespace) -> None:
    from sockreg.commands.expect import expect as expect_unit

    expect_unit(context, options.label, options.port)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 1 to 65535")
    return int(text)

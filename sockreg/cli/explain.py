"""``sockreg explain``: where a packet goes and why."""

from __future__ import annotations

import argparse
import socket
from typing import TYPE_CHECKING

from sockreg.cli.printing import print_json
from sockreg.context import Context
from sockreg.errors import SockregError, UsageError
from sockreg.model import INET, INET6, PROTOCOL_NAMES

if TYPE_CHECKING:  # a quarter of what other commands would import
    from sockreg.views.explain import Explanation, Query

SUMMARY = "say where a packet goes and why"
DESCRIPTION = (
    "Run the live program on a packet that nobody sends; show its verdict, the rule that won, "
    "those it beats, and the socket. It counts as one lookup."
)
_ANYWHERE = {INET: "0.0.0.0", INET6: "::"}
_SHOWN = 10  # rules that were beaten


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("protocol", metavar="PROTO", choices=("tcp", "udp"), help="tcp or udp")
    parser.add_argument("address", metavar="ADDR")
    parser.add_argument("port", metavar="PORT")
    parser.add_argument(
        "conditions",
        metavar="CONDITION",
        nargs="*",
        help="from ADDR[:PORT] (IPv6 with a port: [ADDR]:PORT), dev INTERFACE",
    )


def run(context: Context, options: argparse.Namespace) -> None:
    from sockreg.views.explain import explain

    query = _query(options)
    found = explain(context, query)
    if options.json:
        print_json("explanation", found)
    else:
        _show(query, found)


def _query(options: argparse.Namespace) -> Query:
    from sockreg.views.explain import Query

    family, address = _address(options.address)
    protocol = next(n for n, name in PROTOCOL_NAMES.items() if name == options.protocol)
    source, source_port, interface = _ANYWHERE[family], 0, None
    words = list(options.conditions)
    while words:
        word = words.pop(0)
        if word not in ("from", "dev") or not words:
            raise _usage(f"{word!r}: 'from ADDR[:PORT]' or 'dev INTERFACE' expected")
        value = words.pop(0)
        if word == "dev":
            interface = value
            continue
        source_family, source, source_port = _source(value)
        if source_family != family:
            raise _usage(f"from {value}: not of the same family as {options.address}")
    return Query(protocol, family, address, _port(options.port), source, source_port, interface)


def _address(text: str) -> tuple[int, str]:
    for family in (INET, INET6):
        try:
            return family, socket.inet_ntop(family, socket.inet_pton(family, text))
        except OSError:
            continue
    raise _usage(f"{text!r} is not an address")


def _source(text: str) -> tuple[int, str, int]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]:")
        return (*_address(host.rstrip("]")), _port(port) if port else 0)
    host, colon, port = text.partition(":")
    if colon and ":" not in port:
        return (*_address(host), _port(port))
    return (*_address(text), 0)


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise _usage(f"{text!r} is not a port from 1 to 65535")


def _usage(message: str) -> SockregError:
    return UsageError(message, "see 'sockreg explain --help'")


def _show(query: Query, found: Explanation) -> None:
    _line("verdict", _verdict(query, found))
    _line("", f"({found.asked})")
    if not found.agrees:
        _line("", "rules and program do not agree: this is a bug of sockreg, please report it")
    _line("because", found.reason)
    if found.rule is not None:
        _line("rule", f"{found.action} {found.label}: {found.rule}  ({found.place})")
    for beaten in found.beaten[:_SHOWN]:
        _line("over", f"{beaten.action} {beaten.label}: {beaten.rule}  ({beaten.place})")
        _line("", beaten.reason)
    if len(found.beaten) > _SHOWN:
        _line("", f"and {len(found.beaten) - _SHOWN} more rules")
    if found.target is not None:
        target = found.target
        of_unit = f", from {target.unit}" if target.unit != "-" else ""
        _line("socket", f"{target.cookie} {target.address}{of_unit}")
        _line("open in", ", ".join(target.processes) or "no process that can be seen from here")
    for note in found.notes:
        _line("note", note)


def _verdict(query: Query, found: Explanation) -> str:
    from sockreg.views.explain import Outcome, refused_how

    match found.outcome:
        case Outcome.SOCKET:
            return f"goes to a socket of label {found.label}"
        case Outcome.REFUSED:
            return f"refused with {refused_how(query.protocol)}"
        case Outcome.ORDINARY:
            return "left to ordinary lookup, which finds the socket below"
        case Outcome.NOBODY:
            return "left to ordinary lookup, which finds nobody: refused with " + refused_how(
                query.protocol
            )


def _line(head: str, text: str) -> None:
    print(f"{head:<10}{text}")

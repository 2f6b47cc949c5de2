"""``sockreg explain``: where a packet goes and why."""

from __future__ import annotations

import argparse
import contextlib
from socket import getservbyname
from typing import TYPE_CHECKING

from sockreg.api import Registry
from sockreg.cli import arguments
from sockreg.cli.printing import print_json
from sockreg.cli.verb import Group, Verb
from sockreg.errors import SockregError, UsageError
from sockreg.streams import out
from sockreg.terms import NO_UNIT

if TYPE_CHECKING:  # a quarter of what other commands would import
    from sockreg.streams import Tone
    from sockreg.views.explain import Explanation, Outcome
    from sockreg.views.programs import Neighbour

_SHOWN = 10  # limit on the rules that lost


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("protocol", metavar="PROTO", choices=("tcp", "udp"), help="tcp or udp")
    parser.add_argument("address", metavar="ADDR", help="192.0.2.1, or with its port 192.0.2.1:80")
    parser.add_argument("port", metavar="PORT", nargs="?")
    parser.add_argument(
        "conditions",
        metavar="CONDITION",
        nargs="*",
        help="from ADDR[:PORT] (IPv6 with a port: [ADDR]:PORT), dev INTERFACE",
    )


def _run(registry: Registry, options: argparse.Namespace) -> None:
    address, port, conditions = _asked(options)
    source, source_port, interface = _conditions(conditions)
    found = registry.explain(
        options.protocol,
        address,
        _named_port(port, options.protocol),
        source=source,
        source_port=source_port,
        interface=interface,
    )
    if options.json:
        print_json("explanation", found)
    else:
        _show(options.protocol, found)


def _asked(options: argparse.Namespace) -> tuple[str, str, list[str]]:
    """Address, port and conditions. The port may be behind the address, as ``ss`` shows it."""
    address, port = options.address, options.port
    host, colon, behind = address.rpartition(":")
    if colon and (":" not in host or (host.startswith("[") and host.endswith("]"))):
        conditions = options.conditions if port is None else [port, *options.conditions]
        return host.strip("[]"), behind, conditions
    if port is None:
        raise _usage("PORT is missing: 'explain tcp 192.0.2.1 80', or 192.0.2.1:80")
    return address.strip("[]"), port, options.conditions


def _conditions(words: list[str]) -> tuple[str | None, int, str | None]:
    """(source, its port or 0, interface); None if not given."""
    source, source_port, interface = None, 0, None
    rest = iter(words)
    for word in rest:
        value = next(rest, None)
        if word not in ("from", "dev") or value is None:
            raise _usage(f"{word!r}: expected 'from ADDR[:PORT]' or 'dev INTERFACE'")
        if word == "dev":
            interface = value
        else:
            source, source_port = _source(value)
    return source, source_port, interface


def _source(text: str) -> tuple[str, int]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]:")
        return host.rstrip("]"), _port(port) if port else 0
    host, colon, port = text.partition(":")
    if colon and ":" not in port:
        return host, _port(port)
    return text, 0


def _named_port(text: str, protocol: str) -> int:
    """A port, or the name that it has for the protocol in services(5)."""
    with contextlib.suppress(OSError, ValueError):
        return getservbyname(text, protocol)
    return _port(text)


def _port(text: str) -> int:
    try:
        return arguments.port(text)
    except argparse.ArgumentTypeError as error:
        raise _usage(str(error)) from None


def _usage(message: str) -> SockregError:
    return UsageError(message, "see 'sockreg explain --help'")


def _show(protocol: str, found: Explanation) -> None:
    from sockreg.views.explain import Outcome

    at_rules = _verdict(protocol, found)
    if found.outcome is Outcome.UNREACHED:
        at_rules = f"does not get to the rules; there, it would be: {at_rules}"
    _line("verdict", at_rules, _tone(found.outcome))
    _line("", f"({found.asked})")
    if not found.agrees:
        text = "the rules and the program disagree: this is a bug in sockreg, please report it"
        _line("", text, "bad")
    for before in found.before:
        _line("before", before)
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
        of_unit = f", from {target.unit}" if target.unit != NO_UNIT else ""
        _line("socket", f"{target.cookie} {target.address}{of_unit}")
        _line("open in", ", ".join(target.processes) or "no visible process")
    for other in found.others or ():
        _line("program", _of_other(other))
    for note in found.notes:
        _line("note", note)


def _tone(outcome: Outcome) -> Tone:
    """Whether somebody gets the packet."""
    match outcome.name:
        case "SOCKET" | "OTHER" | "ORDINARY":
            return "good"
        case "UNREACHED":
            return "doubtful"
        case _:
            return "bad"


def _verdict(protocol: str, found: Explanation) -> str:
    from sockreg.views.explain import Outcome, refused_how

    match found.at_rules:
        case Outcome.UNREACHED:  # never what rules do
            return "does not get to the rules"
        case Outcome.UNANSWERED:
            return f"goes to a socket of label {found.label} that cannot answer: clients time out"
        case Outcome.SOCKET:
            return f"goes to a socket of label {found.label}"
        case Outcome.OTHER:
            return "goes to a socket that another program selects"
        case Outcome.REFUSED:
            return f"refused with {refused_how(protocol)}"
        case Outcome.ORDINARY:
            return "left to ordinary lookup, which finds the socket below"
        case Outcome.NOBODY:
            return "left to ordinary lookup, which finds no socket: refused with " + refused_how(
                protocol
            )


def _of_other(other: Neighbour) -> str:
    runs = f"runs {other.runs} sockreg's" if other.runs else "runs"
    what = f"{other.decision} {other.cookie}" if other.cookie else other.decision
    return f"{other.program_id} ({other.name or 'name unknown'}) {runs}: {what}"


def _line(head: str, text: str, tone: Tone = "") -> None:
    out(f"{head:<10}{text}", tone)


VERB = Verb(
    name="explain",
    usage="sockreg explain [OPTION]... PROTO ADDR PORT [CONDITION]...\n"
    "       sockreg explain [OPTION]... PROTO ADDR:PORT [CONDITION]...",
    group=Group.LOOK,
    summary="say where a packet goes and why",
    description=(
        "Run the live program on a test packet. Show its verdict, the rule that won, the "
        "rules that lost, and the socket. The test counts as one lookup."
    ),
    add_arguments=_add_arguments,
    run=_run,
)

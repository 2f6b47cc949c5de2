"""Arguments that choose rules, or the packets that they are about."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sockreg.streams import err
from sockreg.terms import PROTOCOL_NAMES

if TYPE_CHECKING:
    from sockreg.views.rules import Filter

_FILTERS = ("label", "proto", "prefix", "port")


def add(parser: argparse.ArgumentParser, of: str) -> None:
    """--label, --proto, --prefix and --port. ``of`` is what they choose: ``rules``."""
    meets = ", also in part" if of == "rules" else ""
    parser.add_argument("--label", metavar="LABEL", help=f"only {of} of this label")
    parser.add_argument(
        "--proto", choices=tuple(PROTOCOL_NAMES.values()), metavar="PROTO", help="tcp or udp"
    )
    parser.add_argument(
        "--prefix", metavar="PREFIX", help=f"only {of} for addresses in this prefix{meets}"
    )
    parser.add_argument(
        "--port", metavar="PORTS", help=f"only {of} for these ports: 80, 8000-8999 or 80,443"
    )


def read(options: argparse.Namespace, verb: str) -> Filter:
    """What the arguments mean; says how a prefix is read. Raises UsageError."""
    from sockreg.views import rules

    notices: list[str] = []
    found = rules.filter_of(
        verb, options.label, options.proto, options.prefix, options.port, notices
    )
    for notice in notices:
        err(notice)
    return found


def given(options: argparse.Namespace) -> str:
    """The arguments as they were given."""
    values = ((name, getattr(options, name)) for name in _FILTERS)
    return " ".join(f"--{name} {value}" for name, value in values if value is not None)

"""``sockreg inspect``: details of a label's sockets."""

from __future__ import annotations

import argparse
import textwrap
import time
from typing import TYPE_CHECKING

from sockreg.api import Registry
from sockreg.cli.printing import print_json
from sockreg.cli.verb import Group, Verb
from sockreg.model import FAMILY_NAMES
from sockreg.plural import plural
from sockreg.printable import printable
from sockreg.streams import out, out_lines
from sockreg.terms import FAMILY_TITLES

if TYPE_CHECKING:
    from sockreg.views.inspect import Details, Queue, Value

_MARGIN = " " * 14
_WIDTH = 100
_TITLES = {name: FAMILY_TITLES[family] for family, name in FAMILY_NAMES.items()}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL")


def _run(registry: Registry, options: argparse.Namespace) -> None:
    found = registry.inspect(options.label)
    if options.json:
        print_json("inspect", {"label": options.label, "members": found})
        return
    for number, details in enumerate(found):
        if number:
            out()
        _show(options.label, details)


def _show(label: str, member: Details) -> None:
    out(f"{label}: {member.protocol} {member.address} ({member.cookie})")
    _line("serves", " and ".join(_TITLES[family] for family in member.serves))
    registered = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(member.registered / 1e9))
    _line("unit", f"{member.unit}, weight {member.weight}, registered {registered}")
    if member.owners:
        of = (f"{owner.name} (pid {owner.pid}, {owner.unit})" for owner in member.owners)
        _line("open in", ", ".join(of))
    if member.uid is not None:
        _line("user", f"uid {member.uid}")
    if member.queue is not None:
        _line("queue", _queue(member.queue))
    if member.group is not None:
        alone = "none: no other socket has this address"
        _line("reuseport", alone if member.group == 1 else f"group of {member.group} sockets")
    if member.nonblocking is not None:
        _line("blocking", "no: O_NONBLOCK is set" if member.nonblocking else "yes")
    if member.options is not None:
        _line("on", _names(member.options, True))
        _line("off", _names(member.options, False))
        others = (
            f"{name} {value}" for name, value in member.options.items() if type(value) is not bool
        )
        _line("options", ", ".join(text for text in others if not text.endswith(" ")))
    for note in member.notes:
        _line("note", note)


def _names(options: dict[str, Value], wanted: bool) -> str:
    return ", ".join(name for name, value in options.items() if value is wanted) or "none"


def _queue(queue: Queue) -> str:
    dropped = f"{plural(queue.dropped, 'packet')} dropped"
    if queue.limit is None:
        return f"{plural(queue.waiting, 'byte')} waiting, {dropped}"
    return f"{queue.waiting} of {plural(queue.limit, 'connection')} waiting, {dropped}"


def _line(name: str, text: str) -> None:
    head = f"  {name:12}"
    out_lines(
        textwrap.wrap(printable(text), _WIDTH, initial_indent=head, subsequent_indent=_MARGIN)
    )


VERB = Verb(
    name="inspect",
    group=Group.LOOK,
    summary="show a label's sockets: options, queue, processes",
    description="Show details of a label's sockets: their options, their queue, the size of "
    "their reuseport group, and the processes that have them open.",
    add_arguments=_add_arguments,
    run=_run,
)

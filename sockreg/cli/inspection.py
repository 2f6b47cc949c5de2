"""How ``sockreg inspect`` prints what it found."""

import textwrap
import time
from collections.abc import Sequence

from sockreg.cli.printing import plural, print_json
from sockreg.host.sockopt import Value
from sockreg.views.inspect import Details, Queue

_MARGIN = " " * 14
_WIDTH = 100
_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}


def show(label: str, found: Sequence[Details], *, as_json: bool) -> None:
    if as_json:
        print_json("inspect", {"label": label, "members": list(found)})
        return
    for number, details in enumerate(found):
        if number:
            print()
        _show(label, details)


def _show(label: str, it: Details) -> None:
    print(f"{label}: {it.protocol} {it.address} ({it.cookie})")
    _line("serves", " and ".join(_FAMILIES[family] for family in it.serves))
    registered = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(it.registered / 1e9))
    _line("unit", f"{it.unit}, weight {it.weight}, registered {registered}")
    if it.owners:
        of = (f"{owner.name} (pid {owner.pid}, {owner.unit})" for owner in it.owners)
        _line("open in", ", ".join(of))
    if it.uid is not None:
        _line("user", f"uid {it.uid}")
    if it.queue is not None:
        _line("queue", _queue(it.queue))
    if it.group is not None:
        alone = "none: no other socket has its address"
        _line("reuseport", alone if it.group == 1 else f"group of {it.group} sockets")
    if it.nonblocking is not None:
        _line("blocking", "no: O_NONBLOCK is set" if it.nonblocking else "yes")
    if it.options is not None:
        _line("on", _names(it.options, True))
        _line("off", _names(it.options, False))
        others = (
            f"{name} {value}" for name, value in it.options.items() if type(value) is not bool
        )
        _line("options", ", ".join(text for text in others if not text.endswith(" ")))
    for note in it.notes:
        _line("note", note)


def _names(options: dict[str, Value], wanted: bool) -> str:
    return ", ".join(name for name, value in options.items() if value is wanted) or "none"


def _queue(queue: Queue) -> str:
    dropped = f"{plural(queue.dropped, 'packet')} dropped"
    if queue.limit is None:
        return f"{plural(queue.waiting, 'byte')} waiting, {dropped}"
    return f"{queue.waiting} of {plural(queue.limit, 'connection')} waiting, {dropped}"


def _line(name: str, text: str) -> None:
    print(textwrap.fill(text, _WIDTH, initial_indent=f"  {name:12}", subsequent_indent=_MARGIN))

"""The bindings that tubular reads from JSON (``tubectl load-bindings``). Pure.

    {"bindings": [{"label": "web", "prefix": "192.0.2.0/24", "port": 80}]}

Each entry is for TCP and UDP. Port 0 is any port. Early versions of tubular knew no ports, and
later ones require them. Both forms are read.
"""

from __future__ import annotations

import json
from types import NoneType
from typing import NamedTuple, TypeVar

from sockreg.errors import ConfigError, SockregError
from sockreg.model import ANY_PORT, FAMILY_BITS, INET6, label_problem
from sockreg.rules.prefixes import format_prefix, parse_prefix
from sockreg.rules.syntax import format_ports
from sockreg.rules.unasked import why_unasked

_SHOWN = 20  # problems of one file
_MAPPED = 0xFFFF << 32  # ::ffff:0:0/96, where tubular looks up IPv4 addresses


class Entry(NamedTuple):
    """One entry, with ``prefix`` and ``ports`` in the canonical form of rules."""

    label: str
    prefix: str
    ports: str


class Document(NamedTuple):
    """``remarks`` name what was read differently from what is written, or means less here."""

    entries: list[Entry]
    remarks: list[str]


class _Object(NamedTuple):
    """A JSON object. Members may be repeated."""

    members: list[tuple[str, object]]


_T = TypeVar("_T", _Object, list[object], str)
_KINDS: dict[type, str] = {
    _Object: "an object",
    list: "a list",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    NoneType: "null",
}


def read_document(content: bytes, name: str) -> Document:
    """Read a whole file, which messages call ``name``.

    A binding that repeats another one is left out with a remark. ConfigError lists everything that
    is wrong, one line each: with line and column if the file is not JSON, and otherwise with the
    place in the notation of jq(1), such as ``.bindings[3]``.
    """
    problems: list[str] = []
    remarks: list[str] = []
    bindings = _bindings(_parse(content, name), problems)
    entries: dict[tuple[str, str], tuple[str, int]] = {}
    without_port = 0
    for number, item in enumerate(bindings):
        where = f".bindings[{number}]"
        try:
            members = _members(item, {"label", "prefix", "port"})
            entry = _entry(members, where, remarks)
        except ValueError as problem:
            problems.append(f"{where}: {problem}")
            continue
        without_port += "port" not in members
        label, earlier = entries.setdefault(entry[1:], (entry.label, number))
        if label != entry.label:
            problems.append(
                f"{where}: {entry.prefix} {entry.ports} is bound to {entry.label!r}, and to "
                f"{label!r} in .bindings[{earlier}]"
            )
        elif earlier != number:
            remarks.append(f"{where} repeats .bindings[{earlier}]")
    if problems:
        raise _refused(problems, name)
    if without_port:
        remarks.append(
            f"{without_port} of {len(bindings)} bindings have no port and apply to any port, as "
            "in early versions of tubular"
        )
    found = [Entry(label, *traffic) for traffic, (label, _) in entries.items()]
    return Document(found, [f"{name}: {remark}" for remark in remarks])


def conf_text(entries: list[Entry]) -> str:
    """The bindings as a file of /etc/sockreg: one section per label, in order of appearance."""
    sections: dict[str, list[str]] = {}
    for label, prefix, ports in entries:
        lines = sections.setdefault(label, [])
        lines += [f"Bind={protocol} {prefix} {ports}" for protocol in ("tcp", "udp")]
    return "\n".join("\n".join([f"[{label}]", *lines, ""]) for label, lines in sections.items())


def _parse(content: bytes, name: str) -> object:
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        problem = f"{name}:{error.lineno}:{error.colno}: not JSON: {error.msg}"
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"{name}:{line}: not UTF-8"
    except (ValueError, RecursionError) as error:
        problem = f"{name}: cannot be read as JSON: {error}"  # huge numbers, deep nesting
    raise ConfigError(problem, "nothing was imported")


def _bindings(document: object, problems: list[str]) -> list[object]:
    """The list of bindings; empty if there is none."""
    try:
        members = _members(document, {"bindings"})
        return _typed(members.get("bindings"), list, ".bindings: ")
    except ValueError as problem:
        problems.append(str(problem))
        return []


def _members(value: object, known: set[str]) -> dict[str, object]:
    """The members of an object. Raises ValueError for unknown and for repeated members."""
    members: dict[str, object] = {}
    for written, content in _typed(value, _Object).members:
        name = written.lower()  # encoding/json of Go ignores case
        if name not in known:
            raise ValueError(f"unknown member {written!r}: {', '.join(sorted(known))} expected")
        if name in members:
            raise ValueError(f"member {written!r} is given twice")
        members[name] = content
    return members


def _entry(members: dict[str, object], where: str, remarks: list[str]) -> Entry:
    label = _text(members, "label")
    wrong = label_problem(label)
    if wrong:
        raise ValueError(f"the label {label!r} {wrong}")
    notices: list[str] = []
    family, address, length = parse_prefix(_text(members, "prefix"), notices)
    prefix = format_prefix(family, address, length)
    why = why_unasked(family, address, length)
    if why:
        raise ValueError(f"the prefix {prefix} never matches: {why}")
    if _holds_ipv4(family, address, length):
        notices.append(
            f"in tubular, {prefix} also takes IPv4 packets, as addresses such as "
            "::ffff:192.0.2.1; here it does not: bind 0.0.0.0/0 as well if you want them"
        )
    remarks += [f"{where}: {notice}" for notice in notices]
    return Entry(label, prefix, _ports(members))


def _text(members: dict[str, object], name: str) -> str:
    if name not in members:
        raise ValueError(f"{name} is missing")
    return _typed(members[name], str, f"{name}: ")


def _ports(members: dict[str, object]) -> str:
    port = members.get("port", 0)
    if type(port) is not int or not 0 <= port <= 65535:  # True is an int, too
        raise ValueError("port: expected a number from 0 to 65535")
    return format_ports(port, port) if port else format_ports(*ANY_PORT)


def _holds_ipv4(family: int, address: int, length: int) -> bool:
    """Whether the prefix contains the IPv4-mapped addresses."""
    host_bits = FAMILY_BITS[family] - length
    return family == INET6 and address >> host_bits == _MAPPED >> host_bits


def _typed(value: object, wanted: type[_T], what: str = "") -> _T:
    """The value, if it has this type. Raises ValueError with both types otherwise."""
    if isinstance(value, wanted):
        return value
    raise ValueError(f"{what}expected {_KINDS[wanted]}, not {_KINDS[type(value)]}")


def _refused(problems: list[str], name: str) -> SockregError:
    lines = [f"{name}: {problem}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"and {len(problems) - _SHOWN} more")
    return ConfigError(lines, "nothing was imported")

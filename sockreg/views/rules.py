"""The rules in force, read from the kernel, and a rule as text and as JSON."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from sockreg import garbage
from sockreg.context import Context
from sockreg.errors import UsageError
from sockreg.model import ACTION_NAMES, FAMILY_BITS, PROTOCOL_NAMES, Binding, label_problem
from sockreg.plural import plural
from sockreg.registry import generation_record, generations
from sockreg.registry.generation_record import why_pending
from sockreg.rules.ending import Ends, format_time
from sockreg.rules.prefixes import format_prefix, parse_prefix
from sockreg.rules.syntax import format_rule, parse_ports
from sockreg.systemd.timespan import format_span


class Checksum(NamedTuple):
    """A number for the rules of a generation: the same for the same rules on all hosts."""

    generation: int
    number: int


def checksum(context: Context, known: Checksum | None = None) -> Checksum | None:
    """That of the rules in force; None if there are none.

    ``known`` is that of a generation, which is not read again. Raises SockregError.
    """

    def read(current: generations.Generation) -> Checksum:
        if known is not None and known.generation == current.number:
            return known
        packed = generation_record.decode(generations.read_rules(current))
        return Checksum(current.number, generation_record.checksum(packed))

    return generations.read_in_force(context.loaded_registry(), read)


class Filter(NamedTuple):
    """Which rules to show: those that meet every condition. None is no condition.

    ``label`` of a reject or pass rule is its section or unit. ``prefix`` is (family, address,
    length), and ``ports`` are (first, last) of each range: rules that match any packet for an
    address in the prefix, and for a port in the ranges.
    """

    label: str | None = None
    protocol: int | None = None
    prefix: tuple[int, int, int] | None = None
    ports: Sequence[tuple[int, int]] | None = None

    def shows(self, binding: Binding) -> bool:
        return (
            self.label in (None, binding.label)
            and self.protocol in (None, binding.protocol)
            and (self.prefix is None or _meets(binding, *self.prefix))
            and (self.ports is None or _meets_any(binding, self.ports))
        )


def filter_of(
    verb: str,
    label: str | None,
    protocol: str | None,
    prefix: str | None,
    ports: str | None,
    notices: list[str],
) -> Filter:
    """The filter that the words of a verb mean. ``notices`` are as in parse_prefix().

    Raises UsageError.
    """
    if label is not None and (wrong := label_problem(label)):
        raise UsageError(f"{verb}: the label {label!r} {wrong}")
    numbers = {name: number for number, name in PROTOCOL_NAMES.items()}
    try:
        return Filter(
            label,
            None if protocol is None else numbers[protocol],
            None if prefix is None else parse_prefix(prefix, notices),
            None if ports is None else parse_ports(ports, protocol or "tcp"),
        )
    except ValueError as problem:
        raise UsageError(f"{verb}: {problem}") from None


def _meets_any(binding: Binding, ports: Sequence[tuple[int, int]]) -> bool:
    return any(first <= binding.last and binding.first <= last for first, last in ports)


def _meets(binding: Binding, family: int, address: int, length: int) -> bool:
    """Whether an address is in both prefixes: then one contains the other."""
    if binding.family != family:
        return False
    shift = FAMILY_BITS[family] - min(binding.length, length)
    return binding.address >> shift == address >> shift


class Rules(NamedTuple):
    """All rules of a generation in the order in which they were read.

    Those for an interface in ``absent`` are pending. It is there nevertheless if it is in
    ``refused``. ``ends`` says which end by themselves, and when.
    """

    bindings: list[Binding]
    absent: Mapping[str, int]
    refused: Collection[str] = ()
    ends: Ends = MappingProxyType({})

    def chosen(self, wanted: Filter) -> Rules:
        """Those that a filter shows, pending ones, too."""
        return self._replace(bindings=list(filter(wanted.shows, self.bindings)))

    @property
    def in_force(self) -> list[Binding]:
        return generation_record.divide(self.bindings, self.absent)[0]

    @property
    def pending(self) -> list[Binding]:
        """The rules for interfaces that are not there."""
        return generation_record.divide(self.bindings, self.absent)[1]


def read(context: Context) -> Rules:
    """The rules of the generation in force."""
    content = generations.read_in_force(context.loaded_registry(), generations.read_rules)
    return Rules([], {}) if content is None else of_record(content)


def of_record(content: bytes) -> Rules:
    """The rules of a generation's record."""
    with garbage.paused():
        bindings = generation_record.decode_bindings(content)
    header = generation_record.decode_header(content)
    return Rules(bindings, header.absent, header.refused, header.end_of)


class Counted(NamedTuple):
    """A rule, and how many packets it decided on."""

    binding: Binding
    decisions: int


def by_decisions(counted: list[Counted]) -> list[Counted]:
    """The rules that decide most come first; others in the order in which they were read."""
    return sorted(counted, key=lambda it: -it.decisions)


def pending_lines(pending: Sequence[Binding], refused: Collection[str] = ()) -> list[str]:
    """What each absent interface keeps out of force, one line for each."""
    waiting: dict[str | None, list[Binding]] = {}
    for binding in pending:
        waiting.setdefault(binding.interface, []).append(binding)
    lines = []
    for interface, found in waiting.items():
        first, others = found[0], len(found) - 1
        also = f" and {plural(others, 'more rule')}" if others else ""
        lines.append(
            f"pending: {line(first)} ({first.place}){also}: {why_pending(interface, refused)}"
        )
    return lines


def line(binding: Binding) -> str:
    """``bind web: tcp 192.0.2.0/24 80``."""
    return f"{ACTION_NAMES[binding.action]} {binding.label}: {format_rule(binding)}"


def row(binding: Binding) -> tuple[str, str, str, str]:
    """Action, label, rule, place."""
    return (
        ACTION_NAMES[binding.action],
        binding.label,
        format_rule(binding),
        str(binding.place),
    )


def bodies(found: Rules) -> list[dict[str, object]]:
    """All rules, with whether they are pending. Nobody has counted their decisions."""
    return [body(rule) | _more(rule, found) | {"decisions": None} for rule in found.bindings]


def counted_bodies(found: Rules, counted: list[Counted]) -> list[dict[str, object]]:
    """The same with the number of decisions."""
    return [
        body(rule) | _more(rule, found) | {"decisions": decisions} for rule, decisions in counted
    ]


def _more(rule: Binding, found: Rules) -> dict[str, object]:
    """What is to know about a rule besides itself."""
    return {"pending": rule.interface in found.absent, **end_body(found.ends.get(rule.place))}


def end_body(end: int | None) -> dict[str, object]:
    """When a rule ends: ``until`` as in files, and what is left. Both are None if it does not."""
    if end is None:
        return {"until": None, "seconds_left": None}
    return {"until": format_time(end), "seconds_left": max(0, round(end - time.time()))}


def left_text(end: int | None) -> str:
    """What is left of a rule: ``1h 59min``, or ``-`` if it does not end."""
    if end is None:
        return "-"
    left = end - time.time()
    return format_span(left) if left > 0 else "ended"


def end_text(end: int) -> str:
    """The same as a phrase: ``ends in 1h 59min, at 2026-11-27T02:00:00Z``."""
    if end <= time.time():
        return "has ended, but is in force: 'sockreg apply' takes it out"
    return f"ends in {left_text(end)}, at {format_time(end)}"


def body(binding: Binding) -> dict[str, object]:
    """A rule as described in docs/json.md."""
    return {
        "label": binding.label,
        "action": ACTION_NAMES[binding.action],
        "rule": format_rule(binding),
        "protocol": PROTOCOL_NAMES[binding.protocol],
        "prefix": format_prefix(binding.family, binding.address, binding.length),
        "first_port": binding.first,
        "last_port": binding.last,
        "listener": binding.listener or None,
        "from": format_prefix(binding.family, *binding.source) if binding.source else None,
        "interface": binding.interface,
        "missing_pass": binding.missing_pass,
        "file": binding.place.path,
        "line": binding.place.line,
    }

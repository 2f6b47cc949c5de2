"""The rules in force, read from the kernel, and a rule as text and as JSON."""

from __future__ import annotations

from sockreg import garbage
from sockreg.context import Context
from sockreg.model import ACTION_NAMES, PROTOCOL_NAMES, Binding
from sockreg.registry import generation_record, generations
from sockreg.rules.syntax import format_prefix, format_rule


def read(context: Context) -> list[Binding]:
    """The bindings of the generation in force, in the order in which they were read."""
    content = generations.read_in_force(context.loaded_registry(), generations.read_rules)
    with garbage.paused():
        return [] if content is None else generation_record.decode_bindings(content)


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
        "from": format_prefix(binding.family, *binding.source) if binding.source else None,
        "interface": binding.interface,
        "missing_pass": binding.missing_pass,
        "file": binding.place.path,
        "line": binding.place.line,
    }

"""Put the configured rules in force: files -> rule set -> tables -> generation -> swap."""

import hashlib
import socket
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sockreg import __version__, journal
from sockreg.commands.context import Context
from sockreg.compile import Tables, compile_rules
from sockreg.config.ruleset import RuleSet, read_rule_set
from sockreg.errors import EXIT_CONFIG, SockregError
from sockreg.kernel import layout, objectfile, syscall
from sockreg.model import Action, Binding, Destination
from sockreg.registry import generations, record, sockets, state
from sockreg.registry.directory import Lock
from sockreg.rules.syntax import format_rule


@dataclass(frozen=True)
class Change:
    """What an apply changed, or would change.

    ``generation`` is the number in force afterwards; ``swapped`` says whether it is new.
    Bindings are compared by what they mean, not by where they stand.
    """

    generation: int | None
    swapped: bool
    count: int
    added: list[Binding] = field(default_factory=list)
    removed: list[Binding] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def apply(
    context: Context,
    *,
    start: str | None = None,
    stop: str | None = None,
    overlay: Mapping[str, str | None] | None = None,
    check: bool = False,
    upgrade: bool = False,
) -> Change:
    """Compile the configured rules and swap them in, if they differ from those in force.

    ``start`` and ``stop`` name a .socket unit that begins or ceases to count as active.
    ``overlay`` gives files another content than they have. ``check`` stops before
    anything changes. ``upgrade`` makes a new generation even from the same rules.
    SockregError leaves what was in force in force.
    """
    registry = context.loaded_registry()
    with state.writing(registry):
        maps = sockets.Maps(registry)
        try:
            return _apply(context, registry, maps, start, stop, overlay, check, upgrade)
        except SockregError as error:
            if error.status == EXIT_CONFIG and not check:
                journal.record(
                    f"rules refused, those in force stay: {error.message}",
                    journal.APPLY_REFUSED,
                    journal.ERR,
                )
            raise
        finally:
            maps.close()


def _apply(
    context: Context,
    registry: str,
    maps: sockets.Maps,
    start: str | None,
    stop: str | None,
    overlay: Mapping[str, str | None] | None,
    check: bool,
    upgrade: bool,
) -> Change:
    active = _active_units(maps)
    if start is not None:
        active.add(start)
    active.discard(stop or "")
    rules = read_rule_set(context.root, active, overlay or {})
    current = generations.in_force(registry)
    if check:
        _compile(rules, _slots_to_be(maps, rules.bindings))
        return _change(rules, current, current.number if current else None, swapped=False)
    with Lock(registry, state.LOCK_TIMEOUT):
        slots = sockets.add_destinations(maps, _destinations(rules.bindings))
    tables = _compile(rules, slots)
    object_info = objectfile.check(context.object_path)
    records, *names = record.pack_bindings(rules.bindings)
    digest = hashlib.sha256()
    for part in (object_info.source.encode(), tables.config, tables.table_bytes(), records):
        digest.update(part)
    digest.update(repr(names).encode())
    fingerprint = digest.hexdigest()
    if (
        current is not None
        and not upgrade
        and generations.header(current).fingerprint == fingerprint
    ):
        _write_units(maps, rules, active)
        return Change(current.number, False, len(rules.bindings), notices=rules.notices)
    header = record.Header(
        version=__version__,
        created=time.time_ns(),
        fingerprint=fingerprint,
        source=object_info.source,
        count=len(rules.bindings),
        table_bytes=len(tables.table_bytes()),
        counters=rules.options.counters,
        labels=names[0],
        paths=names[1],
        interfaces=names[2],
    )
    number = 1 + max((g.number for g in generations.generations(registry)), default=0)
    change = _change(rules, current, number, swapped=True)
    new = generations.build(
        registry, number, context.object_path, tables, record.encode(header, records)
    )
    if current is None:
        generations.attach(registry, new, context.netns.fd)
    else:
        generations.swap(registry, current, new)
    _write_units(maps, rules, active)
    generations.keep_two(registry, new)
    with Lock(registry, state.LOCK_TIMEOUT):
        sockets.drop_stale_members(maps)
    return change


def _active_units(maps: sockets.Maps) -> set[str]:
    return {unit for unit, unit_state in sockets.read_units(maps).items() if unit_state[0]}


def _write_units(maps: sockets.Maps, rules: RuleSet, active: Collection[str]) -> None:
    """Let the registry say which units count now, and which state of their files."""
    for unit in sockets.read_units(maps).keys() - rules.units.keys():
        syscall.map_delete(maps.units, layout.UNIT_NAME.pack(unit.encode("ascii")))
    for unit, files in rules.units.items():
        sockets.write_unit(maps, unit, unit in active, files.state)


def _destinations(bindings: list[Binding]) -> list[tuple[str, int, int]]:
    """Sorted, so that the same rules get the same slots in a fresh registry."""
    return sorted({(b.label, b.family, b.protocol) for b in bindings if b.action is Action.BIND})


def _slots_to_be(maps: sockets.Maps, bindings: list[Binding]) -> dict[tuple[str, int, int], int]:
    """For a mere check: the slots there are, and unused numbers for the rest."""
    slots = sockets.read_destinations(maps)
    free = max(slots.values(), default=layout.FIRST_SLOT)
    for number, destination in enumerate(_destinations(bindings), free + 1):
        slots.setdefault(destination, number)
    return slots


def _compile(rules: RuleSet, slots: Mapping[tuple[str, int, int], int]) -> Tables:
    interfaces = {
        binding.interface: _interface_index(binding)
        for binding in rules.bindings
        if binding.interface is not None
    }
    return compile_rules(
        rules.bindings,
        {Destination(*key): slot for key, slot in slots.items()},
        counters=rules.options.counters,
        interfaces=interfaces,
    )


def _interface_index(binding: Binding) -> int:
    name = binding.interface or ""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise SockregError(
            f"{binding.place}: {format_rule(binding)}: there is no interface {name} "
            "in this network namespace",
            "make the interface before the rules that name it, or correct the name",
            EXIT_CONFIG,
        ) from None


def _change(
    rules: RuleSet, current: generations.Generation | None, number: int | None, *, swapped: bool
) -> Change:
    before = (
        {_meaning(b): b for b in record.decode_bindings(generations.read_rules(current))}
        if current is not None
        else {}
    )
    after = {_meaning(b): b for b in rules.bindings}
    return Change(
        number,
        swapped,
        len(rules.bindings),
        added=[b for meaning, b in after.items() if meaning not in before],
        removed=[b for meaning, b in before.items() if meaning not in after],
        notices=rules.notices,
    )


def _meaning(binding: Binding) -> tuple[object, ...]:
    return binding[:-1]

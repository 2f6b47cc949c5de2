"""Applying the configured rules: files -> rule set -> tables -> generation -> swap."""

import contextlib
import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sockreg import __version__, garbage, interrupts
from sockreg.commands import beside, earlier, ssh_known, tell, trial_files
from sockreg.commands.change import Change, moves_between
from sockreg.commands.earlier import LastInForce
from sockreg.commands.rest import Rest
from sockreg.commands.wake import set_timers
from sockreg.commands.watch import watch
from sockreg.compile import Tables, compile_rules
from sockreg.config.bindfile import write_files
from sockreg.config.conf import Overlay
from sockreg.config.report import Notice
from sockreg.config.ruleset import RuleSet, UnitFiles, read_sound, same_labels
from sockreg.context import Context
from sockreg.errors import EXIT_FAILURE, EXIT_OK, ConfigError, RefusedError, SockregError
from sockreg.guards import root as root_guard
from sockreg.guards import ssh
from sockreg.guards.ssh_expected import expected
from sockreg.host import links, release
from sockreg.model import Action, Binding, Destination, LeftOut
from sockreg.registry import (
    attachment,
    flows,
    generation_record,
    generations,
    loading,
    pools,
    published,
    relabel,
    trial,
)
from sockreg.registry.claims import state_of_files
from sockreg.registry.destinations import Key, add_destinations, read_destinations
from sockreg.registry.directory import not_in_force
from sockreg.registry.locks import Lock
from sockreg.registry.maps import Maps
from sockreg.registry.pins import remove_directory
from sockreg.registry.sweep import sweep
from sockreg.registry.units import (
    UnitState,
    active_units,
    drop_unit,
    read_units,
    unit_state,
    write_unit,
)
from sockreg.rules.ending import Ends, has_ended
from sockreg.rules.presence import without_absent
from sockreg.rules.syntax import format_line, format_rule
from sockreg.systemd import journal, unitpaths
from sockreg.terms import FIRST_SLOT


@dataclass(frozen=True)
class Writer:
    """The right to change the rules of a registry: its lock is held."""

    context: Context
    registry: str
    maps: Maps

    def active_units(self) -> set[str]:
        """The .socket units whose sockreg@ instance is started."""
        return active_units(self.maps)


@contextlib.contextmanager
def writing(context: Context) -> Iterator[Writer]:
    """Hold the lock while rules are read, compiled and swapped, so that no change is lost."""
    registry = context.loaded_registry()
    with garbage.paused(), generations.writing(registry), Maps(registry) as maps:
        try:
            yield Writer(context, registry, maps)
        finally:
            context.step("")


@contextlib.contextmanager
def configuring(context: Context, *, force: bool) -> Iterator[Writer]:
    """writing(), to read configuration and put it in force.

    Raises UsageError if --root is missing, and RefusedError if the rules in force are those of
    another root, unless ``force`` is given.
    """
    root = context.root  # before anything else
    with writing(context) as writer:
        trial.drop_dead(writer.registry)
        trial_files.settle(context, writer.registry)
        with _refusal_told():
            root_guard.guard(_header_in_force(writer.registry), root, force=force)
        yield writer


@contextlib.contextmanager
def _refusal_told() -> Iterator[None]:
    """Write to the journal if rules are refused in this block."""
    try:
        yield
    except SockregError as error:
        journal.record(
            [f"rules refused, the rules in force stay: {error.lines[0]}", *error.lines[1:]],
            journal.APPLY_REFUSED,
            journal.ERR,
        )
        raise


def _header_in_force(registry: str) -> generation_record.Header | None:
    return generations.read_in_force(registry, generations.read_header)


def apply(
    context: Context,
    *,
    start: str | None = None,
    stop: str | None = None,
    upgrade: bool = False,
    force: bool = False,
    files: Overlay | None = None,
) -> Change:
    """Compile the configured rules and swap them in, if they differ from those in force.

    ``files`` are written in the same step, as in put_in_force(). ``start`` and ``stop`` name a
    .socket unit that starts or stops to count as active. ``upgrade`` makes a new generation even
    from the same rules. ``force`` lets rules take the ssh port, and lets them come from another
    root than those in force. If this raises SockregError, the rules in force have not changed.
    Parts of the configuration that are wrong are refused if this is about them; see
    commands/beside.py.
    """
    change = put_configured(
        context, start=start, stop=stop, upgrade=upgrade, force=force, files=files
    )
    tell.applied(change)
    if change.taken_in:
        from sockreg.commands.bring_back import bring_back_taken_in

        bring_back_taken_in(context)
    return change


def put_configured(
    context: Context,
    *,
    start: str | None = None,
    stop: str | None = None,
    upgrade: bool = False,
    force: bool = False,
    attach: bool = False,
    starting: bool = False,
    files: Overlay | None = None,
) -> Change:
    """Like apply(), without a journal entry.

    ``attach`` is whether this may put rules in force if none are. ``starting`` is whether this is a
    start of the loader, which is not about any part of the configuration.
    """
    with configuring(context, force=force) as writer:
        active = writer.active_units()
        if start is not None:
            active.add(start)
        active.discard(stop or "")
        if not attach and generations.in_force(writer.registry) is None:
            if start is None and stop is None:
                raise not_in_force(writer.registry)
            # Its sockets come and go while the loader is stopped. Its rules follow at the start.
            _count_from_next_load(writer, start, stop)
            return Change(generation=None, swapped=False, count=0)
        about = {unit for unit in (start, stop) if unit is not None}
        with failure_published(writer.registry):
            return put_in_force(
                writer,
                active,
                files or {},
                changes=about if about or upgrade or starting else None,
                upgrade=upgrade,
                force=force,
                attach=attach,
            )


@contextlib.contextmanager
def failure_published(registry: str) -> Iterator[None]:
    """Publish the failure if the configured rules do not come into force in this block.

    A refused bind does not count: its rule is in no file.
    """
    try:
        yield
    except (SockregError, OSError) as error:
        status = error.status if isinstance(error, SockregError) else EXIT_FAILURE
        published.publish_outcome(registry, status)
        raise


def preview(
    context: Context,
    *,
    start: Collection[str] = (),
    force: bool = False,
    files: Overlay | None = None,
) -> Change:
    """Read and compile like apply. Returns what would change, and changes nothing.

    ``start`` names .socket units that would start to count. ``force`` and ``files`` are
    as in apply().
    """
    root = context.root
    registry = context.loaded_registry()
    root_guard.guard(_header_in_force(registry), root, force=force)
    with Maps(registry, read_only=True) as maps, garbage.paused():
        try:
            current = generations.in_force_for_readers(registry)
            before = _Before.of(context, current)
            active = active_units(maps).union(start)
            rules = _read(context, active, files or {}, before, maps)
            intent = _Intent(before, start or None, files or ())
            rules = _with_free_labels(intent.sound(rules), intent, maps)
            rules = _with_ssh(rules, intent, maps, root=context.root, force=force)
            content = _content(rules, before)
            _compile(context, content, lambda keys: _slots_to_be(maps, keys))
            return _change(rules, content, before, before.number, swapped=False)
        finally:
            context.step("")


def preview_load(context: Context, *, start: Collection[str], force: bool = False) -> None:
    """Like preview(), before there is a registry.

    Raises SockregError if the rules of one of the units in ``start`` would be left out, or others
    because of them.
    """
    with garbage.paused():
        try:
            before = _Before.of(context, None)
            intent = _Intent(before)
            rules = read_sound(context.root, start, {}, before.last)
            rules = _with_ssh(rules, intent, None, root=context.root, force=force)
            involved = {part: wrong.rivals | {part} for part, wrong in rules.wrong.items()}
            refused = [part for part, parts in involved.items() if parts.intersection(start)]
            beside.refuse(refused, rules)
            slots = itertools.count(FIRST_SLOT)
            _compile(
                context,
                _content(rules, before),
                lambda keys: dict(zip(sorted(keys), slots, strict=False)),
            )
        finally:
            context.step("")


def put_in_force(
    writer: Writer,
    active: Collection[str],
    files: Overlay,
    *,
    changes: Collection[str] | None = None,
    upgrade: bool = False,
    force: bool = False,
    attach: bool = False,
    on_trial: bool = False,
) -> Change:
    """Make the configured rules a generation and swap it in, unless it is in force already.

    ``files`` are conf files to write along with the swap. The rules are read as if the files were
    written. The files are written last, right before the swap. Unless ``force`` is given, rules
    that newly take the ssh port are refused. ``attach`` is as in put_configured(). ``changes``
    names the parts of the configuration that the command is about; None is all of them. Parts that
    are wrong give way to their earlier form or are left out, or are refused if the command is about
    them. If nothing is in force, none is refused. ``on_trial`` is for changes that begin or prolong
    a trial: others say that it goes on.
    """
    context, registry, maps = writer.context, writer.registry, writer.maps
    current = generations.in_force(registry)
    if current is None and not attach:
        raise not_in_force(registry)
    before = _Before.of(context, current)
    with unitpaths.Steady(), _refusal_told():
        rules = _read(context, active, files, before, maps)
        intent = _Intent(before, changes, files)
        rules = intent.sound(rules)
        with Lock(registry):
            rules = _with_free_labels(rules, intent, maps)

        def prepare(given: RuleSet) -> _Prepared:
            # For every choice of parts: one that is left out may have kept the port of ssh open.
            safe = _with_ssh(given, intent, maps, root=context.root, force=force)
            return _prepare(writer, safe, before, upgrade=upgrade)

        made, moves = _entered(writer, rules, intent, prepare)
    # From here on, the command comes to its end.
    with interrupts.dropped(), unitpaths.Steady():
        change = _finished(writer, made, moves, files, active)
    if change.swapped and not on_trial:
        told = [Notice(None, waiting.goes_on) for waiting in trial.running(registry)]
        change = replace(change, notices=[*change.notices, *told])
    return change


def _finished(
    writer: Writer,
    made: "_Prepared",
    moves: relabel.Labels,
    files: Overlay,
    active: Collection[str],
) -> Change:
    """Swap in what is ready, and do all that follows from it.

    If this raises an error, nothing has changed.
    """
    context, registry, maps = writer.context, writer.registry, writer.maps
    rules, header, before, rest = made.rules, made.header, made.before, Rest()
    if made.new is None:
        with leaving(writer, moves, rest):
            write_files(files)
    else:
        context.step(f"swapping generation {made.new.number} in")
        with leaving(writer, moves, rest):
            _swap(writer, before.current, made.new, files, rest)
        with rest.of("generations and slots that are not needed any more"):
            sweep(registry, maps, [made.new.number, before.number])
    labels: list[str] = []
    with rest.of("the units whose rules count"), Lock(registry):
        _write_units(maps, rules, active)
        labels = ssh_known.mark(
            maps,
            rules.bindings,
            {unit: files.label for unit, files in rules.units.items()},
            before.ssh_finder(rules, context.root),
            take_ssh=rules.options.take_ssh,
        )
    with rest.of("the time of this apply"):
        published.publish_outcome(registry, EXIT_OK)
    with rest.of("following interfaces"):
        watch(context, before.header, header)
    with rest.of("timers"):
        set_timers(context, before.header, header)
    with rest.of("what is kept for the next boot"):
        earlier.keep(header, made.content.packed.records)
        ssh_known.keep(header.state, rules, context.root, labels, at_boot=before.current is None)
    still = {left.part for left in rules.left_out}
    taken_in = [left.part for left in before.left_out if left.part not in still]
    return replace(made.change, taken_in=taken_in, unfinished=rest.failures)


@dataclass(frozen=True)
class _Before:
    """What a change starts from; ``last`` has the rules that were last in force.

    ``expects_ssh`` is whether ssh may start to listen later. ``finders`` are those of ssh_finder(),
    by root and labels: what they have found out is used twice.
    """

    current: generations.Generation | None
    header: generation_record.Header | None
    last: LastInForce
    expects_ssh: bool
    finders: dict[tuple[str, tuple[tuple[str, str], ...]], ssh_known.Finder] = field(
        default_factory=dict
    )

    @staticmethod
    def of(context: Context, current: generations.Generation | None) -> "_Before":
        header = generations.read_header(current) if current else None
        last = LastInForce(current, earlier.directory_of(context, header))
        return _Before(current, header, last, context.may_have_services)

    @property
    def number(self) -> int | None:
        return self.current.number if self.current else None

    def ssh_finder(self, rules: RuleSet, root: str) -> ssh_known.Finder:
        """What finds the doors of ssh that rules may take."""
        labels = {unit: files.label for unit, files in rules.units.items()}
        key = (root, tuple(sorted(labels.items())))
        if key not in self.finders:
            self.finders[key] = ssh_known.finder(
                labels,
                root,
                self.last.directory,
                at_boot=self.current is None,
                expected=self.expects_ssh,
            )
        return self.finders[key]

    @property
    def left_out(self) -> list[LeftOut]:
        return self.header.left_out if self.header else []


@dataclass(frozen=True)
class _Prepared:
    """Rules that are compiled, and the generation to swap in: None if they are in force already."""

    before: _Before
    rules: RuleSet
    content: "Content"
    header: generation_record.Header
    change: Change
    new: generations.Generation | None

    def discard(self) -> None:
        if self.new is not None:
            remove_directory(self.new.path)


def _prepare(writer: Writer, rules: RuleSet, before: _Before, *, upgrade: bool) -> _Prepared:
    context = writer.context
    content = _content(rules, before)
    root = root_guard.root_of(context.root)
    tables, header = compiled(writer, content, previous=before.number, root=root)
    if before.header is not None and not upgrade and _same(before.header, header):
        change = Change(
            generation=before.number,
            swapped=False,
            count=header.count,
            pending=content.pending,
            notices=rules.notices,
            left_out=header.left_out,
        )
        return _Prepared(before, rules, content, header, change, None)
    context.step("comparing with the rules in force")
    following = next_number(writer.registry)
    change = _change(rules, content, before, following, swapped=True)
    change = replace(change, moves=moves_between(before.header, header))
    record = generation_record.encode(header, content.packed.records)
    new = new_generation(writer, following, tables, record, header.flows)
    return _Prepared(before, rules, content, header, change, new)


def _without_label(rules: RuleSet) -> set[str]:
    """The units whose label belongs to another one. Their companions find none, and say whose."""
    sound = [unit for unit in rules.units if unit not in rules.wrong]
    return {unit for unit, _ in same_labels(rules.units, sound)}


def _new_labels(maps: Maps, rules: RuleSet) -> dict[str, tuple[str, bool]]:
    """The units that newly count, or count under another label: it, and if they say a weight."""
    before, losers = read_units(maps), _without_label(rules)
    return {
        unit: (files.label, files.weight_said)
        for unit, files in rules.units.items()
        if unit not in losers and (unit not in before or before[unit].label != files.label)
    }


def _entered(
    writer: Writer, rules: RuleSet, intent: "_Intent", prepare: Callable[[RuleSet], _Prepared]
) -> tuple[_Prepared, relabel.Labels]:
    """What is ready to be swapped in, with the sockets of its units under their labels: entered().

    Somebody may have registered under one of these labels meanwhile, so they must still be free
    when the sockets get them. If the command is refused, nothing is left behind.
    """
    while True:
        if intent.before.current:
            made = prepare(rules)
        else:
            made = beside.fitting(rules, prepare, _Prepared.discard)
        try:
            with Lock(writer.registry):
                rules = _with_free_labels(made.rules, intent, writer.maps)
                if rules is made.rules:
                    return made, entered(writer.maps, _labels(rules))
        except BaseException:
            made.discard()
            raise
        made.discard()


def entered(maps: Maps, after: Mapping[str, str]) -> relabel.Labels:
    """Put the sockets of units under their labels of ``after``, too; see leaving().

    Callers hold the lock of the registry's directory since they know that these labels are free.
    """
    moves = {
        unit: (state.label, after[unit])
        for unit, state in read_units(maps).items()
        if unit in after and state.label != after[unit]
    }
    if moves:
        try:
            relabel.enter_new(maps, moves)
        except BaseException:
            relabel.leave_old(maps, _back(moves))
            raise
    return moves


@contextlib.contextmanager
def leaving(writer: Writer, moves: relabel.Labels, rest: Rest) -> Iterator[None]:
    """Take sockets from their previous labels when rules come into force in this block.

    ``moves`` is from entered(). If the rules do not come into force, this undoes it.
    """
    if not moves:
        yield
        return
    try:
        yield
    except BaseException:
        with Lock(writer.registry):
            relabel.leave_old(writer.maps, _back(moves))
        raise
    with rest.of("previous labels of sockets"), Lock(writer.registry):
        relabel.leave_old(writer.maps, moves)
        for unit, (_, label) in moves.items():
            state = unit_state(writer.maps, unit)
            if state is not None:
                state.label = label
                write_unit(writer.maps, unit, state)


def _back(moves: relabel.Labels) -> relabel.Labels:
    return {unit: (new, old) for unit, (old, new) in moves.items()}


def _labels(rules: RuleSet) -> dict[str, str]:
    """The labels of the units that have one."""
    losers = _without_label(rules)
    return {unit: files.label for unit, files in rules.units.items() if unit not in losers}


@dataclass(frozen=True)
class Content:
    """What a generation is made of. ``index_of`` has the index of each interface, 0 for none.

    ``parts`` and what follows are those of generation_record.Header.
    """

    bindings: list[Binding]
    counters: bool
    packed: generation_record.Packed
    index_of: Mapping[str, int]
    parts: list[generation_record.PartRecord]
    left_out: list[LeftOut]
    state: str | None
    flows: int
    ends: Ends
    drains: list[str]

    @property
    def pending(self) -> list[Binding]:
        """The rules for interfaces that are not there."""
        absent = {name for name, index in self.index_of.items() if index == 0}
        return [b for b in self.bindings if b.interface in absent] if absent else []


def _content(rules: RuleSet, before: _Before) -> Content:
    packed = generation_record.pack(rules.bindings)
    return Content(
        rules.bindings,
        rules.options.counters,
        packed,
        _interfaces(rules, packed),
        earlier.part_records(rules.selection),
        beside.recorded(rules, before.left_out, nothing_in_force=before.current is None),
        before.last.directory,
        max((files.flows for files in rules.units.values()), default=0),
        rules.ends,
        sorted(unit for unit, files in rules.units.items() if files.drain),
    )


def compiled(
    writer: Writer,
    content: Content,
    *,
    previous: int | None,
    root: generation_record.Root | None,
) -> tuple[Tables, generation_record.Header]:
    """The tables of a generation and its header. Destinations that are new get slots."""

    def slots_of(keys: Collection[Key]) -> Mapping[Key, int]:
        with Lock(writer.registry):
            slots = add_destinations(writer.maps, sorted(keys))
            relabel.fill_listeners(writer.maps, keys)
            return slots

    source = loading.check_object(writer.context.object_path)
    tables, pointing = _compile(writer.context, content, slots_of)
    return tables, _describe(content, tables, pointing, source=source, previous=previous, root=root)


def next_number(registry: str) -> int:
    """The number of a new generation."""
    return 1 + max(generations.numbers(registry), default=0)


def new_generation(
    writer: Writer, number: int, tables: Tables, record: bytes, noted: int
) -> generations.Generation:
    """Load and pin a generation. It is not in force yet. ``noted`` is the flows of its header."""
    context = writer.context
    if noted:
        with Lock(writer.registry):
            flows.provide(writer.maps, noted)
    context.step(f"loading a table of {len(tables.table_bytes())} bytes")
    return generations.build(
        context.registry,
        number,
        object_path=context.object_path,
        tables=tables,
        rules=record,
    )


@dataclass(frozen=True)
class _Intent:
    """What a command is about; ``changes`` and ``files`` are as in put_in_force()."""

    before: _Before
    changes: Collection[str] | None = None
    files: Collection[str] = ()

    def is_refused(self, rules: RuleSet, part: str) -> bool:
        """Whether the command is refused because this part is wrong."""
        return self.before.current is not None and beside.is_refused(
            rules, part, self.before.left_out, self.changes, self.files
        )

    def sound(self, rules: RuleSet) -> RuleSet:
        """The rules, without parts that are wrong. Raises ConfigError if the command is refused."""
        beside.refuse([part for part in rules.wrong if self.is_refused(rules, part)], rules)
        return rules


def _with_free_labels(rules: RuleSet, intent: _Intent, maps: Maps) -> RuleSet:
    """The rules without units whose label others have a socket under.

    Raises RefusedError if the command is refused. Callers hold the lock of the registry's
    directory if they change anything.
    """
    leaving = frozenset(
        unit
        for unit, state in read_units(maps).items()
        if unit in rules.units and state.label != rules.units[unit].label
    )
    weighted = frozenset(unit for unit, files in rules.units.items() if files.weight_said)
    for unit, label in _new_labels(maps, rules).items():
        try:
            relabel.refuse_taken(maps, {unit: label}, leaving, weighted)
        except RefusedError as error:
            less = rules.without([rules.label_fault(unit, error.message)])
            if intent.is_refused(less, unit):
                raise
            rules = intent.sound(less)
    return rules


def _with_ssh(
    rules: RuleSet, intent: _Intent, maps: Maps | None, *, root: str, force: bool
) -> RuleSet:
    """The rules without parts that newly take the ssh port; see guards/ssh.py.

    Raises RefusedError if the command is refused.
    """
    before = intent.before
    find = before.ssh_finder(rules, root)
    while not rules.options.take_ssh:
        new = _new_labels(maps, rules) if maps is not None else {}
        moves = {unit: label for unit, (label, _) in new.items()}
        try:
            notices = ssh.guard(
                before.last.bindings, rules.bindings, maps, find, force=force, moves=moves
            )
        except ssh.TakenError as error:
            faults = [
                rules.fault(
                    loss.binding,
                    f"{ssh.sentence(loss)}; {ssh.keeping_open(loss)}",
                )
                for loss in error.taken
            ]
            less = rules.without(faults)
            in_force = {binding[:-1] for binding in before.last.bindings()}
            for loss, fault in zip(error.taken, faults, strict=True):
                # A rule that was in force and took nothing takes it by what the command changes,
                # whichever part that is.
                if before.current is not None and (
                    loss.binding[:-1] in in_force or intent.is_refused(less, fault.part)
                ):
                    raise
            rules = intent.sound(less)
        else:
            if before.current is None and before.expects_ssh:
                notices += [Notice(None, text) for text in expected(root).notices]
            rules.notices.extend(notice for notice in notices if notice not in rules.notices)
            break
    return rules


def _same(one: generation_record.Header, other: generation_record.Header) -> bool:
    """Whether ``other`` would put the same in force, from the same root as ``one``."""
    if one.root is None or other.root is None:
        return False
    return one.fingerprint == other.fingerprint and root_guard.same(one.root, other.root)


def _swap(
    writer: Writer,
    current: generations.Generation | None,
    new: generations.Generation,
    files: Overlay,
    rest: Rest,
) -> None:
    """Write the files and put ``new`` in force, or leave both unchanged."""
    undo: Overlay = {}
    try:
        undo = write_files(files)
        if current is None:
            failed = attachment.attach(writer.registry, new, writer.context.netns)
        else:
            failed = attachment.swap(writer.registry, current, new)
    except BaseException:
        try:
            write_files(undo)
        finally:
            remove_directory(new.path)
        raise
    rest.add("counters, and what readers know", failed)


def _describe(
    content: Content,
    tables: Tables,
    pointing: Mapping[Key, int],
    *,
    source: str,
    previous: int | None,
    root: generation_record.Root | None,
) -> generation_record.Header:
    """What the generation stores about its rules besides the bindings."""
    packed = content.packed
    indices = [content.index_of[name] for name in packed.interfaces]
    digest = hashlib.sha256()
    for part in (source.encode(), tables.config, tables.table_bytes(), packed.records):
        digest.update(part)
    ends = generation_record.end_records(content.ends)
    origin = (content.parts, content.left_out, content.state, content.flows, ends, content.drains)
    digest.update(repr((*packed[1:], indices, *origin)).encode())
    return generation_record.Header(
        version=__version__,
        created=time.time_ns(),
        fingerprint=digest.hexdigest(),
        source=source,
        count=len(content.bindings),
        table_bytes=len(tables.table_bytes()),
        counters=content.counters,
        previous=previous,
        destinations=[(*key, count) for key, count in sorted(pointing.items())],
        labels=packed.labels,
        paths=packed.paths,
        interfaces=packed.interfaces,
        root=root,
        indices=indices,
        rules_for=generation_record.rules_for(packed),
        parts=content.parts,
        left_out=content.left_out,
        state=content.state,
        flows=content.flows,
        ends=ends,
        drains=content.drains,
    )


def _write_units(maps: Maps, rules: RuleSet, active: Collection[str]) -> None:
    """Store in the registry which units count now, and the state of their files.

    If the weight in a unit's files has changed, its sockets get the new weight. A weight set by
    command lasts until then, or until the unit registers again.
    """
    before = read_units(maps)
    for unit in before.keys() - rules.units.keys():
        drop_unit(maps, unit)
    weights: dict[str, tuple[int | None, bool, bool, bool]] = {}
    losers = _without_label(rules)
    for unit, files in rules.units.items():
        state = state_of(files, active=unit in active)
        if unit in losers:
            state.label = ""
        write_unit(maps, unit, state)
        known = before.get(unit)
        said = (files.weight_said, files.exact, bool(files.flows))
        if known is None or known.weight != files.weight:
            weights[unit] = (files.weight, *said)
        elif (known.weight_said, known.exact, known.sticky) != said:
            weights[unit] = (None, *said)
    pools.weigh_units(maps, weights)


def state_of(files: UnitFiles, *, active: bool) -> UnitState:
    """What the registry stores about a unit that counts."""
    return UnitState(
        active,
        files.state,
        label=files.label,
        weight=files.weight,
        weight_said=files.weight_said,
        exact=files.exact,
        sticky=bool(files.flows),
    )


def _count_from_next_load(writer: Writer, start: str | None, stop: str | None) -> None:
    """Note that a unit has started or stopped. Its rules are read at the next load."""
    with Lock(writer.registry):
        for unit, active in ((stop, False), (start, True)):
            if unit is None:
                continue
            state = unit_state(writer.maps, unit)
            if state is None and active:
                state = state_of_files(writer.maps, unit, writer.context.root)
            if state is not None:
                state.active = active
                write_unit(writer.maps, unit, state)


def _pointing(bindings: Sequence[Binding], in_force: Sequence[Binding]) -> dict[Key, int]:
    """The number of rules in force that point to each destination of all rules."""
    pointing = dict.fromkeys(_destinations(bindings), 0) if in_force is not bindings else {}
    return pointing | Counter(_destinations(in_force))


def _destinations(bindings: Sequence[Binding]) -> Iterator[Key]:
    return (
        (b.label, b.family, b.protocol, b.listener) for b in bindings if b.action is Action.BIND
    )


def _slots_to_be(maps: Maps, destinations: Collection[Key]) -> dict[Key, int]:
    """For a check that changes nothing: the slots there are, and unused ones for the rest."""
    slots = read_destinations(maps)
    taken = set(slots.values())
    unused = (slot for slot in itertools.count(FIRST_SLOT) if slot not in taken)
    for destination in sorted(destinations):
        if destination not in slots:
            slots[destination] = next(unused)
    return slots


def _read(
    context: Context, active: Collection[str], files: Overlay, before: _Before, maps: Maps
) -> RuleSet:
    """Read the rules. Parts that are wrong are left out, or have their earlier form."""
    context.step("reading rules")
    first, live = read_units(maps), relabel.listening(maps)
    return read_sound(context.root, active, files, before.last, first=first, live=live)


def _compile(
    context: Context,
    content: Content,
    slots_of: Callable[[Collection[Key]], Mapping[Key, int]],
) -> tuple[Tables, Mapping[Key, int]]:
    """The tables, and the number of rules in force that point to each destination."""
    in_force, _ = without_absent(content.bindings, content.index_of)
    pointing = _pointing(content.bindings, in_force)
    slots = slots_of(pointing)
    context.step(f"compiling {len(in_force)} rules")
    tables = compile_rules(
        in_force,
        {Destination(*key): slot for key, slot in slots.items()},
        counters=content.counters,
        interfaces=content.index_of,
        flows=content.flows > 0,
    )
    return tables, pointing


def _interfaces(rules: RuleSet, packed: generation_record.Packed) -> dict[str, int]:
    """The index of each interface that rules name, 0 for none.

    Rules that are left out because they name one interface by two names become notices, and those
    that never match because packets arrive from another interface. Raises
    ConfigError on kernels that do not tell the program the interface.
    """
    if packed.interfaces and release.is_before(5, 17):
        # The verifier would only report "invalid bpf_context access".
        binding = next(b for b in rules.bindings if b.interface is not None)
        raise ConfigError(
            f"{binding.place}: {format_rule(binding)}: rules for an interface need Linux 5.17",
            "steer by prefix or by source prefix instead",
        )
    index_of = links.indices_of(packed.interfaces)
    inner = links.above(packed.interfaces)
    rules.notices.extend(
        Notice(
            binding.place,
            f"{format_line(binding)} never matches: {inner[binding.interface].sentence}; write "
            f"dev {inner[binding.interface].name}",
        )
        for binding in (rules.bindings if inner else ())
        if binding.interface in inner
    )
    _, ties = without_absent(rules.bindings, index_of)
    rules.notices.extend(
        Notice(
            later.place,
            f"{format_line(later)} is left out: it ties with a rule of {earlier.place}, because "
            "both name the same interface, one of them by an alternative name",
        )
        for earlier, later in ties
    )
    return index_of


def _change(
    rules: RuleSet,
    content: Content,
    before: _Before,
    number: int | None,
    *,
    swapped: bool,
) -> Change:
    replaced = (
        generation_record.decode(generations.read_rules(before.current))
        if before.current
        else generation_record.NOTHING
    )
    added, removed = generation_record.difference(replaced, content.packed)
    gone = generation_record.unpack(replaced, removed)
    ends, now = before.header.end_of if before.header else {}, time.time()
    return Change(
        generation=number,
        swapped=swapped,
        count=len(rules.bindings),
        added=[rules.bindings[at] for at in added],
        removed=gone,
        ended=[(rule, ends[rule.place]) for rule in gone if has_ended(rule, ends, now)],
        pending=content.pending,
        notices=rules.notices,
        left_out=rules.left_out,
        newly_left_out=beside.news(rules.left_out, before.left_out),
    )

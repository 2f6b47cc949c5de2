"""Putting the previous generation back in force."""

import time
from collections.abc import Collection, Mapping
from dataclasses import replace

from sockreg import interrupts
from sockreg.commands import beside, earlier, ssh_known, tell, trial_files
from sockreg.commands.apply import Writer, entered, leaving, writing
from sockreg.commands.change import Change
from sockreg.commands.interfaces import changed_indices, renew
from sockreg.commands.kept_parts import parts_kept, with_parts
from sockreg.commands.rest import Rest
from sockreg.commands.wake import set_timers
from sockreg.commands.watch import watch
from sockreg.config.conf import options_of
from sockreg.context import Context
from sockreg.errors import NotLoadedError, SockregError
from sockreg.guards import ssh
from sockreg.host import links
from sockreg.registry import (
    attachment,
    generation_record,
    generations,
    registration,
    relabel,
    trial,
)
from sockreg.registry.destinations import Key
from sockreg.registry.directory import not_in_force
from sockreg.registry.locks import Lock
from sockreg.registry.members import Member
from sockreg.registry.units import read_units
from sockreg.rules.ending import has_ended


def rollback(context: Context, *, force: bool = False) -> Change:
    """Swap back to the generation that was replaced last.

    During a trial, this is the generation that was confirmed last, and files that came with the
    trial go back. Other files stay as they are: the next apply puts them in force again. Raises
    NotLoadedError if there is no previous generation, and RefusedError if its rules newly take the
    ssh port, or give units a label back that belongs to others now, unless ``force`` is given.
    """
    with writing(context) as writer:
        trial.drop_dead(writer.registry)
        current = generations.in_force(writer.registry)
        waiting = trial.read(writer.registry)
        if current is None:
            raise not_in_force(writer.registry)
        number = waiting[0].base if waiting else generations.read_header(current).previous
        started = writer.active_units() if waiting else ()
        rest = Rest()
        with interrupts.dropped():
            change = swap_back(
                writer, current, number, force=force, take_labels=force, started=started
            )
            with rest.of("the end of the trial"):
                if waiting:
                    trial_files.put_back(context)
                trial.write(writer.registry, [])
        change = replace(change, unfinished=[*change.unfinished, *rest.failures])
    tell.applied(change)
    return change


def swap_back(
    writer: Writer,
    current: generations.Generation,
    number: int | None,
    *,
    force: bool = False,
    take_labels: bool,
    started: Collection[str] = (),
) -> Change:
    """Put generation ``number`` in force. Raises NotLoadedError if it is gone.

    Of units in ``started``, it keeps the rules that are in force now if that generation has none:
    they were started since, which a trial is not about.

    Raises RefusedError as rollback() does. ``take_labels`` takes out the sockets of others that
    have got a label meanwhile.

    If interfaces that its rules name have come, gone or changed since, a new generation with these
    rules comes into force instead: the old one would take packets of strangers. So it is if some of
    its rules have ended since: it has the others.
    """
    for before in generations.generations(writer.registry):
        if before.number == number:
            break
    else:
        raise _nothing_before()
    context = writer.context
    context.step("comparing with the rules in force")
    old = generation_record.decode(generations.read_rules(current))
    new = generation_record.decode(generations.read_rules(before))
    replaced, header = generations.read_header(current), generations.read_header(before)
    kept = parts_kept(old, replaced, header, started)
    everything = generation_record.unpack(new)
    lasting = generation_record.lasting(everything, header.parts, header.end_of, time.time())
    bindings, parts = with_parts(lasting.bindings, lasting.parts, kept)
    if is_other := bool(kept or lasting.ended):
        new = generation_record.pack(bindings)
    labels = {part.name: part.label for part in parts if part.label}
    root = context.given_root
    find_doors = ssh_known.finder(
        labels,
        root,
        earlier.directory_of(context, replaced),
        at_boot=False,
        expected=context.may_have_services,
    )
    notices = ssh.guard(
        lambda: generation_record.unpack(old), bindings, writer.maps, find_doors, force=force
    )
    added, removed = generation_record.difference(old, new)
    indices = changed_indices(before)
    if is_other:
        indices = links.indices_of(new.interfaces)
    moves = _entered(writer, parts, labels, take=take_labels)
    rest = Rest()
    with interrupts.dropped():
        if indices is not None:
            with leaving(writer, moves, rest):
                change = renew(writer, current, before, indices, more=kept)
        else:
            context.step(f"swapping generation {before.number} in")
            with leaving(writer, moves, rest):
                failed = attachment.swap(writer.registry, current, before)
                rest.add("counters, and what readers know", failed)
            _, pending = generation_record.divide(bindings, header.absent)
            change = Change(
                generation=before.number, swapped=True, count=header.count, pending=pending
            )
        now = generations.in_force(writer.registry)
        if is_other and now is not None:
            header = generations.read_header(now)
        with rest.of("labels that carry ssh"), Lock(writer.registry):
            options = options_of(part.options for part in parts)
            ssh_known.mark(writer.maps, bindings, labels, find_doors, take_ssh=options.take_ssh)
        with rest.of("following interfaces"):
            watch(context, replaced, header)
        with rest.of("timers"):
            set_timers(context, replaced, header)
        with rest.of("what is kept for the next boot"):
            earlier.keep(replace(header, state=replaced.state), new.records)
    gone, ends = generation_record.unpack(old, removed), replaced.end_of
    return replace(
        change,
        added=generation_record.unpack(new, added),
        removed=gone,
        ended=[(rule, ends[rule.place]) for rule in gone if has_ended(rule, ends, time.time())],
        notices=notices,
        left_out=header.left_out,
        newly_left_out=beside.news(header.left_out, replaced.left_out),
        unfinished=[*change.unfinished, *rest.failures],
    )


def _entered(
    writer: Writer,
    parts: list[generation_record.PartRecord],
    labels: Mapping[str, str],
    *,
    take: bool,
) -> relabel.Labels:
    """entered() of ``labels``.

    Raises RefusedError if units get a label back that others have a socket under now. With
    ``take``, these sockets are taken out instead.
    """
    maps = writer.maps
    taken: list[tuple[Key, Member]] = []
    with Lock(writer.registry):
        counted = read_units(maps)
        back = {
            part.name: (part.label, part.weight_said)
            for part in parts
            if part.label and part.name in counted and counted[part.name].label != part.label
        }
        gone = frozenset(back)
        if take:
            taken = relabel.take_from_others(maps, back, gone)
        else:
            relabel.refuse_taken(maps, back, gone)
        moves = entered(maps, labels)
    for key, member in taken:
        registration.tell_removed(key, member)
    return moves


def _nothing_before() -> SockregError:
    return NotLoadedError(
        "there is no previous generation",
        "'sockreg apply' puts the configured rules in force",
    )

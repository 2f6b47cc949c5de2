"""Rules that end by themselves are taken out of force when their time has come.

The rules that stay are those of the generation in force: no file is read, so what somebody has
begun to edit does not come into force at night. Lines that have ended are skipped wherever files
are read, and the next bind or unbind removes them from its file.
"""

from __future__ import annotations

import time
from dataclasses import replace

from sockreg import interrupts
from sockreg.commands import earlier, ssh_known, tell
from sockreg.commands.apply import Writer, writing
from sockreg.commands.change import Change
from sockreg.commands.interfaces import renew
from sockreg.commands.rest import Rest
from sockreg.commands.wake import wake_at_end
from sockreg.commands.watch import watch
from sockreg.config.conf import options_of
from sockreg.context import Context
from sockreg.errors import RefusedError
from sockreg.guards import ssh
from sockreg.host import links
from sockreg.registry import generation_record, generations
from sockreg.registry.locks import Lock
from sockreg.systemd import journal

_POLL = 2.0  # s between two looks at the wall clock, which somebody may set


def end_rules(context: Context, when: int) -> Change | None:
    """Wait until the wall clock shows ``when``, and take the rules that have ended out of force.

    Returns None if there are none, or if nothing is in force: the next load skips them. If other
    rules would then take the port of ssh, the rules stay, and the journal says so. Raises
    SockregError if the registry cannot be changed.
    """
    while (left := when - time.time()) > 0:
        if not _ends_at(context, when):
            return None
        time.sleep(min(_POLL, left))
    if not context.is_loaded:
        return None
    with writing(context) as writer:
        current = generations.in_force(writer.registry)
        if current is None:
            return None
        header = generations.read_header(current)
        change = None
        if any(end <= time.time() for end in header.end_of.values()):
            change = _without_ended(writer, current, header)
        else:
            wake_at_end(context, header)
    if change is not None:
        tell.applied(change)
    return change


def _ends_at(context: Context, when: int) -> bool:
    """Whether a rule in force ends then: it may have been removed, and all others, too."""
    if not context.is_loaded:
        return False
    current = generations.in_force(context.registry)
    return current is not None and when in generations.read_header(current).end_of.values()


def _without_ended(
    writer: Writer, current: generations.Generation, header: generation_record.Header
) -> Change | None:
    context = writer.context
    packed = generation_record.decode(generations.read_rules(current))
    rules = generation_record.unpack(packed)
    lasting = generation_record.lasting(rules, header.parts, header.end_of, time.time())
    labels = {part.name: part.label for part in lasting.parts if part.label}
    find_doors = ssh_known.finder(
        labels,
        context.given_root,
        earlier.directory_of(context, header),
        at_boot=False,
        expected=context.may_have_services,
    )
    take_ssh = options_of(part.options for part in lasting.parts).take_ssh
    try:
        ssh.guard(lambda: rules, lasting.bindings, writer.maps, find_doors, force=take_ssh)
    except RefusedError as error:
        later = [end for end in header.ends if end[2] > time.time()]
        wake_at_end(context, replace(header, ends=later))
        journal.say(
            [f"rules that have ended stay in force: {error.lines[0]}", *error.lines[1:]],
            journal.APPLY_REFUSED,
            journal.ERR,
        )
        return None
    rest = Rest()
    # From the swap on, the command comes to its end.
    with interrupts.dropped():
        names = generation_record.pack(lasting.bindings).interfaces
        change = renew(writer, current, current, links.indices_of(names))
        after = generations.in_force(writer.registry)
        if after is not None:
            record = generations.read_rules(after)
            now = generation_record.decode_header(record)
            with rest.of("labels that carry ssh"), Lock(writer.registry):
                ssh_known.mark(writer.maps, lasting.bindings, labels, find_doors, take_ssh=take_ssh)
            with rest.of("following interfaces"):
                watch(context, header, now)
            with rest.of("the timer for rules that end"):
                wake_at_end(context, now)
            with rest.of("what is kept for the next boot"):
                earlier.keep(now, generation_record.decode(record).records)
    return replace(change, unfinished=[*change.unfinished, *rest.failures])

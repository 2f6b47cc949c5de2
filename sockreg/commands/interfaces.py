"""Rules follow the interfaces that they name, as these come and go.

The rules stay those of the generation in force: no file is read, so nothing else changes, and files
with mistakes do no harm.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from sockreg.commands.watch import unwatch
from sockreg.config.report import Notice
from sockreg.context import Context
from sockreg.errors import AccessError, SockregError
from sockreg.host import links
from sockreg.registry import generations
from sockreg.registry.directory import not_in_force
from sockreg.systemd import listen_fds

if TYPE_CHECKING:  # imports numpy, which takes most of the time when nothing has changed
    from sockreg.commands.apply import Writer
    from sockreg.commands.change import Change
    from sockreg.commands.kept_parts import Kept

_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5  # linux/socket.h, linux/netlink.h
_PAUSE = 0.2  # s between two looks
_REST = 4  # pauses per look, in its time: a flood of changes gets a fifth of one processor
_ENOUGH = 30.0  # s, before another process continues


def refresh(context: Context) -> Change | None:
    """Put the rules in force for the interfaces there are now. None if all are as before.

    If the new generation is refused, that is if its table does not fit, the rules for interfaces
    that have changed are pending until these change again: the earlier indices may be a stranger's
    by now. Raises SockregError if the registry cannot be read, or that is refused, too.
    """
    registry = context.loaded_registry()
    current = generations.in_force(registry)
    if current is None:
        raise not_in_force(registry)
    if changed_indices(current) is None and not generations.has_leftovers(registry):
        return None
    from sockreg.commands import tell
    from sockreg.commands.apply import writing

    with writing(context) as writer:
        current = generations.in_force(registry)
        indices = changed_indices(current) if current else None
        if current is None or indices is None:
            return None
        change = _renew(writer, current, indices)
    tell.applied(change)
    return change


def unchanged(context: Context) -> Change:
    """What refresh() leaves as it is."""
    from sockreg.commands.change import Change
    from sockreg.registry import generation_record

    registry = context.loaded_registry()
    current = generations.in_force(registry)
    if current is None:
        raise not_in_force(registry)
    _, pending = generation_record.decode_parts(generations.read_rules(current))
    count = generations.read_header(current).count
    return Change(generation=current.number, swapped=False, count=count, pending=pending)


def is_followed(context: Context) -> bool:
    """Follow the interfaces if systemd has started this process for that; see follow()."""
    if not os.environ.get("LISTEN_FDS"):
        return False
    for fd, _ in listen_fds.received():
        passed = socket.socket(fileno=fd)
        if passed.family == socket.AF_NETLINK:
            with passed:
                follow(context, passed)
            return True
        passed.detach()
    return False


def follow(context: Context, news: socket.socket) -> None:
    """Refresh for every change that the kernel reports on a netlink socket, until it is quiet.

    The socket is emptied before each look, so that later changes arrive for the next look, or for
    the next process: systemd starts one if anything is left. Has systemd close the socket if no
    rule names an interface. Raises SockregError like refresh().
    """
    news.setblocking(False)
    # systemd fails a socket that has an error, as it would after an overflow. Without this error, a
    # full buffer is readable all the same.
    news.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
    end = time.monotonic() + _ENOUGH
    while True:
        drain(news)
        started = time.monotonic()
        if not _has_such_rules(context):
            unwatch()
            return
        refresh(context)
        took = time.monotonic() - started
        time.sleep(max(_PAUSE, _REST * took))
        if time.monotonic() > end or not _has_news(news):
            return


def drain(news: socket.socket) -> None:
    """Read everything that the kernel has reported. What it says does not matter, nor how much was
    lost because there was no room (ENOBUFS): something has happened.
    """
    while True:
        try:
            news.recv(1)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def _has_news(news: socket.socket) -> bool:
    try:
        news.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
    return True


def _has_such_rules(context: Context) -> bool:
    if not context.is_loaded:
        return False
    current = generations.in_force(context.registry)
    return current is not None and bool(generations.read_header(current).interfaces)


def changed_indices(generation: generations.Generation) -> dict[str, int] | None:
    """The indices of the interfaces that its rules name; None if it was made for these."""
    header = generations.read_header(generation)
    now = links.indices_of(header.index_of)
    return now if now != header.index_of | header.refused else None


def _renew(writer: Writer, current: generations.Generation, indices: Mapping[str, int]) -> Change:
    """renew() the generation in force, without the rules for changed interfaces if need be."""
    try:
        return renew(writer, current, current, indices)
    except AccessError:
        raise
    except SockregError as error:
        known = generations.read_header(current).index_of
        refused = {name: now for name, now in indices.items() if now and now != known[name]}
        if not refused:
            raise
        change = renew(writer, current, current, indices, refused=refused)
        names = ", ".join(refused)
        text = f"the rules for {names} are pending, although it is there: {error.message}"
        if len(refused) > 1:
            text = text.replace("it is there", "they are there")
        return replace(change, notices=[*change.notices, Notice(None, text)])


def renew(
    writer: Writer,
    current: generations.Generation,
    of: generations.Generation,
    indices: Mapping[str, int],
    *,
    refused: Mapping[str, int] = MappingProxyType({}),
    more: Kept = (),
) -> Change:
    """Swap in a new generation with the rules of generation ``of``, for interfaces with these
    indices. The rules for those in ``refused`` are pending. It has the parts in ``more``, too.
    Rules that have ended are not in it.
    """
    from sockreg import garbage, interrupts
    from sockreg.commands.apply import Content, compiled, new_generation, next_number
    from sockreg.commands.change import Change, moves_between
    from sockreg.commands.kept_parts import with_parts
    from sockreg.commands.rest import Rest
    from sockreg.registry import attachment, generation_record, pins
    from sockreg.registry.sweep import sweep
    from sockreg.rules.ending import ends_of

    content = generations.read_rules(of)
    before = generation_record.decode_header(content)
    packed = generation_record.decode(content)
    in_force = generations.read_header(current)
    ends = before.end_of
    with garbage.paused():
        all_rules = generation_record.unpack(packed)
        lasting = generation_record.lasting(all_rules, before.parts, ends, time.time())
        bindings, parts = with_parts(lasting.bindings, lasting.parts, more)
    if more or lasting.ended:
        packed = generation_record.pack(bindings)
        ends = ends_of(lasting.bindings, ends)
        for _, of_part in more:
            ends |= ends_of(of_part, in_force.end_of)
    made = Content(
        bindings,
        before.counters,
        packed,
        {name: 0 if name in refused else index for name, index in indices.items()},
        parts,
        before.left_out,
        before.state,
        before.flows,
        ends,
        before.drains,
    )
    tables, header = compiled(writer, made, previous=before.previous, root=before.root)
    header = replace(
        before,  # what it says about files is still true
        version=header.version,
        created=header.created,
        fingerprint=header.fingerprint,
        source=header.source,
        table_bytes=header.table_bytes,
        destinations=header.destinations,
        indices=header.indices,
        rules_for=header.rules_for,
        count=header.count,
        labels=header.labels,
        paths=header.paths,
        interfaces=header.interfaces,
        parts=header.parts,
        refused=dict(refused),
        ends=header.ends,
    )
    rest = Rest()
    number = next_number(writer.registry)
    record = generation_record.encode(header, packed.records)
    new = new_generation(writer, number, tables, record, header.flows)
    writer.context.step(f"swapping generation {number} in")
    with interrupts.dropped():
        try:
            failed = attachment.swap(writer.registry, current, new)
        except BaseException:
            pins.remove_directory(new.path)
            raise
        rest.add("counters, and what readers know", failed)
        if of.number == current.number:
            with rest.of("generations and slots that are not needed any more"):
                sweep(writer.registry, writer.maps, [number, header.previous])
    return Change(
        generation=number,
        swapped=True,
        count=header.count,
        pending=made.pending,
        removed=lasting.ended if of.number == current.number else [],
        ended=[(rule, before.end_of[rule.place]) for rule in lasting.ended],
        moves=[m for m in moves_between(in_force, header) if m.interface not in refused],
        unfinished=rest.failures,
    )

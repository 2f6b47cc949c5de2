"""Generations: compiled rule sets, each with its own program instance.

The pinned link, not any name, says what is in force. A crash at any point of a swap leaves the old
generation or the new one running, and the next command finds out which. These generations are
kept: the one in force, the previous one, and the one that an unconfirmed trial returns to.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sockreg.errors import AccessError
from sockreg.host import bpf_access
from sockreg.kernel import bpf, libbpf, testrun
from sockreg.kernel.libbpf import ProgramInfo as ProgramInfo
from sockreg.kernel.testrun import Question as Question
from sockreg.kernel.testrun import Verdict as Verdict
from sockreg.registry import counter_growth, generation_record, loading, pins, published
from sockreg.registry.directory import (
    COPY,
    COUNTERS,
    FLOWS,
    GENERATIONS,
    LINK,
    MAPS,
    OWNERS,
    PROGRAM,
    RULES,
    TABLE,
    TRACING,
    UNFINISHED,
    damaged,
)
from sockreg.registry.locks import DirectoryLock
from sockreg.registry.maps import refuse_other_layout
from sockreg.registry.pins import closing, make_directory, pin, pinned, remove_directory

if TYPE_CHECKING:  # imports numpy, which most commands do not need
    from sockreg.compile import Tables

Result = TypeVar("Result")

_RULES_CHUNK = 4096  # bytes of one element of the rules map: small enough for any kernel


@dataclass(frozen=True)
class Generation:
    """``program_id`` is the kernel's id of its program; None without permission to open it."""

    number: int
    path: Path
    program_id: int | None


def generations(registry: str) -> list[Generation]:
    """All complete generations, oldest first."""
    found = []
    for path in Path(registry, GENERATIONS).iterdir():
        if not path.name.isdecimal():
            continue
        # A generation that is being removed concurrently is no longer complete.
        with contextlib.suppress(FileNotFoundError), pinned(path / PROGRAM) as fd:
            found.append(Generation(int(path.name), path, libbpf.program_info(fd).id))
    return sorted(found, key=lambda generation: generation.number)


def numbers(registry: str) -> list[int]:
    """The numbers of all generations, also of those that lack something."""
    names = (path.name for path in Path(registry, GENERATIONS).iterdir())
    return [int(name) for name in names if name.isdecimal()]


def program_of(generation: Generation) -> ProgramInfo | None:
    """What the kernel reports about its program; None without permission."""
    if generation.program_id is None:
        return None
    with pinned(generation.path / PROGRAM) as fd:
        return libbpf.program_info(fd)


def ask(generation: Generation, question: Question) -> Verdict:
    """The verdict of its program on a packet; see kernel/testrun.py. AccessError without root."""
    with pinned(generation.path / PROGRAM) as fd:
        return testrun.ask(fd, question)


def link_of(registry: str) -> libbpf.LinkInfo | None:
    """The pinned link, or None if there is none (an interrupted load or unload)."""
    try:
        # The kernel opens links and programs only for reading and writing (bpf_obj_get_user()).
        with pinned(f"{registry}/{LINK}") as fd:
            return libbpf.link_info(fd)
    except FileNotFoundError:
        return None


def in_force(registry: str) -> Generation | None:
    """The generation that the link runs, or None if the link is missing or detached."""
    link = link_of(registry)
    while link is not None and link.netns_inode != 0:
        there = generations(registry)
        for generation in there:
            if generation.program_id == link.program_id:
                return generation
        for generation in there:
            if _tracing_id(generation) == link.program_id:
                return generation
        before, link = link, link_of(registry)
        if link == before:
            return None
    return None


def _tracing_id(generation: Generation) -> int | None:
    """The id of the program that traces a generation, or traced it; see registry/tracing.py."""
    try:
        with pinned(generation.path / TRACING) as fd:
            return libbpf.program_info(fd).id
    except FileNotFoundError:
        return None


def is_traced(generation: Generation) -> bool:
    """Whether somebody traces its decisions, or died while he did. Takes no rights."""
    return (generation.path / TRACING).exists()


def in_force_for_readers(registry: str) -> Generation | None:
    """Like in_force(), for readers: without permission to open the link, the published number
    counts.

    Raises SockregError if that is not known either.
    """
    try:
        return in_force(registry)
    except AccessError:
        pass
    number = published.settled(registry)
    if number is None:
        return None
    return Generation(number, Path(registry, GENERATIONS, str(number)), None)


def read_in_force(registry: str, read: Callable[[Generation], Result]) -> Result | None:
    """``read`` of the generation in force, or None if there is none.

    Readers do not lock. Two swaps may remove the generation meanwhile; then the reader starts over.
    """
    current = in_force_for_readers(registry)
    while current is not None:
        try:
            return read(current)
        except FileNotFoundError:
            before, current = current, in_force_for_readers(registry)
            if current == before:
                raise
    return None


def read_rules(generation: Generation) -> bytes:
    """The generation's record; see registry/generation_record.py.

    Raises SockregError if that is not what is pinned.
    """
    content = b"".join(_chunks(generation))
    if not generation_record.is_record(content):
        raise damaged(str(generation.path / RULES))
    return content


def read_header(generation: Generation) -> generation_record.Header:
    """The generation's header, without reading its rules."""
    content = b""
    for chunk in _chunks(generation):
        content += chunk
        if not generation_record.is_record(content):
            raise damaged(str(generation.path / RULES))
        if len(content) >= generation_record.header_end(content):
            break
    return generation_record.decode_header(content)


def _chunks(generation: Generation) -> Iterator[bytes]:
    # Element by element: the kernel does not mmap a descriptor that is opened read-only.
    with pinned(generation.path / RULES, read_only=True) as fd:
        for index in range(bpf.map_capacity(fd)):
            chunk = bpf.map_lookup(fd, index.to_bytes(4, sys.byteorder), _RULES_CHUNK)
            if chunk is not None:
                yield chunk


def build(
    registry: str, number: int, *, object_path: Path, tables: Tables, rules: bytes
) -> Generation:
    """Load a program with its table and pin both; nothing is attached yet.

    The shared maps are reused from the registry's pins. If the rules point to slots beyond
    the counters, the generation gets bigger ones, which become the registry's when it comes
    into force. SockregError if the kernel refuses; then nothing is left behind.
    """
    bpf_access.require_loading()
    home = Path(registry, GENERATIONS)
    unfinished = home / f"{UNFINISHED}{number}"
    remove_directory(unfinished)
    make_directory(unfinished)
    try:
        with contextlib.ExitStack() as stack:
            obj = stack.enter_context(loading.open_object(object_path))
            obj.leave_out(COPY)
            own_counters = False
            for name in MAPS:
                fd = stack.enter_context(pinned(f"{registry}/{name}"))
                refuse_other_layout(registry, name, fd)
                if name == COUNTERS and bpf.map_capacity(fd) < tables.slots:
                    own_counters = True
                    obj.set_max_entries(name, counter_growth.size_for(tables.slots))
                else:
                    obj.reuse_map(name, fd)
            for name in (FLOWS, OWNERS):  # if it has none, the program's own are never used
                if Path(registry, name).exists():
                    fd = stack.enter_context(pinned(f"{registry}/{name}"))
                    refuse_other_layout(registry, name, fd)
                    obj.reuse_map(name, fd)
                    if name == FLOWS:
                        pin(fd, unfinished / FLOWS)
            loading.load_program(obj, tables)
            if own_counters:
                pin(obj.map_fd(COUNTERS), unfinished / COUNTERS)
            pin(obj.map_fd(loading.TABLE_MAP), unfinished / TABLE)
            pin(obj.program_fd(loading.PROGRAM_NAME), unfinished / PROGRAM)
            _pin_rules(rules, unfinished / RULES)
            program_id = libbpf.program_info(obj.program_fd(loading.PROGRAM_NAME)).id
        path = home / str(number)
        unfinished.rename(path)
    except BaseException:
        remove_directory(unfinished)
        raise
    return Generation(number, path, program_id)


def _pin_rules(rules: bytes, path: Path) -> None:
    chunks = max(1, -(-len(rules) // _RULES_CHUNK))
    with closing(libbpf.create_array(RULES, _RULES_CHUNK, chunks)) as fd:
        libbpf.write_array(fd, rules, chunks * _RULES_CHUNK)
        pin(fd, path)


def end_tracing(registry: str, current: Generation) -> None:
    """Put the program of the generation in force back in the place of the one that traces it."""
    with contextlib.suppress(FileNotFoundError), pinned(current.path / TRACING) as tracing:
        with pinned(f"{registry}/{LINK}") as link, pinned(current.path / PROGRAM) as program:
            if libbpf.link_info(link).program_id == libbpf.program_info(tracing).id:
                libbpf.update_link(link, program, tracing)
        (current.path / TRACING).unlink()


@contextlib.contextmanager
def changing(registry: str) -> Iterator[None]:
    """Hold the lock for a change of the program in force."""
    with DirectoryLock(f"{registry}/{GENERATIONS}"):
        yield


@contextlib.contextmanager
def writing(registry: str) -> Iterator[None]:
    """Hold the lock for a change of the generation in force; clean up after dead writers.

    This ends a trace.
    """
    with changing(registry):
        heal(registry)
        yield


def keep(registry: str, numbers: Collection[int | None]) -> None:
    """Remove all other generations."""
    names = {str(number) for number in numbers}
    for path in Path(registry, GENERATIONS).iterdir():
        if path.name.isdecimal() and path.name not in names:
            # Rename first, so that the directory exists whole or not at all, even after a crash.
            remove_directory(path.rename(path.with_name(f"{UNFINISHED}{path.name}")))


def _put_back(registry: str, current: Generation) -> None:
    """Pin the maps again whose pins somebody has removed: the program still has most of them."""
    for name in MAPS:
        path = Path(registry, name)
        if path.exists():
            continue
        try:
            with pinned(current.path / PROGRAM) as fd, libbpf.map_of_program(fd, name) as found:
                pin(found, path)
        except FileNotFoundError:
            raise damaged(str(path)) from None  # only its pin kept that map


def has_leftovers(registry: str) -> bool:
    """Whether a writer has died that was making or removing a generation."""
    return any(Path(registry, GENERATIONS).glob(f"{UNFINISHED}*"))


def heal(registry: str) -> None:
    """Repair what a dead writer left: directories half created or removed, and numbers."""
    for path in Path(registry, GENERATIONS).glob(f"{UNFINISHED}*"):
        remove_directory(path)
    current = in_force(registry)
    if current is not None:
        _put_back(registry, current)
        end_tracing(registry, current)
        counter_growth.share(registry, current.path)
    published.publish(registry, current.number if current else 0)
    pins.narrow(Path(registry))

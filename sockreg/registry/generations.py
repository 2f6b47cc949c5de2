"""Generations: compiled rule sets, each held by a program instance of its own.

What is in force is what the pinned link runs, whatever names are around it: a crash at
any point of a swap leaves the old generation or the new one running, and the next look
finds out which. Two generations are kept, the one in force and the one before.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sockreg.errors import AccessError
from sockreg.host import capabilities
from sockreg.kernel import bpf, libbpf, testrun
from sockreg.kernel.libbpf import ProgramInfo as ProgramInfo
from sockreg.kernel.testrun import Verdict as Verdict
from sockreg.registry import growth, loading, pins, published, record
from sockreg.registry.directory import COPY, GENERATIONS, LINK, MAPS, UNFINISHED
from sockreg.registry.locks import Lock
from sockreg.registry.pins import closing, make_directory, pin, pinned, remove_directory

if TYPE_CHECKING:  # numpy comes with it, which most commands can do without
    from sockreg.compile import Tables

Result = TypeVar("Result")

_RULES_CHUNK = 4096  # bytes of one element of the rules map: small enough for any kernel


@dataclass(frozen=True)
class Generation:
    """``program_id`` is the kernel's id of its program; None if we may not open that."""

    number: int
    path: Path
    program_id: int | None


def generations(registry: str) -> list[Generation]:
    """All complete generations, oldest first."""
    found = []
    for path in Path(registry, GENERATIONS).iterdir():
        if path.name.startswith(UNFINISHED):
            continue
        # One that is being removed beside us is not complete any more.
        with contextlib.suppress(FileNotFoundError), pinned(path / "program") as fd:
            found.append(Generation(int(path.name), path, libbpf.program_info(fd).id))
    return sorted(found, key=lambda generation: generation.number)


def program_of(generation: Generation) -> ProgramInfo | None:
    """What the kernel tells of its program; None if we may not ask."""
    if generation.program_id is None:
        return None
    with pinned(generation.path / "program") as fd:
        return libbpf.program_info(fd)


def ask(
    generation: Generation,
    family: int,
    protocol: int,
    local: tuple[str, int],
    remote: tuple[str, int],
) -> Verdict:
    """What its program does with a packet; see kernel/testrun.py. AccessError takes root."""
    with pinned(generation.path / "program") as fd:
        return testrun.ask(fd, family, protocol, local, remote)


def link_of(registry: str) -> libbpf.LinkInfo | None:
    """The pinned link, or None if there is none (an interrupted load or unload)."""
    try:
        # The kernel opens links and programs for reading and writing only (bpf_obj_get_user()).
        with pinned(f"{registry}/{LINK}") as fd:
            return libbpf.link_info(fd)
    except FileNotFoundError:
        return None


def in_force(registry: str) -> Generation | None:
    """The generation that the link runs, or None if the link is missing or detached."""
    link = link_of(registry)
    while link is not None and link.netns_inode != 0:
        for generation in generations(registry):
            if generation.program_id == link.program_id:
                return generation
        before, link = link, link_of(registry)
        if link == before:
            return None
    return None


def in_force_for_readers(registry: str) -> Generation | None:
    """As in_force(), for readers: who may not open the link goes by what writers published.

    SockregError if that is not known either.
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

    Readers do not lock: two swaps remove a generation under them. They start over then.
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
    """The generation's record; see registry/record.py."""
    return b"".join(_chunks(generation))


def read_header(generation: Generation) -> record.Header:
    """The generation's header, without reading its rules."""
    content = b""
    for chunk in _chunks(generation):
        content += chunk
        if len(content) >= record.header_end(content):
            break
    return record.decode_header(content)


def _chunks(generation: Generation) -> Iterator[bytes]:
    # Element by element: the kernel maps nothing from a descriptor opened to read only.
    with pinned(generation.path / "rules", read_only=True) as fd:
        for index in range(libbpf.map_info(fd).max_entries):
            chunk = bpf.map_lookup(fd, index.to_bytes(4, sys.byteorder), _RULES_CHUNK)
            if chunk is not None:
                yield chunk


def build(
    registry: str, number: int, object_path: Path, tables: Tables, rules: bytes
) -> Generation:
    """Load a program with its table and pin both; nothing is attached yet.

    The shared maps are reused from the registry's pins. If the rules point to slots beyond
    the counters, the generation gets bigger ones, which become the registry's when it comes
    into force. SockregError if the kernel refuses; then nothing is left behind.
    """
    capabilities.require_loading()
    home = Path(registry, GENERATIONS)
    unfinished = home / f"{UNFINISHED}{number}"
    remove_directory(unfinished)
    make_directory(unfinished)
    try:
        obj = loading.open_object(object_path)
        obj.leave_out(COPY)
        with contextlib.ExitStack() as stack:
            own_counters = False
            for name in MAPS:
                fd = stack.enter_context(pinned(f"{registry}/{name}"))
                if name == growth.PIN and bpf.map_capacity(fd) < tables.slots:
                    own_counters = True
                    obj.set_max_entries(name, growth.size_for(tables.slots))
                else:
                    obj.reuse_map(name, fd)
            loading.load_program(obj, tables)
        if own_counters:
            pin(obj.map_fd(growth.PIN), unfinished / growth.PIN)
        pin(obj.map_fd(loading.TABLE_MAP), unfinished / "table")
        pin(obj.program_fd(loading.PROGRAM), unfinished / "program")
        _pin_rules(rules, unfinished / "rules")
        program_id = libbpf.program_info(obj.program_fd(loading.PROGRAM)).id
        path = home / str(number)
        unfinished.rename(path)
    except BaseException:
        remove_directory(unfinished)
        raise
    return Generation(number, path, program_id)


def _pin_rules(rules: bytes, path: Path) -> None:
    chunks = max(1, -(-len(rules) // _RULES_CHUNK))
    with closing(libbpf.create_array("rules", _RULES_CHUNK, chunks)) as fd:
        libbpf.write_array(fd, rules, chunks * _RULES_CHUNK)
        pin(fd, path)


@contextlib.contextmanager
def writing(registry: str) -> Iterator[None]:
    """Hold the lock for a change of the generation in force; clear up after dead writers."""
    with Lock(f"{registry}/{GENERATIONS}"):
        heal(registry)
        yield


def keep(registry: str, numbers: Collection[int | None]) -> None:
    """Remove all other generations."""
    names = {str(number) for number in numbers}
    for path in Path(registry, GENERATIONS).iterdir():
        if path.name not in names:
            # Renamed first: it exists whole or not at all, also if we die halfway.
            remove_directory(path.rename(path.with_name(f"{UNFINISHED}{path.name}")))


def heal(registry: str) -> None:
    """Put right what a writer that died left: things half made or removed, and half told."""
    for path in Path(registry, GENERATIONS).glob(f"{UNFINISHED}*"):
        remove_directory(path)
    current = in_force(registry)
    if current is not None:
        growth.share(registry, current.path)
    published.publish(registry, current.number if current else 0)
    with contextlib.suppress(FileNotFoundError):
        Path(registry, LINK).chmod(pins.MODE)

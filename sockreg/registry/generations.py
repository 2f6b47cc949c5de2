"""Generations: compiled rule sets, each held by a program instance of its own.

What is in force is what the pinned link runs, whatever names are around it: a crash at
any point of a swap leaves the old generation or the new one running, and the next look
finds out which. Two generations are kept, the one in force and the one before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sockreg.errors import AccessError, SockregError
from sockreg.host import capabilities
from sockreg.kernel import bpf, libbpf, objects, testrun
from sockreg.kernel.libbpf import ProgramInfo as ProgramInfo
from sockreg.kernel.testrun import Verdict as Verdict
from sockreg.registry import published, record
from sockreg.registry.directory import COPY, GENERATIONS, LINK, MAPS, UNFINISHED, denied

if TYPE_CHECKING:  # numpy comes with it, which most commands can do without
    from sockreg.compile import Tables

Result = TypeVar("Result")

PROGRAM = "sockreg"  # its name in the object, and in bpftool prog
TABLE_MAP = ".rodata.table"
CONFIG_MAP = ".rodata.config"
_PIN_MODE = 0o640
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
        with contextlib.suppress(FileNotFoundError), pinned(str(path / "program")) as fd:
            found.append(Generation(int(path.name), path, libbpf.program_info(fd).id))
    return sorted(found, key=lambda generation: generation.number)


@contextlib.contextmanager
def pinned(path: str, flags: int = bpf.READ_WRITE) -> Iterator[int]:
    """A descriptor of a pin, closed at the end. SockregError if it may not be opened."""
    try:
        fd = bpf.obj_get(path, flags)
    except PermissionError as error:
        raise denied(path, error) from None
    try:
        yield fd
    finally:
        os.close(fd)


def program_of(generation: Generation) -> ProgramInfo | None:
    """What the kernel tells of its program; None if we may not ask."""
    if generation.program_id is None:
        return None
    with pinned(str(generation.path / "program")) as fd:
        return libbpf.program_info(fd)


def ask(
    generation: Generation,
    family: int,
    protocol: int,
    local: tuple[str, int],
    remote: tuple[str, int],
) -> Verdict:
    """What its program does with a packet; see kernel/testrun.py. AccessError takes root."""
    with pinned(str(generation.path / "program")) as fd:
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


def told_in_force(registry: str) -> Generation | None:
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
    current = told_in_force(registry)
    while current is not None:
        try:
            return read(current)
        except FileNotFoundError:
            before, current = current, told_in_force(registry)
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
    with pinned(str(generation.path / "rules"), bpf.READ_ONLY) as fd:
        for index in range(libbpf.map_info(fd).max_entries):
            chunk = bpf.map_lookup(fd, index.to_bytes(4, sys.byteorder), _RULES_CHUNK)
            if chunk is not None:
                yield chunk


def build(
    registry: str, number: int, object_path: Path, tables: Tables, rules: bytes
) -> Generation:
    """Load a program with its table and pin both; nothing is attached yet.

    The shared maps are reused from the registry's pins. SockregError if the kernel
    refuses; then nothing is left behind.
    """
    capabilities.require_loading()
    home = Path(registry, GENERATIONS)
    unfinished = home / f"{UNFINISHED}{number}"
    remove(unfinished)
    make_directory(unfinished)
    try:
        obj = open_object(object_path)
        obj.leave_out(COPY)
        with contextlib.ExitStack() as stack:
            for name in MAPS:
                obj.reuse_map(name, stack.enter_context(pinned(f"{registry}/{name}")))
            load(obj, tables)
        pin(obj.map_fd(TABLE_MAP), unfinished / "table")
        pin(obj.program_fd(PROGRAM), unfinished / "program")
        _pin_rules(rules, unfinished / "rules")
        program_id = libbpf.program_info(obj.program_fd(PROGRAM)).id
        path = home / str(number)
        unfinished.rename(path)
    except BaseException:
        remove(unfinished)
        raise
    return Generation(number, path, program_id)


def check_object(path: Path) -> str:
    """As objects.check()."""
    return objects.check(path, objects.SK_LOOKUP)


def open_object(path: Path) -> libbpf.Object:
    try:
        return libbpf.Object(str(path))
    except libbpf.LoadError as error:
        raise SockregError(
            f"cannot read the object {path}: {error.reason()}", "reinstall sockreg"
        ) from None


def load(obj: libbpf.Object, tables: Tables) -> None:
    """Give an opened object its table and constants and have the kernel take it."""
    table = tables.table_bytes()
    try:
        fd = libbpf.create_constant("table", table)
        obj.reuse_map(TABLE_MAP, fd)
        os.close(fd)
        obj.set_initial_value(CONFIG_MAP, tables.config)
        obj.load()
    except OSError as error:
        raise refusal(error, len(table)) from None


def refusal(error: OSError, table_bytes: int) -> SockregError:
    """Say in one sentence why the kernel did not take the program or its maps."""
    # libbpf's own errors are no PermissionError; a verifier that refuses says EACCES.
    if isinstance(error, PermissionError) or error.errno == errno.EPERM:
        return AccessError(
            f"the kernel does not let this process load the program: {error.strerror}",
            "before Linux 5.11 add LimitMEMLOCK=infinity to its unit; in a user namespace, "
            "capabilities do not count for bpf(2)",
        )
    if table_bytes > 4 << 20 and not isinstance(error, libbpf.LoadError):
        return SockregError(
            f"the kernel gives no table of {table_bytes} bytes: {error.strerror}",
            "before Linux 6.0 a table ends at 4 MiB; else the memory does not suffice",
        )
    reason = error.reason() if isinstance(error, libbpf.LoadError) else error.strerror
    return SockregError(
        f"the kernel refuses the program: {reason}",
        "it needs Linux 5.9 with CONFIG_BPF_SYSCALL and CONFIG_INET; -v shows the full log",
    )


def make_directory(path: Path) -> None:
    """Make a directory of pins for the owner to write and the group to read.

    Whatever the umask is; chmod(2) would take the set-group-ID bit that it inherits from
    its parent (setattr_copy() in fs/attr.c), see registry/readers.py.
    """
    before = os.umask(0o027)
    try:
        path.mkdir(mode=0o750)
    finally:
        os.umask(before)


def pin(fd: int, path: Path) -> None:
    """Pin for the owner to write and the group to read."""
    bpf.obj_pin(fd, str(path))
    path.chmod(_PIN_MODE)


def _pin_rules(rules: bytes, path: Path) -> None:
    chunks = max(1, -(-len(rules) // _RULES_CHUNK))
    fd = libbpf.create_array("rules", _RULES_CHUNK, chunks)
    try:
        libbpf.write_array(fd, rules, chunks * _RULES_CHUNK)
        pin(fd, path)
    finally:
        os.close(fd)


def swap(registry: str, old: Generation, new: Generation) -> None:
    """Put ``new`` in force in place of ``old``, program and rules in one step."""
    with (
        pinned(f"{registry}/{LINK}") as link,
        pinned(str(old.path / "program")) as before,
        pinned(str(new.path / "program")) as after,
    ):
        published.in_force(registry, 0)
        try:
            libbpf.update_link(link, after, before)
        except OSError:
            published.in_force(registry, old.number)
            raise
        published.in_force(registry, new.number)


def attach(registry: str, generation: Generation, netns_fd: int) -> None:
    """Make the link that puts a registry in force, in place of a detached one."""
    with pinned(str(generation.path / "program")) as program:
        try:
            link = libbpf.create_link(program, netns_fd)
        except PermissionError as error:
            raise refusal(error, 0) from None
    try:
        published.in_force(registry, 0)
        Path(registry, LINK).unlink(missing_ok=True)
        pin(link, Path(registry, LINK))
        published.in_force(registry, generation.number)
    finally:
        os.close(link)


def detach(registry: str) -> None:
    """Undo ``attach``. Unlinking alone would wait for readers that have the link open."""
    published.in_force(registry, 0)
    with contextlib.suppress(FileNotFoundError), pinned(f"{registry}/{LINK}") as link:
        libbpf.detach_link(link)
    Path(registry, LINK).unlink(missing_ok=True)


def keep(registry: str, numbers: Collection[int | None]) -> None:
    """Remove all other generations."""
    names = {str(number) for number in numbers}
    for path in Path(registry, GENERATIONS).iterdir():
        if path.name not in names:
            # Renamed first: it exists whole or not at all, also if we die halfway.
            remove(path.rename(path.with_name(f"{UNFINISHED}{path.name}")))


def heal(registry: str) -> None:
    """Put right what a writer that died left: things half made or removed, and half told."""
    for path in Path(registry, GENERATIONS).glob(f"{UNFINISHED}*"):
        remove(path)
    current = in_force(registry)
    published.in_force(registry, current.number if current else 0)
    with contextlib.suppress(FileNotFoundError):
        Path(registry, LINK).chmod(_PIN_MODE)


def remove(path: Path) -> None:
    """Remove a directory of pins, if it is there."""
    if path.exists():
        shutil.rmtree(path)

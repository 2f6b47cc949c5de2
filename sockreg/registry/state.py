"""A registry as a whole: making it, healing what a crash left, removing it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sockreg.errors import (
    AccessError,
    RefusedError,
    SockregError,
)
from sockreg.host.netns import Netns
from sockreg.kernel import libbpf
from sockreg.registry import generations, readers
from sockreg.registry.destinations import read_destinations
from sockreg.registry.directory import (
    COPY,
    GENERATIONS,
    HOME,
    MAPS,
    UNFINISHED,
    netns_name,
    registry_path,
)
from sockreg.registry.locks import Lock
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of
from sockreg.terms import FIRST_SLOT

if TYPE_CHECKING:  # numpy comes with it, which most commands can do without
    from sockreg.compile import Tables

UNITS_MAX = 4096


def path_of(bpffs: str, netns: Netns) -> str:
    return registry_path(bpffs, netns_name(netns.cookie, netns.inode))


def exists(registry: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(registry).st_mode)  # Path.is_dir() may hide EACCES
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise AccessError(
            f"{registry}: {error.strerror}",
            f"run it as root or as a member of group {readers.GROUP}; systemd mounts /sys/fs/bpf "
            f"for root alone, members need {readers.WINDOW}: see sockreg(8)",
        ) from None


@contextlib.contextmanager
def writing(registry: str) -> Iterator[None]:
    """Hold the lock for a change of the generation in force; clear up after dead writers."""
    with Lock(f"{registry}/{GENERATIONS}"):
        generations.heal(registry)
        yield


def _home(bpffs: str) -> Path:
    """Our directory in the bpffs, made if need be."""
    mount = Path(bpffs)
    if not mount.is_dir():
        raise SockregError(
            f"{bpffs} does not exist",
            f"mount a bpffs there: 'mkdir -p {bpffs}; mount -t bpf bpf {bpffs}'",
        )
    if not is_bpffs(bpffs):
        raise SockregError(
            f"{bpffs} is not a bpffs",
            f"mount one: 'mount -t bpf bpf {bpffs}', or name another with --bpffs",
        )
    home = mount / HOME
    try:
        home.mkdir(mode=0o750, exist_ok=True)
    except PermissionError as error:
        raise AccessError(f"cannot make {home}: {error.strerror}", "run it as root") from None
    readers.let_in(home)
    return home


def is_bpffs(path: str) -> bool:
    """Whether ``path`` lies in a bpffs, by the mount it belongs to (proc_pid_mountinfo(5))."""
    device = os.stat(path).st_dev
    numbers = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            fields = line.split()
            if fields[2] == numbers:
                return fields[fields.index("-") + 1] == "bpf"
    return False


def create(bpffs: str, netns: Netns, object_path: Path, tables: Tables, slots: int) -> str:
    """Make the registry of a network namespace: the shared maps, attached to nothing yet.

    Does nothing if it is there. Built under another name and renamed, so that it exists
    whole or not at all. ``tables`` are those of an empty rule set. Returns its path.
    """
    registry = path_of(bpffs, netns)
    home = _home(bpffs)
    with Lock(str(home)):
        for leftover in home.iterdir():
            unfinished = leftover.name.startswith(UNFINISHED)
            if unfinished or (str(leftover) != registry and _is_abandoned(leftover)):
                generations.remove(leftover)
        if not Path(registry).exists():
            _refuse_second(netns, registry)
            _build(home, registry, object_path, tables, slots)
    return registry


def _is_abandoned(registry: Path) -> bool:
    """Whether the network namespace of a registry is gone: its link and its sockets are."""
    link = generations.link_of(str(registry))
    if link is None or link.netns_inode != 0:
        return False
    with Maps(str(registry)) as maps:
        return not any(members_of(maps, slot) for slot in read_destinations(maps).values())


def _build(home: Path, registry: str, object_path: Path, tables: Tables, slots: int) -> None:
    unfinished = home / f"{UNFINISHED}{os.getpid()}"
    generations.make_directory(unfinished)
    try:
        obj = generations.open_object(object_path)
        for name, count in (
            ("sockets", slots),
            ("counters", slots),
            ("pools", slots),
            ("destinations", slots - FIRST_SLOT),
            ("members", 2 * slots),  # room for records whose socket is gone
            ("units", UNITS_MAX),
        ):
            obj.set_max_entries(name, count)
        generations.load(obj, tables)
        for name in MAPS:
            generations.pin(obj.map_fd(name), unfinished / name)
        generations.pin(obj.program_fd(COPY), unfinished / COPY)
        generations.make_directory(unfinished / GENERATIONS)
        unfinished.rename(registry)
    except BaseException:
        generations.remove(unfinished)
        raise


@dataclass(frozen=True)
class Attached:
    """An sk_lookup program of a network namespace; ``name`` is None if we may not ask."""

    program_id: int
    name: str | None

    def __str__(self) -> str:
        return f"program {self.program_id} ({self.name or 'name unknown without CAP_SYS_ADMIN'})"


def attached(netns: Netns) -> list[Attached]:
    """All sk_lookup programs of the namespace, in the order they run.

    SockregError: EXIT_PERMISSION without CAP_NET_ADMIN; EXIT_FAILURE on kernels that
    have no sk_lookup.
    """
    try:
        ids = libbpf.attached_programs(netns.fd)
    except PermissionError as error:
        raise AccessError(
            f"cannot ask which programs are attached: {error.strerror}",
            "that needs CAP_NET_ADMIN: run it as root",
        ) from None
    except OSError as error:
        raise SockregError(
            f"this kernel has no sk_lookup hook: {error.strerror}",
            "it needs Linux 5.9 with CONFIG_BPF_SYSCALL and CONFIG_INET",
        ) from None
    return [Attached(program_id, _program_name(program_id)) for program_id in ids]


def _program_name(program_id: int) -> str | None:
    try:
        fd = libbpf.program_by_id(program_id)
    except OSError:
        return None  # CAP_SYS_ADMIN is missing, or the program has just gone
    try:
        return libbpf.program_info(fd).name
    finally:
        os.close(fd)


def others(registry: str, netns: Netns) -> list[Attached]:
    """The programs of the namespace that this registry did not attach."""
    link = generations.link_of(registry)
    own = link.program_id if link is not None else None
    return [program for program in attached(netns) if program.program_id != own]


def attach(registry: str, generation: generations.Generation, netns: Netns) -> None:
    """Put the first generation in force, or one in place of a link that is gone."""
    _refuse_second(netns, registry)
    generations.attach(registry, generation, netns.fd)


def _refuse_second(netns: Netns, registry: str) -> None:
    for program in others(registry, netns):
        if program.name == generations.PROGRAM:
            raise RefusedError(
                f"program {program.program_id} of another registry is attached to this network "
                f"namespace, and its pins are not at {registry}",
                "unload it with the --bpffs it was loaded with; 'bpftool link list' shows its link",
            )


def remove(bpffs: str, registry: str) -> None:
    """Detach and remove a registry with its sockets, rules and counters."""
    home = Path(bpffs, HOME)
    with (
        Lock(str(home)),
        Lock(f"{registry}/{GENERATIONS}"),
        Lock(registry),
    ):
        generations.detach(registry)
        unfinished = home / f"{UNFINISHED}{os.getpid()}"
        Path(registry).rename(unfinished)
        generations.remove(unfinished)

"""A registry as a whole: making it, removing it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sockreg import interrupts, trust
from sockreg.errors import AccessError, RefusedError, SockregError
from sockreg.host import bpf_access
from sockreg.host.mounts import mounts
from sockreg.host.netns import Netns
from sockreg.printable import shell
from sockreg.registry import access, attachment, loading
from sockreg.registry.destinations import read_destinations
from sockreg.registry.directory import (
    COPY,
    GENERATIONS,
    HOME,
    LOCK,
    MAPS,
    UNFINISHED,
    netns_name,
    registry_path,
)
from sockreg.registry.generations import link_of
from sockreg.registry.locks import DirectoryLock, Lock
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of
from sockreg.registry.pins import make_directory, pin, remove_directory

if TYPE_CHECKING:  # numpy comes with it, which most commands can do without
    from sockreg.compile import Tables


def _home(bpffs: str) -> Path:
    """sockreg's directory in the bpffs, created if necessary."""
    mount = Path(bpffs)
    if bpf_access.in_user_namespace() and not (mount.is_dir() and is_bpffs(bpffs)):
        raise SockregError(f"{bpffs} is not a bpffs", bpf_access.NOT_HERE)
    if not mount.is_dir():
        writable = "mount -o remount,rw /sys; " if bpffs.startswith("/sys/") else ""
        raise SockregError(
            f"{bpffs} does not exist",
            f"mount a bpffs there: '{writable}mkdir -p {bpffs}; {_mount(bpffs)}'",
        )
    if not is_bpffs(bpffs):
        raise SockregError(
            f"{bpffs} is not a bpffs",
            f"mount one: '{_mount(bpffs)}', or name another with --bpffs",
        )
    home = mount / HOME
    _require_own(bpffs, bpffs)
    try:
        home.mkdir(mode=0o710, exist_ok=True)
    except PermissionError as error:
        raise AccessError(f"cannot create {home}: {error.strerror}", "run it as root") from None
    except OSError as error:
        # In a unit, ProtectKernelTunables= makes read-only what ExecStartPre= did not create.
        raise SockregError(
            f"cannot create {home}: {error.strerror}",
            f"'mkdir {home}' must succeed; if the bpffs is read-only: "
            f"'mount -o remount,rw {shell(bpffs)}'",
        ) from None
    _require_own(bpffs, str(home))
    access.let_in(home)
    return home


def _mount(bpffs: str) -> str:
    """The command that mounts a bpffs; without a mode, everybody could make directories in it."""
    return f"mount -t bpf -o mode=0700 bpf {shell(bpffs)}"


def _require_own(bpffs: str, directory: str) -> None:
    """Raise RefusedError if others may change what is in a directory of the bpffs."""
    try:
        trust.require_directory(bpffs, directory)
    except trust.UntrustedError as error:
        raise RefusedError(
            f"{error.filename} {error.strerror}",
            "others could make and open pins there, and take traffic; nothing was loaded",
        ) from None


def is_bpffs(path: str) -> bool:
    """Whether ``path`` is in a bpffs, by the mount it belongs to."""
    device = os.stat(path).st_dev
    numbers = f"{os.major(device)}:{os.minor(device)}"
    return next((mount.kind == "bpf" for mount in mounts() if mount.device == numbers), False)


def create(bpffs: str, netns: Netns, object_path: Path, tables: Tables) -> str:
    """Create the registry of a network namespace: the shared maps, attached to nothing yet.

    Does nothing if it exists. It is built under another name and renamed, so that it exists whole
    or not at all. ``tables`` are those of an empty rule set. Returns its path.
    """
    registry = registry_path(bpffs, netns_name(netns.cookie, netns.inode))
    home = _home(bpffs)
    with DirectoryLock(str(home)):
        for leftover in home.iterdir():
            unfinished = leftover.name.startswith(UNFINISHED)
            if unfinished or (str(leftover) != registry and _is_abandoned(leftover)):
                remove_directory(leftover)
        if not Path(registry).exists():
            attachment.refuse_second(registry, netns)
            _build(home, registry, object_path, tables)
    return registry


def _is_abandoned(registry: Path) -> bool:
    """Whether the network namespace of a registry is gone, with its link and its sockets."""
    link = link_of(str(registry))
    if link is None or link.netns_inode != 0:
        return False
    try:
        with Maps(str(registry)) as maps:
            return not any(members_of(maps, slot) for slot in read_destinations(maps).values())
    except RefusedError:
        return False  # another version's: what is registered there cannot be read


def _build(home: Path, registry: str, object_path: Path, tables: Tables) -> None:
    unfinished = home / f"{UNFINISHED}{os.getpid()}"
    make_directory(unfinished)
    try:
        with loading.open_object(object_path) as obj:
            loading.load_program(obj, tables)
            for name in MAPS:
                pin(obj.map_fd(name), unfinished / name)
            pin(obj.program_fd(COPY), unfinished / COPY)
        make_directory(unfinished / LOCK)
        make_directory(unfinished / GENERATIONS)
        unfinished.rename(registry)
    except BaseException:
        remove_directory(unfinished)
        raise


def remove(bpffs: str, registry: str) -> None:
    """Detach and remove a registry with its sockets, rules and counters."""
    home = Path(bpffs, HOME)
    for name in (GENERATIONS, LOCK):  # they may have been removed, and are locked
        if not Path(registry, name).exists():
            make_directory(Path(registry, name))
    with (
        DirectoryLock(str(home)),
        DirectoryLock(f"{registry}/{GENERATIONS}"),
        Lock(registry),
        interrupts.dropped(),
    ):
        attachment.detach(registry)
        unfinished = home / f"{UNFINISHED}{os.getpid()}"
        try:
            Path(registry).rename(unfinished)
            remove_directory(unfinished)
        except OSError as error:
            raise attachment.DetachedError(
                f"no rule is in force any more, but {error.filename or registry} cannot be "
                f"removed: {error.strerror}",
                "run it again",
            ) from None


def sweep(bpffs: str) -> bool:
    """Remove what commands left that died while they made or removed a registry. False if nothing.

    Sockets in there serve nobody, as no program is attached to them.
    """
    home = Path(bpffs, HOME)
    if not any(home.glob(f"{UNFINISHED}*")):
        return False
    with DirectoryLock(str(home)):
        for leftover in home.glob(f"{UNFINISHED}*"):
            remove_directory(leftover)
    return True


def detach(registry: str) -> bool:
    """Detach the program, and keep the rest of the registry. False if it was detached before."""
    with DirectoryLock(f"{registry}/{GENERATIONS}"), interrupts.dropped():
        was_attached = link_of(registry) is not None
        attachment.detach(registry)
    return was_attached

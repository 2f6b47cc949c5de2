"""Control groups of version 2: where their tree is, and the cgroup of a process."""

import contextlib
import os
from collections.abc import Collection, Iterator
from typing import NamedTuple

from sockreg.errors import SockregError
from sockreg.host.mounts import mounts
from sockreg.systemd.unit_of import NO_UNIT, cgroup_paths, unit_of_cgroup

_CONTROL = "/.control"


class Cgroup(NamedTuple):
    """``id`` is what bpf_get_current_cgroup_id() returns: the inode number of the directory.

    ``path`` is relative to the root of the tree and begins with a slash.
    """

    path: str
    id: int


def root() -> str:
    """Where the cgroup2 tree is mounted: /sys/fs/cgroup, or its unified/ on hybrid hosts.

    In a container, this is the container's own part of the tree. Raises SockregError if there is
    none.
    """
    mounted = _mounted()
    if mounted:
        return mounted
    raise SockregError(
        "no cgroup2 hierarchy is mounted",
        "systemd mounts it on /sys/fs/cgroup; in a container, configure a private cgroup namespace",
    )


def _mounted() -> str:
    return next((mount.path for mount in mounts() if mount.kind == "cgroup2"), "")


def own() -> Cgroup:
    """The cgroup of this process, or of the unit if this process is its ExecStartPre=.

    For a unit with Delegate=yes, systemd runs these commands in a separate cgroup .control, beside
    the processes of the service (systemd.io/CGROUP_DELEGATION).
    """
    with open("/proc/self/cgroup", "rb") as text:
        path = cgroup_paths(text.read()).get("", "/").removesuffix(_CONTROL)
    return Cgroup(path, os.stat(f"{root()}{path}").st_ino)


def all_ids() -> set[int]:
    """The ids of all cgroups."""
    return {cgroup.id for cgroup in _all(root())}


def unit_of_id(cgroup_id: int) -> str:
    """The unit whose cgroup has this id (INET_DIAG_CGROUP_ID), or ``-`` if none has.

    A .socket unit has a cgroup as well, in which systemd makes its sockets.
    """
    mounted = _mounted()
    for cgroup in _all(mounted) if mounted else ():
        if cgroup.id == cgroup_id:
            return unit_of_cgroup(cgroup.path)
    return NO_UNIT


def paths_of(ids: Collection[int]) -> dict[int, str]:
    """The paths of cgroups by id, relative to the root of the tree; without those that are gone."""
    mounted = _mounted() if ids else ""
    found: dict[int, str] = {}
    for it in _all(mounted) if mounted else ():
        if it.id in ids:
            found[it.id] = it.path
            if len(found) == len(ids):
                break
    return found


def pids_in(path: str) -> list[int]:
    """The processes in the cgroup with this path; 0 is one of another pid namespace."""
    try:
        with open(f"{_mounted()}{path}/cgroup.procs") as file:
            return [int(line) for line in file]
    except OSError:
        return []  # removed in the meantime, or of threads


def _all(mounted: str) -> Iterator[Cgroup]:
    for directory, _, _ in os.walk(mounted):
        with contextlib.suppress(FileNotFoundError):  # removed in the meantime
            yield Cgroup(directory.removeprefix(mounted) or "/", os.stat(directory).st_ino)

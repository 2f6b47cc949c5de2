"""A cgroup tree of the test's own, whose root is the root as far as the test can see."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sockreg.host.cgroup import root
from tests.linux import (
    CLONE_NEWCGROUP,
    MNT_DETACH,
    MS_BIND,
    mount,
    private_mounts,
    setns,
    umount,
    unshare,
)


class Cgroups:
    """``path`` is where the tree is mounted; units are made as directories in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def unit(self, name: str) -> list[str]:
        """Make a fresh cgroup of this name; returns what to put before a command to run in it.

        One of an earlier life is removed, as systemd does; it must be empty.
        """
        directory = self.path / name
        if directory.exists():
            directory.rmdir()
        directory.mkdir()
        return self.inside(name)

    def inside(self, name: str) -> list[str]:
        """What to put before a command to run it in an existing cgroup."""
        move = 'echo 0 >"$0/cgroup.procs" && exec "$@"'
        return ["/bin/sh", "-c", move, str(self.path / name)]


@contextmanager
def own_cgroups() -> Iterator[Cgroups]:
    """Move this process, which must have one thread, into a cgroup and namespace of its own."""
    assert threading.active_count() == 1
    private_mounts()
    host_root = Path(root())
    before = _membership()
    directory = host_root / f"sockreg-test-{os.getpid()}"
    directory.mkdir()
    namespace = os.open("/proc/self/ns/cgroup", os.O_RDONLY | os.O_CLOEXEC)
    try:
        (directory / "cgroup.procs").write_text("0")
        try:
            unshare(CLONE_NEWCGROUP)
            with tempfile.TemporaryDirectory() as other:
                # By a detour: the same file system over itself is refused (do_add_mount()).
                mount("cgroup2", other, "cgroup2")
                mount(other, str(host_root), flags=MS_BIND)
                umount(other)
            try:
                yield Cgroups(host_root)
            finally:
                umount(str(host_root), MNT_DETACH)
        finally:
            setns(namespace, CLONE_NEWCGROUP)
            (host_root / before.lstrip("/") / "cgroup.procs").write_text("0")
    finally:
        os.close(namespace)
        for path in sorted(directory.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
        directory.rmdir()


def _membership() -> str:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return next(line.removeprefix("0::") for line in lines if line.startswith("0::"))

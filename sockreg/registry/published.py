"""State that writers publish for readers that cannot open the link.

    BPFFS/sockreg/NETNS/published   array map with one element:
        u32  generation     number of the one in force; 0: none, or it is being changed
        u32  status         exit status of the last apply
        u64  attempted      when that was, ns since the epoch; 0: never
        u64  succeeded      when the last successful one was

The kernel opens links and programs only for reading and writing, but maps for every reader of the
pin (bpf_obj_get_user() in kernel/bpf/inode.c). The link remains the truth; this is for readers that
cannot open it. A writer clears the number before it changes the link, and writes the new number
afterwards. If it dies in between, readers find no number rather than a wrong one, and the next
writer publishes it. Callers hold the lock of the generations for everything that writes.
"""

import contextlib
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sockreg.errors import EXIT_OK, SockregError
from sockreg.kernel import bpf, libbpf
from sockreg.registry.directory import LINK, PUBLISHED, UNFINISHED, denied
from sockreg.registry.pins import closing, pin, pinned

_VALUE = struct.Struct("=IIQQ")
_INDEX = bytes(4)
_PATIENCE = 1.0  # s for a change in progress; adding up grown counters takes most of it
_POLL = 0.01  # s


class Published(NamedTuple):
    """See above for the numbers."""

    generation: int
    status: int
    attempted: int
    succeeded: int


NOTHING = Published(0, EXIT_OK, 0, 0)


def read(registry: str) -> Published:
    """Raises SockregError if it cannot be read."""
    try:
        with pinned(f"{registry}/{PUBLISHED}", read_only=True) as fd:
            return _read(fd)
    except FileNotFoundError:
        return NOTHING


def settled(registry: str) -> int | None:
    """The number of the generation in force; None if there is none. Waits for a change to end.

    Raises SockregError if a writer died while it changed the link.
    """
    deadline = time.monotonic() + _PATIENCE
    while _has_link(registry):
        number = read(registry).generation
        if number:
            return number
        if time.monotonic() > deadline:
            raise SockregError(
                "a change of rules was interrupted: only root can find out which generation is "
                "in force",
                "run 'sockreg apply' as root to repair this",
            )
        time.sleep(_POLL)
    return None


def _has_link(registry: str) -> bool:
    try:
        os.stat(f"{registry}/{LINK}")
    except FileNotFoundError:
        return False
    except PermissionError as error:
        raise denied(registry, error) from None
    return True


def publish(registry: str, number: int) -> None:
    """Publish the generation in force; 0 before it changes."""
    with _opened(registry) as fd:
        before = _read(fd)
        if before.generation != number:
            bpf.map_update(fd, _INDEX, _VALUE.pack(*before._replace(generation=number)))


def publish_outcome(registry: str, status: int) -> None:
    """Publish that an apply has just ended with this exit status."""
    now = time.time_ns()
    with _opened(registry) as fd:
        before = _read(fd)
        succeeded = now if status == EXIT_OK else before.succeeded
        after = Published(before.generation, status, now, succeeded)
        bpf.map_update(fd, _INDEX, _VALUE.pack(*after))


def _read(fd: int) -> Published:
    return Published(*_VALUE.unpack(bpf.map_lookup(fd, _INDEX, _VALUE.size) or b""))


@contextlib.contextmanager
def _opened(registry: str) -> Iterator[int]:
    """A descriptor of the map for writing. The map is created if it does not exist."""
    path = Path(registry, PUBLISHED)
    try:
        opened = bpf.obj_get(str(path))
    except FileNotFoundError:
        opened = libbpf.create_array(PUBLISHED, _VALUE.size)
    with closing(opened) as fd:
        if not path.exists():
            # Renamed at the end: an interruption would leave the map closed to the group.
            unfinished = path.with_name(f"{UNFINISHED}{PUBLISHED}")
            unfinished.unlink(missing_ok=True)
            pin(fd, unfinished)
            unfinished.rename(path)
        yield fd

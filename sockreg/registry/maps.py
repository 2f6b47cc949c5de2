"""The pinned maps that registrations write, opened together.

On the companion's start-up path.
"""

import errno
import posix

from sockreg.kernel import bpf
from sockreg.registry.directory import denied, not_loaded


class Maps:
    """Descriptors of the pinned maps that registrations write, closed with the block.

    ``read_only`` requests no more than readers have. Raises NotLoadedError without a registry, and
    AccessError if it cannot be opened.
    """

    def __init__(self, registry: str, *, read_only: bool = False) -> None:
        self.registry = registry
        flags = bpf.READ_ONLY if read_only else bpf.READ_WRITE
        opened: list[int] = []
        try:
            for pin in ("sockets", "pools", "destinations", "members", "units"):
                opened.append(bpf.obj_get(f"{registry}/{pin}", flags))
        except OSError as error:
            for fd in opened:
                posix.close(fd)
            if error.errno == errno.ENOENT:
                raise not_loaded(registry) from None
            if error.errno in (errno.EACCES, errno.EPERM):
                raise denied(registry, error) from None
            raise
        self.sockets, self.pools, self.destinations, self.members, self.units = opened

    def __enter__(self) -> "Maps":
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self.sockets, self.pools, self.destinations, self.members, self.units):
            posix.close(fd)

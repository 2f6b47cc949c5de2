"""The pinned maps that registrations write, opened together.

On the companion's start-up path.
"""

import errno
import posix

from sockreg.kernel import bpf
from sockreg.registry.directory import denied, not_loaded


class Maps:
    """Descriptors of the pinned maps that registrations write; ``close`` them."""

    def __init__(self, registry: str, flags: int = bpf.READ_WRITE) -> None:
        self.registry = registry
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

    def close(self) -> None:
        for fd in (self.sockets, self.pools, self.destinations, self.members, self.units):
            posix.close(fd)

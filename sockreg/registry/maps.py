"""The pinned maps that registrations write, opened together.

On the companion's start-up path.
"""

import errno
import posix

from sockreg.errors import RefusedError
from sockreg.kernel import bpf
from sockreg.printable import shell
from sockreg.registry import layout
from sockreg.registry.directory import DENIED, damaged, denied, is_there, not_loaded

_WRITTEN = ("sockets", "pools", "destinations", "members", "units")


class Maps:
    """Descriptors of the pinned maps that registrations write, closed with the block.

    ``read_only`` requests no more than readers have. Raises NotLoadedError without a registry,
    AccessError if it cannot be opened, and RefusedError if another version of sockreg created it
    with other records: the kernel would read and write beyond ours.
    """

    def __init__(self, registry: str, *, read_only: bool = False) -> None:
        self.registry = registry
        flags = bpf.READ_ONLY if read_only else bpf.READ_WRITE
        opened: list[int] = []
        try:
            for pin in _WRITTEN:
                opened.append(bpf.obj_get(f"{registry}/{pin}", flags))
                refuse_other_layout(registry, pin, opened[-1])
        except RefusedError:
            _close(opened)
            raise
        except OSError as error:
            _close(opened)
            if error.errno == errno.ENOENT and is_there(registry):
                raise damaged(str(error.filename)) from None
            if error.errno == errno.ENOENT:
                raise not_loaded(registry) from None
            if error.errno in DENIED:
                raise denied(registry, error) from None
            raise
        self.sockets, self.pools, self.destinations, self.members, self.units = opened

    def __enter__(self) -> "Maps":
        return self

    def __exit__(self, *_: object) -> None:
        _close([self.sockets, self.pools, self.destinations, self.members, self.units])


def refuse_other_layout(registry: str, pin: str, fd: int) -> None:
    """Raises RefusedError if a map's records are not those of this version of sockreg."""
    if bpf.map_sizes(fd) != layout.SIZES[pin]:
        raise RefusedError(
            f"{registry}/{pin} is not a map of this version of sockreg",
            f"if somebody has put it there: 'rm -f {shell(f'{registry}/{pin}')}', then "
            "'sockreg apply'; if another version has made the registry: 'sockreg unload', then "
            "'systemctl restart sockreg.service', which registers the sockets of started units",
        )


def _close(descriptors: list[int]) -> None:
    for fd in descriptors:
        posix.close(fd)

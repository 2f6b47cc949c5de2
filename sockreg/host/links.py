"""Network interfaces of the calling thread's network namespace."""

import socket
from collections.abc import Iterable


def indices_of(names: Iterable[str]) -> dict[str, int]:
    """The index of each interface by its name, 0 if there is none.

    A name of 15 bytes or less may also be an alternative name (ip-link(8), ``property add``).
    """
    return {name: _index_of(name) for name in names}


def _index_of(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0

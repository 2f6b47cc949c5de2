"""What the servers say, and the sockets they say it on."""

from __future__ import annotations

import os
import socket
from typing import Any

_FIRST_FD = 3  # SD_LISTEN_FDS_START


def passed_sockets() -> list[socket.socket]:
    """The sockets from systemd, their flags untouched."""
    count = int(os.environ["LISTEN_FDS"])
    return [socket.socket(fileno=fd) for fd in range(_FIRST_FD, _FIRST_FD + count)]


def answer(name: str, asked: tuple[Any, ...]) -> bytes:
    """``asked`` is an address as sockets have it: (address, port, ...)."""
    # A dual-stack socket shows IPv4 addresses as mapped ones (RFC 4291, 2.5.5.2).
    address = str(asked[0]).removeprefix("::ffff:")
    where = f"[{address}]" if ":" in address else address
    return f"{name} {where}:{asked[1]}".encode()

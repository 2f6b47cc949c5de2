"""Answers on each passed socket with the port that the socket is bound to.

python3 -m tests.servers.each_port
"""

from __future__ import annotations

import os
import selectors
import socket

FIRST = 3


def main() -> None:
    selector = selectors.DefaultSelector()
    for fd in range(FIRST, FIRST + int(os.environ["LISTEN_FDS"])):
        listener = socket.socket(fileno=fd)
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, listener)
    while True:
        for key, _ in selector.select():
            try:
                connection, _ = key.data.accept()
            except BlockingIOError:
                continue
            with connection:
                connection.sendall(str(key.data.getsockname()[1]).encode())


if __name__ == "__main__":
    main()

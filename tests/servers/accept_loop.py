"""The accept loop of the textbooks: one blocking socket, one connection after the other.

    python3 -m tests.servers.accept_loop NAME [--retry]

It believes that accept(2) waits and dies when it does not. With ``--retry`` it is written
as it should be, and goes back to waiting after EAGAIN.
"""

from __future__ import annotations

import select
import sys

from tests.servers.answer import answer, passed_sockets


def main() -> None:
    name, *options = sys.argv[1:]
    (listener,) = passed_sockets()
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            if "--retry" not in options:
                raise
            select.select([listener], [], [])
            continue
        with connection:
            try:
                connection.sendall(answer(name, connection.getsockname()))
            except ConnectionError:
                continue  # the client went away


if __name__ == "__main__":
    main()

"""The server of one connection, which is its standard output: for Accept=yes.

python3 -m tests.servers.connected NAME
"""

from __future__ import annotations

import socket
import sys

from tests.servers.answer import answer

if __name__ == "__main__":
    with socket.socket(fileno=sys.stdout.fileno()) as connection:
        connection.sendall(answer(sys.argv[1], connection.getsockname()))

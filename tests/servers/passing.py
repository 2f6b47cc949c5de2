"""A server that makes its own socket and passes it to a receiver of the registry.

    python3 -m tests.servers.passing NAME tcp|udp ADDRESS PORT LABEL [PATH]

Talks to the receiver as servers in the field do: one message with the label and a '#', no
longer than a second of waiting, and OK is all it understands. Its answers are those of
tests/servers/answer.py.
"""

from __future__ import annotations

import socket
import sys

from tests.servers.answer import answer

PATH = "/run/sockreg/receive.sock"


def main() -> None:
    name, protocol, address, port, label, *rest = sys.argv[1:]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, int(port)))
        if protocol == "tcp":
            sock.listen()
        pass_socket(rest[0] if rest else PATH, label, sock)
        serve(name, sock)


def pass_socket(path: str, label: str, *sockets: socket.socket) -> None:
    """SystemExit with the receiver's answer unless it is OK."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(1)
        connection.connect(path)
        socket.send_fds(connection, [f"{label}#".encode()], [sock.fileno() for sock in sockets])
        said = connection.recv(4096)
    if said != b"OK":
        sys.exit(f"not registered: {said.decode()}")


def serve(name: str, sock: socket.socket) -> None:
    while True:
        if sock.type == socket.SOCK_DGRAM:
            _, client = sock.recvfrom(65536)
            sock.sendto(answer(name, sock.getsockname()), client)
        else:
            connection, _ = sock.accept()
            with connection:
                connection.sendall(answer(name, connection.getsockname()))


if __name__ == "__main__":
    main()

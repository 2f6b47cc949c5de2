"""A server that opens its own sockets, as told on its standard input.

    python3 -m tests.servers.opener NAME [WORDS]...

Each WORDS is one argument, and each line of standard input the same thing:

    tcp 127.0.0.1 8080 [reuseport] [v6only] [freebind]      listens
    udp :: 53 [reuseport] [v6only] [pktinfo]                is bound
    mptcp 127.0.0.1 8080                                    listens
    bound 127.0.0.1 8080                                    TCP that does not listen
    unix                                                    listens, on an abstract name
    close-first                                             closes the one opened first
    close                                                   closes all

It says ``done`` after each line. Whoever asks it gets its NAME. It ends with its input,
unless it was given WORDS: then it goes on, as a service does.
"""

from __future__ import annotations

import signal
import socket
import sys
from contextlib import ExitStack

from tests.netns import Server

_IPPROTO_MPTCP = 262  # linux/in.h
_OPTIONS = {
    "reuseport": (socket.SOL_SOCKET, socket.SO_REUSEPORT),
    "v6only": (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY),
    "freebind": (socket.IPPROTO_IP, 15),  # IP_FREEBIND, linux/in.h
    "pktinfo": (socket.IPPROTO_IP, 8),  # IP_PKTINFO
}


def open_socket(kind: str, *rest: str) -> socket.socket:
    """The socket that WORDS describe."""
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind("")  # the kernel picks an abstract name (unix(7), autobind)
        sock.listen()
        return sock
    address, port, *options = rest
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    protocol = _IPPROTO_MPTCP if kind == "mptcp" else 0
    sock = socket.socket(
        family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM, protocol
    )
    if kind != "udp":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    for option in options:
        sock.setsockopt(*_OPTIONS[option], 1)
    sock.bind((address, int(port)))
    if kind in ("tcp", "mptcp"):
        sock.listen(100)
    return sock


def main() -> None:
    name, *first = sys.argv[1:]
    servers: list[Server] = []
    with ExitStack() as opened:

        def obey(line: str) -> None:
            if line == "close":
                opened.close()
                return
            if line == "close-first":
                servers.pop(0).close()
                return
            kind, *rest = line.split()
            sock = open_socket(kind, *rest)
            if kind in ("tcp", "udp", "mptcp"):
                servers.append(opened.enter_context(Server(name, sock)))
            else:
                opened.enter_context(sock)

        for words in first:
            obey(words)
        for line in sys.stdin:
            obey(line.strip())
            print("done", flush=True)
        if first:
            signal.pause()


if __name__ == "__main__":
    main()

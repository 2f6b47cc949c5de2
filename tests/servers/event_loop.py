"""An asyncio server on all TCP and UDP sockets that it is given.

    python3 -m tests.servers.event_loop NAME

Its listening sockets are nonblocking, and it hangs where one becomes blocking again.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

from tests.servers.answer import answer, passed_sockets

# linux/in.h, linux/in6.h; absent from Python's socket module
_IP_RECVORIGDSTADDR = 20
_IPV6_RECVORIGDSTADDR = 74


async def main() -> None:
    name = sys.argv[1]

    async def answer_stream(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(name, writer.get_extra_info("sockname")))
        try:
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            return  # the client went away

    for sock in passed_sockets():
        if sock.type == socket.SOCK_STREAM:
            await asyncio.start_server(answer_stream, sock=sock)
        else:
            _ask_for_destinations(sock)
            sock.setblocking(False)
            asyncio.get_running_loop().add_reader(sock, _answer_datagram, name, sock)
    await asyncio.Event().wait()


def _ask_for_destinations(sock: socket.socket) -> None:
    # A dual-stack socket has both: IPv4 packets come with the IPv4 message (udp.c, ipv6/udp.c).
    sock.setsockopt(socket.IPPROTO_IP, _IP_RECVORIGDSTADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVORIGDSTADDR, 1)


def _answer_datagram(name: str, sock: socket.socket) -> None:
    _, messages, _, client = sock.recvmsg(65536, 256)
    asked = next(
        _socket_address(data)
        for level, kind, data in messages
        if (level, kind)
        in (
            (socket.IPPROTO_IP, _IP_RECVORIGDSTADDR),
            (socket.IPPROTO_IPV6, _IPV6_RECVORIGDSTADDR),
        )
    )
    sock.sendto(answer(name, asked), client)


def _socket_address(data: bytes) -> tuple[str, int]:
    """(address, port) of a struct sockaddr_in or sockaddr_in6."""
    family, port = struct.unpack_from("=H", data)[0], struct.unpack_from("!H", data, 2)[0]
    packed = data[4:8] if family == socket.AF_INET else data[8:24]
    return socket.inet_ntop(family, packed), port


if __name__ == "__main__":
    asyncio.run(main())

"""An example server: says over HTTP its name, and the address and port that it was reached at.

It takes any number of TCP sockets from systemd, and knows nothing of rules and labels.
"""

import asyncio
import contextlib
import socket

from sockreg.errors import UsageError
from sockreg.systemd import listen_fds

_PATIENCE = 5.0  # s that a client may take for its request
_REQUEST = 16 << 10  # bytes


def serve(name: str) -> None:
    """Answer on the passed sockets until the process ends.

    Raises UsageError if one of them does not listen for TCP connections.
    """
    listeners = [socket.socket(fileno=fd) for fd, _ in listen_fds.received()]
    for listener in listeners:
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if listener.type != socket.SOCK_STREAM or not listens or listener.family == socket.AF_UNIX:
            raise UsageError(
                "the example server takes TCP sockets that listen",
                "give its .socket unit a ListenStream= with a port",
            )
    asyncio.run(_serve(name, listeners))


async def _serve(name: str, listeners: list[socket.socket]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
            await asyncio.wait_for(reader.read(_REQUEST), _PATIENCE)
            address, port, *_ = writer.get_extra_info("sockname")
            text = f"{name}, reached at {address.removeprefix('::ffff:')} port {port}\n"
            writer.write(f"HTTP/1.0 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
            await writer.drain()
        writer.close()

    servers = [await asyncio.start_server(answer, sock=listener) for listener in listeners]
    await asyncio.gather(*(server.serve_forever() for server in servers))

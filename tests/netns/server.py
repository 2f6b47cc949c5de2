"""A server that answers everything with its own name."""

from __future__ import annotations

import selectors
import socket
import threading

from tests.closing import Closing


class Server(Closing):
    """Answers every connection and datagram on its sockets with its name, until closed.

    A connection is sent the name and closed; a datagram is answered with the name from
    the socket's own address (the kernel's choice when it is bound to the unspecified one).
    ``answered`` counts both, each before its answer is sent. The server owns its sockets:
    close() closes them. Usable as a context manager.
    """

    def __init__(self, name: str, *sockets: socket.socket) -> None:
        self.name = name
        self.sockets = sockets
        self.answered = 0
        self._selector = selectors.DefaultSelector()
        self._stop, self._wake = socket.socketpair()
        self._selector.register(self._wake, selectors.EVENT_READ)
        for sock in sockets:
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"server {name}", daemon=True)
        self._thread.start()

    @property
    def sock(self) -> socket.socket:
        """The server's only, or first, socket."""
        return self.sockets[0]

    @property
    def port(self) -> int:
        """The port its first socket is bound to."""
        port: int = self.sock.getsockname()[1]
        return port

    def close(self) -> None:
        """Stop answering and close the sockets. Closing twice is fine."""
        self._stop.close()
        self._thread.join()
        self._selector.close()
        self._wake.close()
        for sock in self.sockets:
            sock.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if ready is self._wake:
                    return
                try:
                    self._answer(ready)
                # The peer went away between the wake-up and the answer, or answered a
                # datagram with an ICMP error: its own affair.
                except (BlockingIOError, ConnectionError):
                    continue

    def _answer(self, ready: socket.socket) -> None:
        if ready.type == socket.SOCK_DGRAM:
            _, client = ready.recvfrom(65536)
            self.answered += 1
            ready.sendto(self.name.encode(), client)
        else:
            connection, _ = ready.accept()
            self.answered += 1
            with connection:
                connection.setblocking(False)
                connection.sendall(self.name.encode())

"""Clients that see at once what a packet meets, also that nothing comes back.

Server, host and clients are sockets of this process, so who got a packet is seen where it arrived.
A canary tells a dropped packet from a late one: it goes the same way after the packet, there and
back, and nothing overtakes on the queue of one processor. No test waits for a time to pass.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.closing import Closing
from tests.kernel.host import cookie
from tests.netns import TCP, UDP, Namespace

ANSWERED, REFUSED, NOTHING = "answered", "refused", "nothing"
PATIENCE = 30  # s, for what must happen

_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_NO_WAY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES)


@dataclass(frozen=True)
class Found:
    """What a packet met: the cookie of the socket that got it, or empty; what the client saw."""

    landed: str
    answer: str


class Server(Closing):
    """A socket under a name. A ``stuck`` one accepts nobody, and its queue is full."""

    def __init__(self, name: str, sock: socket.socket, *, stuck: bool = False) -> None:
        self.name = name
        self.sock = sock
        self.cookie = cookie(sock)
        self.stuck = stuck
        self._waiting: list[socket.socket] = []
        sock.setblocking(False)

    @property
    def bound(self) -> tuple[object, ...]:
        """What sockets of one SO_REUSEPORT group have in common."""
        v6only = self.sock.family == socket.AF_INET6 and self.sock.getsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_V6ONLY
        )
        return self.sock.type, v6only, *self.sock.getsockname()[:2]

    def fill(self, namespace: Namespace) -> None:
        """Have as many connections wait as the queue takes, unless rules lead them elsewhere."""
        self.sock.listen(0)
        waiting = namespace.new_socket(self.sock.family, socket.SOCK_STREAM)
        waiting.settimeout(1)  # rules may lead it to another one that is stuck
        with contextlib.suppress(OSError):
            waiting.connect(self.sock.getsockname())
        self.stuck = bool(select.select([self.sock], [], [], 0)[0])
        self._waiting.append(waiting)

    def empty(self) -> None:
        """Drop what waits: an answer that rules have led here, or a connection to a stuck one."""
        if self.stuck:
            return
        with contextlib.suppress(OSError):
            while True:
                if self.sock.type == socket.SOCK_DGRAM:
                    self.sock.recv(99)
                else:
                    self.sock.accept()[0].close()

    def close(self) -> None:
        for sock in (*self._waiting, self.sock):
            sock.close()


@contextlib.contextmanager
def on_one_processor() -> Iterator[None]:
    """Packets of this thread wait in one queue. Processes get different processors."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[os.getpid() % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Client(Closing):
    """One end of a way to the host. ``device`` is the host's interface at its other end."""

    def __init__(
        self,
        namespace: Namespace,
        host: Namespace,
        device: str,
        sources: dict[int, str],
        answers_to: str,
    ) -> None:
        self.namespace, self.host, self.device, self.sources = namespace, host, device, sources
        self._there = host.new_socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._here = namespace.new_socket(socket.AF_INET, socket.SOCK_DGRAM)
        for sock, address in (
            (self._there, answers_to),
            (self._here, sources[socket.AF_INET]),
        ):
            sock.settimeout(PATIENCE)
            sock.bind((address, 0))
        # Connected, so that no rule and no program sees it.
        self._there.connect(self._here.getsockname())
        self._here.connect(self._there.getsockname())

    def close(self) -> None:
        self._here.close()
        self._there.close()

    def open(self, family: int, protocol: int, source: str) -> socket.socket:
        """A socket for one packet, whose address is known before it is sent."""
        kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
        sock = self.namespace.new_socket(family, kind)
        if protocol == UDP:
            # A server may answer from another address than the one asked: not connected.
            sock.setsockopt(*_RECVERR[socket.AddressFamily(family)], 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        sock.bind((source, 0))
        sock.setblocking(False)
        return sock

    def settle(self) -> None:
        """Return when all packets that are on their way have arrived."""
        for source, target in ((self._here, self._there), (self._there, self._here)):
            source.send(b"canary")
            assert target.recv(99) == b"canary"

    def meet(
        self, sock: socket.socket, address: str, port: int, servers: Iterable[Server]
    ) -> Found:
        """Send a packet and see what it meets."""
        there = [server for server in servers if server.sock.type == sock.type]
        for server in there:
            server.empty()
        if sock.type == socket.SOCK_STREAM:
            return self._connect(sock, (address, port), there)
        return self._send(sock, (address, port), there)

    def _connect(self, sock: socket.socket, to: tuple[str, int], there: list[Server]) -> Found:
        problem = sock.connect_ex(to)
        if problem in (0, errno.EINPROGRESS):
            self.settle()
            self.settle()
            problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem in _NO_WAY:
            return Found("", NOTHING)
        if problem == errno.ECONNREFUSED:
            return Found("", REFUSED)
        assert problem == 0, os.strerror(problem)
        try:
            sock.getpeername()
        except OSError as error:
            _expect(error, errno.ENOTCONN)
            # A socket bound to another interface may have taken the packet and not the connection.
            return Found("", NOTHING)
        listening = {server.sock: server for server in there if not server.stuck}
        ready, _, _ = select.select(list(listening), [], [], PATIENCE)
        (one,) = ready
        connection, _ = one.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        connection.close()
        return Found(listening[one].cookie, ANSWERED)

    def _send(self, sock: socket.socket, to: tuple[str, int], there: list[Server]) -> Found:
        try:
            sock.sendto(b"?", to)
        except OSError as error:
            _expect(error, *_NO_WAY)
            return Found("", NOTHING)
        self.settle()
        landed = ""
        for server in there:
            try:
                request, client = server.sock.recvfrom(99)
            except BlockingIOError:
                continue
            except ConnectionError:
                continue  # an ICMP error for an earlier answer
            if request != b"?":
                continue  # an answer that rules have led here
            assert not landed, f"{landed} and {server.cookie} got one datagram"
            landed = server.cookie
            try:
                server.sock.sendto(b"!", client)
            except OSError as error:
                # From ::1, or by an interface that is gone, no answer leaves.
                _expect(error, *_NO_WAY, errno.ENODEV, errno.EINVAL)
        self.settle()
        try:
            sock.recv(99)
        except BlockingIOError:
            return Found(landed, NOTHING)
        except ConnectionRefusedError:
            return Found(landed, REFUSED)
        except OSError as error:
            _expect(error, *_NO_WAY)
            return Found(landed, NOTHING)
        return Found(landed, ANSWERED)


def _expect(error: OSError, *numbers: int) -> None:
    if error.errno not in numbers:
        raise error

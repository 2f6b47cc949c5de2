"""An HTTP/3 server on a passed UDP socket: ``quic NAME``, with aioquic.

``GET /SECONDS`` takes that long: a body of small parts. Answers come from the address and the port
that the client has used, by sockets of their own: see docs/udp.md. At SIGTERM it goes on until its
last connection has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import signal
import socket
import struct
import sys
from typing import Any, cast

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, QuicEvent
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_ORIGDSTADDR = (socket.IPPROTO_IP, 20)  # IP_RECVORIGDSTADDR, linux/in.h
_PAUSE = 0.05  # s between the parts of a body
_PART = b"x" * 1000

Address = tuple[str, int]


class Answering(QuicConnectionProtocol):
    """One connection."""

    name = b""
    _http: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        if self._http is not None:
            for told in self._http.handle_event(event):
                self._answer(told)

    def _answer(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            path = dict(event.headers)[b":path"]
            self._sending = asyncio.ensure_future(self._send(event.stream_id, float(path[1:])))

    async def _send(self, stream: int, seconds: float) -> None:
        assert self._http is not None
        self._http.send_headers(stream, [(b":status", b"200"), (b"server", self.name)])
        for _ in range(int(seconds / _PAUSE)):
            self._http.send_data(stream, _PART, end_stream=False)
            self.transmit()
            await asyncio.sleep(_PAUSE)
        self._http.send_data(stream, self.name, end_stream=True)
        self.transmit()


class Steered(asyncio.DatagramTransport):
    """The passed socket, and one for each address and port that clients have used."""

    def __init__(self, passed: socket.socket) -> None:
        super().__init__()
        passed.setsockopt(*_ORIGDSTADDR, 1)
        passed.setblocking(False)
        self._passed = passed
        self._asked: dict[Address, Address] = {}
        self._senders: dict[Address, socket.socket] = {}

    def receive(self, protocol: asyncio.DatagramProtocol) -> None:
        """Hand all waiting datagrams over."""
        while True:
            try:
                data, ancillary, _, client = self._passed.recvmsg(65536, 64)
            except BlockingIOError:
                return
            for level, kind, content in ancillary:
                if (level, kind) == _ORIGDSTADDR:
                    (port,) = struct.unpack_from("!H", content, 2)
                    self._asked[client] = socket.inet_ntoa(content[4:8]), port
            protocol.datagram_received(data, client)

    def sendto(self, data: Any, addr: Any = None) -> None:
        asked = self._asked[addr]
        if asked not in self._senders:
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sender.bind(asked)
            self._senders[asked] = sender
        with contextlib.suppress(ConnectionError):  # the client is gone
            self._senders[asked].sendto(data, addr)

    def close(self) -> None:
        pass


def configured() -> QuicConfiguration:
    """With a certificate that nobody has to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "quic.test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    made = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN, idle_timeout=10)
    made.certificate, made.private_key = certificate, key
    return made


async def serve(name: str) -> None:
    Answering.name = name.encode()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    server = QuicServer(configuration=configured(), create_protocol=Answering)
    transport = Steered(socket.socket(fileno=3))
    server.connection_made(cast("Any", transport))
    loop.add_reader(3, transport.receive, server)
    await stopping.wait()
    while server._protocols:
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))

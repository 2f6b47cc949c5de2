"""HTTP/3 clients that download until a file is there: ``quic_clients SECONDS FILE PARALLEL``.

Each connection is one download from an address and a port of its own choice. Prints how many were
complete and how many broke, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
from collections import Counter
from pathlib import Path

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent

PORTS = range(4430, 4440)


class Client(QuicConnectionProtocol):
    """One download; ``done`` is the name of the server, or empty if the connection ended first."""

    def begin(self, path: str) -> asyncio.Future[str]:
        self._http = H3Connection(self._quic)
        self._server = ""
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        stream = self._quic.get_next_available_stream_id()
        headers = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"quic.test")]
        self._http.send_headers(stream, [*headers, (b":path", path.encode())], end_stream=True)
        self.transmit()
        return self.done

    def quic_event_received(self, event: QuicEvent) -> None:
        if not hasattr(self, "done") or self.done.done():
            return
        if isinstance(event, ConnectionTerminated):
            self.done.set_result("")
            return
        for told in self._http.handle_event(event):
            if isinstance(told, HeadersReceived):
                self._server = dict(told.headers)[b"server"].decode()
            if isinstance(told, DataReceived) and told.stream_ended:
                self.done.set_result(self._server)


async def download(seconds: float) -> str:
    """Who answered; ``broken`` if nobody did to the end."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, idle_timeout=10
    )
    host, port = f"192.0.2.{random.randrange(1, 255)}", random.choice(PORTS)
    try:
        async with connect(
            host, port, configuration=configuration, create_protocol=Client
        ) as client:
            assert isinstance(client, Client)
            return await asyncio.wait_for(client.begin(f"/{seconds}"), 30) or "broken"
    except (ConnectionError, TimeoutError):
        return "broken"


async def main(seconds: float, end: Path, parallel: int) -> None:
    met: Counter[str] = Counter()

    async def one_after_another(first: float) -> None:
        await asyncio.sleep(first)
        while not end.exists():
            met[await download(seconds)] += 1

    await asyncio.gather(*(one_after_another(seconds * at / parallel) for at in range(parallel)))
    print(json.dumps(met))


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))

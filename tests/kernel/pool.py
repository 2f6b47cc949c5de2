"""Servers that share the flows of a label, and clients that tell flow by flow who answered."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from sockreg.errors import EXIT_OK
from tests.kernel.host import Host, Outcome
from tests.netns import TCP, UDP, Server

LABEL = "web"
RULES = [
    f"[{LABEL}]",
    "Bind=tcp 192.0.2.0/24 80",
    "Bind=tcp 2001:db8::/64 80",
    "Bind=udp 192.0.2.0/24 80",
    "Bind=udp 2001:db8::/64 80",
]
ADDRESS = "192.0.2.7"
_FIRST_FLOW = 20000  # source port of flow 0


def unit(number: int) -> str:
    return f"{LABEL}@{number}.socket"


class Pool:
    """Servers ``web1``, ``web2``, ... registered by ``web@1.socket``, ``web@2.socket``, ..."""

    def __init__(self, host: Host, protocol: int = TCP) -> None:
        self.host = host
        self.protocol = protocol
        self._servers = ExitStack()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.close()

    def serve(self, number: int, address: str = "127.0.0.1", **options: Any) -> Server:
        """Start a server without registering it. Its port is the kernel's choice."""
        name = f"{LABEL}{number}"
        server = self.host.namespace.serve(name, address, 0, self.protocol, **options)
        return self._servers.enter_context(server)

    def register(self, number: int, server: Server, *options: str) -> Outcome:
        return self.host.register([(LABEL, server.sock)], *options, unit=unit(number))

    def add(self, number: int, *options: str, address: str = "127.0.0.1") -> Server:
        """Start a server and register it."""
        server = self.serve(number, address)
        outcome = self.register(number, server, *options)
        assert outcome.status == EXIT_OK, outcome.text
        return server

    def remove(self, number: int) -> None:
        """Unregister a server, which goes on listening."""
        self.host.ok("unregister", LABEL, "--unit", unit(number))

    def flows(self, count: int = 500, address: str = ADDRESS) -> list[str]:
        """Who answers each of the first flows; flow N always has the same four numbers.

        TCP flows are asked once an address: afterwards they are in TIME_WAIT.
        """
        return ask_flows(self.host, range(count), address, self.protocol)

    def members(self, family: str = "ipv4") -> dict[str, int]:
        """Unit -> weight of the members that status shows."""
        found = destination(self.host, self.protocol, family)["members"]
        return {member["unit"]: member["weight"] for member in found}


def ask_flows(
    host: Host, flows: Iterable[int], address: str = ADDRESS, protocol: int = UDP
) -> list[str]:
    """The answer to each flow: a connection or a datagram from a source port of its own."""
    with host.namespace.entered():
        return [_ask(address, _FIRST_FLOW + flow, protocol) for flow in flows]


def _ask(address: str, source_port: int, protocol: int) -> str:
    family, source = (socket.AF_INET6, "::1") if ":" in address else (socket.AF_INET, "127.0.0.1")
    kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
    with socket.socket(family, kind) as client:
        client.settimeout(10)
        # An earlier flow from this port, to another address, may be in TIME_WAIT.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((source, source_port))
        try:
            if protocol == TCP:
                client.connect((address, 80))
            else:
                _hear_of_errors(client)
                client.sendto(b"?", (address, 80))
            return client.recv(99).decode()
        except ConnectionRefusedError:
            return "refused"


def _hear_of_errors(client: socket.socket) -> None:
    # IP_RECVERR, IPV6_RECVERR (linux/in.h, linux/in6.h): ICMP errors reach the socket although
    # it is not connected; connected it would not take the answer, which has another source.
    if client.family == socket.AF_INET6:
        client.setsockopt(socket.IPPROTO_IPV6, 25, 1)
    else:
        client.setsockopt(socket.IPPROTO_IP, 11, 1)


def destination(host: Host, protocol: int, family: str = "ipv4") -> Any:
    """What status shows of the label in one family and protocol."""
    key = LABEL, "tcp" if protocol == TCP else "udp", family
    (found,) = (
        d
        for d in host.json("status")["destinations"]
        if (d["label"], d["protocol"], d["family"]) == key
    )
    return found


def moved(before: list[str], after: list[str]) -> float:
    """The part of the flows that another server answers now."""
    return sum(a != b for a, b in zip(before, after, strict=True)) / len(before)

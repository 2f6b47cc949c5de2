"""The sockets that a .socket unit will have: its Listen lines (systemd.socket(5))."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sockreg.config.report import Problem, Report
from sockreg.model import INET, INET6, TCP, UDP, Action, Binding, Place
from sockreg.rules.listener import Port, Ports, Unclear, meant, texts
from sockreg.rules.syntax import format_line
from sockreg.sharing import Listener, by_port
from sockreg.systemd.keyfile import Section
from sockreg.systemd.specifiers import expand_specifiers
from sockreg.systemd.values import port_number

STREAMS = {"ListenStream": TCP, "ListenDatagram": UDP}
# All that make a socket (systemd.socket(5)): rules can steer to the first two.
LISTENS = (*STREAMS, "ListenSequentialPacket", "ListenFIFO", "ListenSpecial", "ListenNetlink",
           "ListenMessageQueue", "ListenUSBFunction")  # fmt: skip
_OF_IPV4 = bytes(10) + b"\xff\xff"  # ::ffff:192.0.2.1; such a socket takes packets of both families


class Listen(NamedTuple):
    """A Listen line of a TCP or UDP socket.

    ``family`` is the socket's own. ``serves`` are the families of the packets that it takes.
    """

    family: int
    serves: tuple[int, ...]
    protocol: int
    address: str
    port: int
    place: Place

    @property
    def local(self) -> str:
        """``127.0.0.1:80`` or ``[::]:80``."""
        return (
            f"[{self.address}]:{self.port}"
            if ":" in self.address
            else (f"{self.address}:{self.port}")
        )


def read_listens(unit: str, sections: Iterable[tuple[str, Section]]) -> list[Listen]:
    """The Listen lines, with specifiers replaced. What systemd or sockreg ignores is left out."""
    lines: list[tuple[int, str, Place]] = []
    settings: dict[str, str] = {}
    for path, section in sections:
        if section.name != "Socket":
            continue
        for line, _, key, value in section.entries:
            if key.startswith("Listen"):
                if not value:
                    lines.clear()  # of all kinds
                elif key in STREAMS:
                    lines.append((STREAMS[key], value, Place(path, line)))
            else:
                settings[key] = value
    if settings.get("SocketProtocol", "") not in ("", "tcp", "udp"):
        return []
    v6only = settings.get("BindIPv6Only", "") == "ipv6-only"
    found = (_listen(protocol, value, unit, v6only, place) for protocol, value, place in lines)
    return [listen for listen in found if listen is not None]


def _listen(protocol: int, value: str, unit: str, v6only: bool, place: Place) -> Listen | None:
    try:
        where = expand_specifiers(value, unit)
    except ValueError:
        return None  # a specifier that only systemd knows
    if ":" not in where:
        where = f"[::]:{where}"
    host, _, text = where.partition("%")[0].rpartition(":")
    number = port_number(text)
    if not number:
        return None  # a path, a name, vsock
    family = INET6 if host.startswith("[") and host.endswith("]") else INET
    try:
        packed = socket.inet_pton(family, host.strip("[]") if family == INET6 else host)
    except (OSError, ValueError):
        return None  # systemd refuses it, too
    address = socket.inet_ntop(family, packed)
    serves: tuple[int, ...] = (family,)
    # The kernel sets IPV6_V6ONLY for addresses other than :: and those of IPv4.
    if family == INET6 and not v6only and (address == "::" or packed.startswith(_OF_IPV4)):
        serves = (INET6, INET)
    return Listen(family, serves, protocol, address, number, place)


def settle_unit(
    unit: str, bindings: list[Binding], ports: Mapping[tuple[int, int], Ports], report: Report
) -> list[Binding]:
    """A unit's rules with the listeners that they mean. Those that mean none become problems."""
    settled = []
    for binding in bindings:
        there = ports.get((binding.family, binding.protocol))
        if binding.action is not Action.BIND or not there:
            settled.append(binding)
            continue
        problem = ""
        if not binding.listener:
            found = meant(binding, [there])
            if found is None:
                problem = str(Unclear(binding, texts({unit: there})))
            else:
                binding = binding._replace(listener=found)
        elif binding.listener not in there:
            listens = " and ".join(texts({unit: there}))
            problem = f"no listener of {unit} has port {binding.listener}; there are {listens}"
        elif len(there[binding.listener].listeners) > 1:
            problem = str(Unclear(binding, texts({unit: there})))
        if problem:
            report.problems.append(Problem(binding.place, f"{format_line(binding)}: {problem}"))
        else:
            settled.append(binding)
    return settled


def ports_of(listens: list[Listen]) -> dict[tuple[int, int], Ports]:
    """By (family of packets, protocol): the ports by which rules tell the listeners apart."""
    listeners = [Listener(at.family, at.serves, at.protocol, at.address, at.port) for at in listens]
    return {
        (family, protocol): {
            port: Port(
                [listens[at].local for at in positions],
                native=listens[positions[0]].family == family,
            )
            for port, positions in ports.items()
        }
        for (family, protocol), ports in by_port(listeners).items()
    }

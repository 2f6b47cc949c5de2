"""The ways to bring packets to a socket, each in a network namespace of its own.

All receive the same frames, for port 80 of 192.0.2.1 and of 3fff::1, over a veth pair
of their own from one sender, and differ in how the packets come to their socket:

- ordinary: it is bound to that address and port, or to all addresses and that port;
- steered by sockreg, by design (c), by nft TPROXY, by nft redirect: it is bound to another;
- attached and registered: an ordinary socket again, with a program in the way.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from sockreg.config.ruleset import read_rule_set
from sockreg.kernel import libbpf
from sockreg.model import Action, Destination
from sockreg.terms import FIRST_SLOT
from tests import large_rulesets
from tests.bench import peer
from tests.bench.frames import MAC
from tests.bench.ground import Ground, ground
from tests.netns import TCP, UDP, Namespace, connect
from tests.process import run

TARGETS = {4: "192.0.2.1", 6: "3fff::1"}
SOURCES = {4: "198.18.0.1", 6: "2001:2::1"}  # RFC 2544, RFC 5180: for benchmarks
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
PORT = 80
ELSEWHERE = 8080
RULES = 1_000  # that sockreg and design (c) hold besides those of the flood

ORDINARY = "ordinary socket, no program"
WILDCARD = "ordinary socket, bound to all addresses"
EMPTY = "an empty program attached"
ATTACHED = "sockreg attached, no rule matches"
REGISTERED = "sockreg attached, socket registered"
STEERED = "steered by sockreg"
PEER = "steered by design (c)"
TPROXY = "steered by nft tproxy"
REDIRECT = "steered by nft redirect"

_PROTOCOLS = {TCP: "tcp", UDP: "udp"}
_PREFIXES = {4: "192.0.2.0/24", 6: "3fff::/64"}
_WHERE = {4: "198.18.0.0/15", 6: "2001:2::/48"}
_OWN = ("198.51.100.1/24", "2001:db8:1::1/64")  # of the receiving device, for redirect
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}
_ANY = {4: "0.0.0.0", 6: "::"}
_LABEL = "flood"
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75  # linux/in.h, linux/in6.h

_TPROXY = """
table inet bench {
    chain prerouting {
        type filter hook prerouting priority mangle;
        ip daddr 192.0.2.0/24 tcp dport 80 tproxy ip to 127.0.0.1:8080 accept
        ip daddr 192.0.2.0/24 udp dport 80 tproxy ip to 127.0.0.1:8080 accept
        ip6 daddr 3fff::/64 tcp dport 80 tproxy ip6 to [::1]:8080 accept
        ip6 daddr 3fff::/64 udp dport 80 tproxy ip6 to [::1]:8080 accept
    }
}
"""
_REDIRECT = """
table inet bench {
    chain here {
        ip daddr 192.0.2.0/24 tcp dport 80 redirect to :8080
        ip daddr 192.0.2.0/24 udp dport 80 redirect to :8080
        ip6 daddr 3fff::/64 tcp dport 80 redirect to :8080
        ip6 daddr 3fff::/64 udp dport 80 redirect to :8080
    }
    chain prerouting {
        type nat hook prerouting priority dstnat;
        jump here
    }
    chain output {
        type nat hook output priority -100;
        jump here
    }
}
"""


class Contender(NamedTuple):
    """``device`` is the sender's end of the way to it. ``program`` is the id of its program.

    ``sockets`` are where the packets should come to.
    """

    name: str
    namespace: Namespace
    device: str
    program: int | None
    sockets: list[socket.socket]

    def listener(self, version: int) -> socket.socket:
        """The listening socket of an IP version."""
        (found,) = (
            sock
            for sock in self.sockets
            if sock.type == socket.SOCK_STREAM and sock.family == FAMILIES[version]
        )
        return found


class _Scene(NamedTuple):
    """What the contenders share, and what is to be undone at the end."""

    stack: ExitStack
    here: Ground
    directory: Path
    built: Path  # the object of peer.py


@contextmanager
def contenders(sender: Namespace) -> Iterator[list[Contender]]:
    """All of them, ready to receive what is sent over their devices of ``sender``."""
    ways: dict[str, Callable[[_Scene, Namespace], list[socket.socket]]] = {
        ORDINARY: _ordinary,
        WILDCARD: _wildcard,
        EMPTY: _empty,
        ATTACHED: _attached,
        REGISTERED: _registered,
        STEERED: _steered,
        PEER: _peer,
        TPROXY: _tproxy,
        REDIRECT: _redirect,
    }
    with ExitStack() as stack:
        here = stack.enter_context(ground())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sockreg-bench-")))
        scene = _Scene(stack, here, directory, peer.build(directory))
        found = []
        for number, (name, way) in enumerate(ways.items()):
            device = f"to{number}"
            receiver = _receiver(stack, sender, device)
            sockets = way(scene, receiver)
            programs = libbpf.attached_programs(receiver.fd)
            program = programs[0] if programs else None
            found.append(Contender(name, receiver, device, program, sockets))
        yield found


def _receiver(stack: ExitStack, sender: Namespace, device: str) -> Namespace:
    """A namespace that takes the frames, and sends answers where they vanish."""
    receiver = stack.enter_context(Namespace())
    connect(sender, device, receiver, "eth0")
    receiver.run("ip", "link", "set", "eth0", "address", MAC)
    for address in _OWN:
        receiver.add_address(address, "eth0")
    # The answers leave by a device whose other end is down, and vanish there.
    receiver.run("ip", "link", "add", "away", "type", "veth", "peer", "name", "nobody")
    receiver.run("ip", "link", "set", "away", "up", "arp", "off")
    for version, prefix in _WHERE.items():
        receiver.run("ip", "route", "add", prefix, "dev", "away")
        receiver.add_local(_PREFIXES[version])
    for name in ("all", "eth0"):
        receiver.sysctl(f"net.ipv4.conf.{name}.rp_filter", "0")
    # A cookie for every SYN (tcp(7) has 0 and 1, ip-sysctl.rst has 2): each costs the same,
    # none leaves anything behind, and no backlog is ever full.
    receiver.sysctl("net.ipv4.tcp_syncookies", "2")
    receiver.sysctl("net.ipv6.ip_nonlocal_bind", "1")
    return receiver


def _sockets(
    scene: _Scene, receiver: Namespace, addresses: dict[int, str], port: int
) -> list[socket.socket]:
    """TCP and UDP, IPv4 and IPv6. Nobody reads: what is measured is the way there."""
    return [
        scene.stack.enter_context(receiver.listen(addresses[version], port, protocol, v6only=True))
        for protocol in _PROTOCOLS
        for version in (4, 6)
    ]


def _ordinary(scene: _Scene, receiver: Namespace) -> list[socket.socket]:
    return _sockets(scene, receiver, TARGETS, PORT)


def _wildcard(scene: _Scene, receiver: Namespace) -> list[socket.socket]:
    return _sockets(scene, receiver, _ANY, PORT)


def _empty(scene: _Scene, receiver: Namespace) -> list[socket.socket]:
    _attach(scene, receiver, peer.load(scene.built, peer.EMPTY), peer.EMPTY)
    return _ordinary(scene, receiver)


def _attach(scene: _Scene, receiver: Namespace, loaded: libbpf.Object, program: str) -> None:
    """Attach a program that is not in a registry."""
    scene.stack.callback(os.close, libbpf.create_link(loaded.program_fd(program), receiver.fd))


def _attached(scene: _Scene, receiver: Namespace) -> list[socket.socket]:
    _load(scene, receiver, large_rulesets.mixed(RULES, ranges=False))
    return _ordinary(scene, receiver)


def _registered(scene: _Scene, receiver: Namespace) -> list[socket.socket]:
    place = _load(scene, receiver, large_rulesets.mixed(RULES, ranges=False))
    return _register(place, _ordinary(scene, receiver))


def _steered(scene: _Scene, receiver: Namespace) -> list[socket.socket]:
    place = _load(scene, receiver, _rules())
    return _register(place, _sockets(scene, receiver, _LOOPBACK, ELSEWHERE))


def _rules() -> list[str]:
    return [
        *large_rulesets.mixed(RULES, ranges=False),
        f"[{_LABEL}]",
        *(
            f"Bind={protocol} {prefix} {PORT}"
            for protocol in _PROTOCOLS.values()
            for prefix in _PREFIXES.values()
        ),
    ]


def _load(scene: _Scene, receiver: Namespace, rules: Sequence[str]) -> Ground:
    place = Ground(receiver, scene.here.bpffs, scene.directory / f"root{receiver.fd}")
    place.configure(rules)
    place.run("load")
    return place


def _register(place: Ground, sockets: list[socket.socket]) -> list[socket.socket]:
    for number, sock in enumerate(sockets):
        place.register(_LABEL, sock, f"flood@{number}.socket")
    return sockets


def _peer(scene: _Scene, receiver: Namespace) -> list[socket.socket]:
    root = scene.directory / "peer"
    Ground(receiver, scene.here.bpffs, root).configure(_rules())
    bindings = [b for b in read_rule_set(str(root)).bindings if b.action is Action.BIND]
    destinations = dict.fromkeys(binding.destination for binding in bindings)
    slots = {it: slot for slot, it in enumerate(destinations, FIRST_SLOT)}
    loaded = peer.load(scene.built, peer.PEER, len(bindings))
    peer.bind(loaded, bindings, slots)
    sockets = _sockets(scene, receiver, _LOOPBACK, ELSEWHERE)
    for sock in sockets:
        protocol = TCP if sock.type == socket.SOCK_STREAM else UDP
        slot = slots[Destination(_LABEL, sock.family, protocol)]
        peer.register(loaded, slot, sock.fileno())
    _attach(scene, receiver, loaded, peer.PEER)
    return sockets


def _tproxy(scene: _Scene, receiver: Namespace) -> list[socket.socket]:
    sockets = _sockets(scene, receiver, _LOOPBACK, ELSEWHERE)
    for sock in sockets:
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    _nft(receiver, _TPROXY)
    return sockets


def _redirect(scene: _Scene, receiver: Namespace) -> list[socket.socket]:
    _nft(receiver, _REDIRECT)
    return _sockets(scene, receiver, _ANY, ELSEWHERE)


def _nft(receiver: Namespace, text: str) -> None:
    with receiver.entered():
        run(["nft", "-f", "-"], text=text)

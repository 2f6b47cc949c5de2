"""A host whose state changes at random: rules, sockets, neighbours in the kernel, interfaces.

Everything that happens is determined by the seed. ``history`` says what has happened.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import cast

import pytest

from sockreg.model import Binding
from tests.closing import Closing
from tests.kernel.foreign import NAMES, Foreign
from tests.kernel.host import Host, cookie
from tests.netns import TCP, UDP, Namespace, bpffs
from tests.netns import Server as NamedServer
from tests.oracle import reading
from tests.truth.wire import Client, Server

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)
NAME_OF = {TCP: "tcp", UDP: "udp"}
PORTS = (80, 81, 90)
REDIRECTED = 9090
# The last two are not local: of another network, and of a neighbour that is not there.
ADDRESSES = {
    V4: ("192.0.2.1", "192.0.2.9", "198.51.100.1", "203.0.113.7", "198.51.100.7"),
    V6: ("2001:db8::1", "2001:db8::9", "2001:db8:1::1", "2001:db8:5::7", "2001:db8:1::7"),
}
PREFIXES = {
    V4: (
        "192.0.2.0/24",
        "192.0.2.0/29",
        "192.0.2.9",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "0.0.0.0/0",
    ),
    V6: (
        "2001:db8::/64",
        "2001:db8::/125",
        "2001:db8::9",
        "2001:db8:1::/64",
        "2001:db8:5::/64",
        "::/0",
    ),
}
# The same in other words. Sets have prefixes of both families, or of one.
WRITTEN = {
    V4: (
        "192.0.2.1-192.0.2.9",
        "192.0.2.9,198.51.100.0-198.51.100.99",
        "@near4",
        "@near4,192.0.2.1",
    ),
    V6: ("2001:db8::1-2001:db8::9", "2001:db8::9,2001:db8:1::/64", "@near6", "@near6,2001:db8::1"),
}
MIXED = ("@all", "@all,203.0.113.0/24", "@none")
MEMBERS = {
    "near4": (
        "192.0.2.0/24",
        "192.0.2.8-192.0.2.15",
        "198.51.100.1",
        "192.0.2.1/25",
        "file:{}/4.txt",
    ),
    "near6": ("2001:db8::/64", "2001:db8::8-2001:db8::f", "2001:db8:1::1", "2001:db8::1/126"),
    "all": ("@near4", "@near6", "203.0.113.7", "0.0.0.0/0", "::/0"),
}
HOSTS = "# two\n192.0.2.9  # one\n192.0.2.0/30"
SOURCES = {V4: ("198.51.100.0/24", "198.51.101.2"), V6: ("2001:db8:1::/64", "2001:db8:2::2")}
NEAR6 = "2001:db8:9::1"  # of this host's own client: what ::1 sends arrives by lo alone
LABELS = ("web", "shared", "mail", "group", "empty")
LISTENERS = (8143, 8993)  # of label mail
_BINDTODEVICE = 25
# The host's ends of both ways and the clients', in both families.
WAYS = {
    "eth0": ("198.51.100.1", "198.51.100.2", "2001:db8:1::1", "2001:db8:1::2"),
    "eth1": ("198.51.101.1", "198.51.101.2", "2001:db8:2::1", "2001:db8:2::2"),
}
# Of a chain: what it is, and its rules.
_INPUT = "in {{ type filter hook input priority 0 ; }}"
FILTERS = (
    (_INPUT, "in {match} drop"),
    (_INPUT, "in {match} reject{how}"),
    ("pre {{ type nat hook prerouting priority -100 ; }}", "pre {match} redirect to :9090"),
    ("pre {{ type filter hook prerouting priority -300 ; }}", "pre {match} counter drop"),
    (_INPUT, "more {match} drop", 'in iifname != "lo" jump more'),
    (
        "in {{ type filter hook input priority 5 ; policy drop ; }}",
        "in {match} counter",
        "in meta l4proto {{ tcp, udp }} th dport != 81 accept",
        "in ct state established,related accept",
        "in meta l4proto {{ icmp, ipv6-icmp }} accept",
    ),
)


class World(Closing):
    """``servers`` are all sockets that may get a packet, by the name that tells who got it."""

    def __init__(self, seed: str, directory: Path) -> None:
        self.rng = Random(seed)
        self.history = [f"seed {seed}"]
        self.servers: dict[str, Server] = {}
        self.loaded = False
        self.meant: list[Binding] = []  # the rules in force, as tests/oracle/reading.py reads them
        self.follows_interfaces = True  # since the last change of one
        self.foreign: list[Foreign] = []
        self._members: dict[str, tuple[str, str]] = {}  # of a server: label and unit
        self._numbers = itertools.count(1)
        self._ports = itertools.count(7001)
        self._directory = directory
        self._stack = contextlib.ExitStack()
        self.clients: dict[str, Client] = {}
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            self._build()
            stack.pop_all()
        self._ops: list[tuple[int, Callable[[], str]]] = [
            (8, self.change_rules),
            (8, self.register_one),
            (3, self.open_ordinary),
            (4, self.close_one),
            (2, self.shut_one_down),
            (2, self.connect_one),
            (2, self.drain),
            (1, self.unregister),
            (1, self.register_stuck),
            (3, self.add_filter),
            (2, self.remove_filters),
            (2, self.attach_foreign),
            (2, self.detach_foreign),
            (2, self.remake_interface),
            (2, self.look_at_interfaces),
            (1, self.change_routes),
            (1, self.take_out_of_force),
        ]

    def close(self) -> None:
        self._stack.close()

    def _build(self) -> None:
        here = self._stack.enter_context(Namespace())
        mounted = self._stack.enter_context(bpffs())
        patch = self._stack.enter_context(pytest.MonkeyPatch.context())
        root = self._directory / f"root{id(self)}"
        root.mkdir()
        self.host = self._stack.enter_context(contextlib.closing(Host(here, mounted, root, patch)))
        here.sysctl("net.ipv6.ip_nonlocal_bind", "1")
        # Each refusal is to be seen, however many there are.
        here.sysctl("net.ipv4.icmp_ratelimit", "0")
        here.sysctl("net.ipv6.icmp.ratelimit", "0")
        self._batch(
            here,
            "route add local 192.0.2.0/24 dev lo",
            "route add local 2001:db8::/64 dev lo",
            f"address add {NEAR6}/128 dev lo nodad",
        )
        self.ways = {device: self._stack.enter_context(Namespace()) for device in WAYS}
        for device in WAYS:
            self._connect(device)
        self.clients["lo"] = Client(here, here, "lo", {V4: "127.0.0.1", V6: NEAR6}, "127.0.0.1")
        self._stack.callback(self._close_all)
        self.change_rules()
        self._load()
        for _ in range(12):
            self.history.append(self.register_one())
        for _ in range(5):
            self.history.append(self.open_ordinary())

    def _close_all(self) -> None:
        for thing in (*self.foreign, *self.servers.values(), *self.clients.values()):
            thing.close()

    def step(self) -> None:
        """Change one thing."""
        weights, ops = zip(*self._ops, strict=True)
        (op,) = self.rng.choices(ops, weights)
        self.history.append(op())

    # Interfaces and routes

    def _batch(self, namespace: Namespace, *commands: str) -> None:
        script = self._directory / "batch"
        script.write_text("\n".join(commands) + "\n")
        namespace.run("ip", "-batch", str(script))

    def _connect(self, device: str) -> None:
        here, there = self.host.namespace, self.ways[device]
        near4, far4, near6, far6 = WAYS[device]
        mine, theirs = ("02:00:00:00:00:01", "02:00:00:00:00:02")
        link = f"link add {device} address {mine} type veth peer name eth0 address {theirs}"
        self._batch(
            here,
            f"{link} netns {there.path}",
            f"link set {device} up",
            f"address add {near4}/24 dev {device}",
            f"address add {near6}/64 dev {device} nodad",
            f"neigh replace {far4} lladdr {theirs} dev {device} nud permanent",
            f"neigh replace {far6} lladdr {theirs} dev {device} nud permanent",
        )
        # Neighbours that are known cost no question: no packet overtakes another.
        known = [near4, near6]
        known += ["198.51.100.7", "2001:db8:1::7"] if device == "eth0" else []
        self._batch(
            there,
            "link set lo up",
            "link set eth0 up",
            f"address add {far4}/24 dev eth0",
            f"address add {far6}/64 dev eth0 nodad",
            *(f"neigh replace {each} lladdr {mine} dev eth0 nud permanent" for each in known),
            f"route add default via {near4}",
            f"route add ::/0 via {near6}",
        )
        self.clients[device] = Client(there, here, device, {V4: far4, V6: far6}, near4)

    def remake_interface(self) -> str:
        self.follows_interfaces = False
        if "eth1" in self.clients:
            self.clients.pop("eth1").close()
            self.host.namespace.run("ip", "link", "del", "eth1")
            if self.rng.random() < 0.5:
                return "eth1 is gone"
        self._connect("eth1")
        return "eth1 is made again"

    def look_at_interfaces(self) -> str:
        self.host.run("apply", "--interfaces")
        self.follows_interfaces = self.loaded
        return "apply --interfaces"

    def change_routes(self) -> str:
        verb = self.rng.choice(("add", "del"))
        for prefix in ("203.0.113.0/24", "2001:db8:5::/64"):
            words = ("ip", "route", verb, "local", prefix, "dev", "lo")
            self.host.namespace.run(*words, check=False)
        return f"route {verb} for what is not local"

    # Rules

    def change_rules(self) -> str:
        lines = self.rules()
        self.host.conf(*lines)
        self.host.conf(HOSTS, name="4.txt")
        if self.loaded:
            outcome = self.host.run("apply")
            if outcome.status == 0:
                self._note_rules()
            return f"apply ({outcome.status}): {' | '.join(lines)}"
        self.history.append(" | ".join(lines))
        return "rules are written"

    def rules(self) -> list[str]:
        """Sections of a configuration, without rules that tie."""
        rng = self.rng
        sets = ["[:prefixes]", "none="]
        for name, members in MEMBERS.items():
            chosen = rng.sample(members, rng.choice((1, 1, 2)))
            sets.append(f"{name}={' '.join(chosen).format('/etc/sockreg')}")
        lines, taken = [], set[tuple[object, ...]]()
        for _ in range(rng.choice((4, 20, 40, 60))):
            rule = self._rule()
            text = "\n".join([*sets, *rule])
            files = {"/rules.conf": text, "/etc/sockreg/4.txt": HOSTS}
            parts = {it.matched for it in reading.read(files, 0)}
            if not parts & taken:
                taken |= parts
                lines += rule
        return [*sets, *lines]

    def _rule(self) -> list[str]:
        """A section with one line."""
        rng = self.rng
        family = rng.choice((V4, V6))
        protocol = rng.choice(("tcp", "udp"))
        ports = rng.choice(("80", "80", "80", "81", "80-81", "*", "9090", "81,9090", "http,90"))
        if protocol == "udp":
            ports = ports.replace("http", "kerberos")
        source = f" from {rng.choice(SOURCES[family])}" if rng.random() < 0.2 else ""
        device = f" dev {rng.choice(('eth0', 'eth1', 'absent0', 'lo'))}"
        device = device if rng.random() < 0.25 else ""
        prefix = rng.choice((*PREFIXES[family], *WRITTEN[family]))
        if rng.random() < 0.1:
            prefix, source = rng.choice(MIXED), ""
        label = rng.choice(LABELS)
        kind = rng.choice(("Bind",) * 6 + ("Reject", "Pass"))
        to = f" to {rng.choice(LISTENERS)}" if (kind, label) == ("Bind", "mail") else ""
        missing = " missing=pass" if kind == "Bind" and rng.random() < 0.25 else ""
        until = f" until={rng.choice(('2001', '2199'))}-01-02T03:04:05Z"
        until = until if rng.random() < 0.1 else ""
        return [
            f"[{label}]",
            f"{kind}={protocol} {prefix} {ports}{to}{source}{device}{missing}{until}",
        ]

    def take_out_of_force(self) -> str:
        if self.loaded:
            keep = self.rng.choice(([], ["--keep"]))
            self.host.ok("unload", *keep)
            if not keep:
                self._members.clear()
            self.loaded = False
            self.meant = []
            return f"unload {' '.join(keep)}"
        self._load()
        return "load"

    def _load(self) -> None:
        self.host.ok("load")
        self.loaded = True
        self._note_rules()

    def _note_rules(self) -> None:
        paths = (self.host.root / "etc/sockreg").iterdir()
        files = {f"/etc/sockreg/{path.name}": path.read_text() for path in paths}
        self.meant = reading.read(files, time.time())
        self.follows_interfaces = True

    # Sockets

    def _open(
        self, name: str, address: str, port: int, protocol: int, *, device: str = "",
        v6only: bool = False, reuseport: bool = False,
    ) -> Server | None:  # fmt: skip
        family = V6 if ":" in address else V4
        kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
        sock = self.host.namespace.new_socket(family, kind)
        if family == V6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        if protocol == TCP:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuseport:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            if device:
                sock.setsockopt(socket.SOL_SOCKET, _BINDTODEVICE, device.encode())
            sock.bind((address, port))
        except OSError:
            sock.close()  # taken, or the interface is not there
            return None
        if protocol == TCP:
            sock.listen(99)
        server = Server(name, sock)
        self.servers[cookie(sock)] = server
        return server

    def register_one(self) -> str:
        rng = self.rng
        protocol = rng.choice((TCP, UDP))
        label = rng.choice(("web", "shared", "shared", "mail", "group"))
        address = rng.choice(("::", "0.0.0.0", "127.0.0.1", "::1"))
        number = next(self._numbers)
        device = rng.choice(("", "", "", "", "eth0", "eth1"))
        if label == "mail":
            opened = [
                self._open(f"mail{number}", address, port, protocol, v6only=address == "::")
                for port in LISTENERS
            ]
            unit = "mail.service"
        elif label == "group":
            port = next(self._ports)
            opened = [
                self._open(f"group{number}", address, port, protocol, reuseport=True)
                for _ in range(3)
            ]
            unit = "group.service"
        else:
            opened = [
                self._open(f"{label}{number}", address, next(self._ports), protocol, device=device)
            ]
            unit = f"shared@{number}.socket" if label == "shared" else "web.socket"
        there = [server for server in opened if server is not None]
        if not there:
            return f"{label} could not be opened"
        # One socket of a group, or all that are known.
        registered = there[:1] if label == "group" and rng.random() < 0.3 else there
        outcome = self.host.register([(label, each.sock) for each in registered], unit=unit)
        for each in registered:
            self._members[cookie(each.sock)] = (label, unit)
        what = f"{NAME_OF[protocol]} {address}{'%' + device if device else ''}"
        return f"register {label} {there[0].name} {what} ({outcome.status})"

    def register_stuck(self) -> str:
        number = next(self._numbers)
        server = self._open(f"stuck{number}", "127.0.0.1", next(self._ports), TCP)
        assert server is not None
        server.fill(self.host.namespace)
        outcome = self.host.register([("shared", server.sock)], unit=f"shared@{number}.socket")
        self._members[cookie(server.sock)] = ("shared", f"shared@{number}.socket")
        full = "is full" if server.stuck else "is not full"
        return f"register shared {server.name}, whose queue {full} ({outcome.status})"

    def open_ordinary(self) -> str:
        rng = self.rng
        protocol, number = rng.choice((TCP, UDP)), next(self._numbers)
        address = rng.choice(("::", "0.0.0.0", "192.0.2.9", "2001:db8::9", "198.51.100.1"))
        port = rng.choice((*PORTS, REDIRECTED, REDIRECTED))
        device = rng.choice(("", "", "", "eth0"))
        v6only = rng.random() < 0.5
        name = f"plain{number}"
        if rng.random() < 0.2:
            opened = [
                self._open(name, address, port, protocol, v6only=v6only, reuseport=True)
                for _ in range(2)
            ]
        else:
            opened = [self._open(name, address, port, protocol, device=device, v6only=v6only)]
        bound = f"{NAME_OF[protocol]} {address}{'%' + device if device else ''} {port}"
        return f"open {name} {bound} ({sum(one is not None for one in opened)})"

    def _any(self, *, registered: bool = False, protocol: int = 0) -> str | None:
        wanted = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM}.get(protocol)
        found = [
            each
            for each, server in self.servers.items()
            if (not registered or each in self._members)
            and (wanted is None or server.sock.type == wanted)
            and server.name != "theirs"
        ]
        return self.rng.choice(found) if found else None

    def close_one(self) -> str:
        which = self._any(registered=self.rng.random() < 0.7)
        if which is None:
            return "nothing to close"
        server = self.servers.pop(which)
        self._members.pop(which, None)
        server.close()
        return f"close {server.name} {which}"

    def shut_one_down(self) -> str:
        which = self._any(registered=True, protocol=TCP)
        if which is None:
            return "nothing to shut down"
        with contextlib.suppress(OSError):
            self.servers[which].sock.shutdown(socket.SHUT_RDWR)
        self.servers[which].stuck = True
        return f"shut down {self.servers[which].name} {which}"

    def connect_one(self) -> str:
        """A UDP server takes one peer for good."""
        which = self._any(registered=self.rng.random() < 0.7, protocol=UDP)
        if which is None:
            return "nothing to connect"
        sock = self.servers[which].sock
        peer = {V4: "127.0.0.9", V6: "::1"}[int(sock.family)]
        try:
            sock.connect((peer, 9))
        except OSError:
            return "could not connect"
        return f"connect {self.servers[which].name} {which}"

    @contextlib.contextmanager
    def connected(self, client: Client, sock: socket.socket, port: int) -> Iterator[str]:
        """A server with a connected UDP socket for this client alone; yields its cookie."""
        family = int(sock.family)
        mine = self.host.namespace.new_socket(family, socket.SOCK_DGRAM)
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        address = ADDRESSES[family][0]
        try:
            mine.bind((address, port))
            mine.connect(sock.getsockname()[:2])
        except OSError:
            mine.close()
            yield ""
            return
        name = cookie(mine)
        self.servers[name] = Server("connected", mine)
        try:
            yield name
        finally:
            self.servers.pop(name).close()

    def drain(self) -> str:
        label = self.rng.choice(("web", "shared"))
        weight = self.rng.choice(("0", "0", "50"))
        outcome = self.host.run("weight", label, weight)
        return f"weight {label} {weight} ({outcome.status})"

    def unregister(self) -> str:
        label = self.rng.choice(LABELS)
        outcome = self.host.run("unregister", label)
        return f"unregister {label} ({outcome.status})"

    # Neighbours in the kernel

    def add_filter(self) -> str:
        rng = self.rng
        family = rng.choice((V4, V6))
        of = rng.choice(("inet", "ip" if family == V4 else "ip6"))
        name = rng.choice(("tcp", "udp"))
        word = "ip" if family == V4 else "ip6"
        match = rng.choice(
            (
                f"{name} dport 80",
                f"{name} dport {{ 80, 90 }}",
                f"{name} dport 80-85",
                f"iifname eth0 {name} dport 80",
                f"{word} daddr {PREFIXES[family][0]} {name} dport 80",
                f"{word} saddr {SOURCES[family][0]} {name} dport 80",
                f"{word} daddr != {ADDRESSES[family][0]} {name} dport 80",
            )
        )
        how = " with tcp reset" if name == "tcp" else ""
        number = next(self._numbers)
        chain, *rules = (each.format(match=match, how=how) for each in rng.choice(FILTERS))
        table = f"{of} t{number}"
        lines = [f"add table {table}", f"add chain {table} {chain}", f"add chain {table} more"]
        lines += [f"add rule {table} {rule}" for rule in rules]
        path = self._directory / "nft"
        path.write_text("\n".join(lines) + "\n")
        self.host.namespace.run("nft", "-f", str(path))
        return f"nft {lines}"

    def remove_filters(self) -> str:
        self.host.namespace.run("nft", "flush", "ruleset")
        return "nft flush ruleset"

    def attach_foreign(self) -> str:
        if len(self.foreign) > 2:
            return "enough other programs"
        name = self.rng.choice(NAMES)
        protocol = self.rng.choice((TCP, UDP))
        address = self.rng.choice(("::", "0.0.0.0"))
        server = self._open("theirs", address, next(self._ports), protocol)
        other = Foreign(
            self.host.namespace, self._directory, name, cast("NamedServer | None", server)
        )
        self.foreign.append(other)
        return f"attach {other} with {NAME_OF[protocol]} {address}"

    def detach_foreign(self) -> str:
        if not self.foreign:
            return "no other program"
        other = self.foreign.pop(self.rng.randrange(len(self.foreign)))
        assert other.server is not None
        self.servers.pop(cookie(other.server.sock))
        other.close()
        return f"detach {other}"

"""The facts that the checks use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from sockreg.check.probe import Probe, Visit
from sockreg.commands.unfinished import Before
from sockreg.config.report import Problem
from sockreg.config.ruleset import RuleSet
from sockreg.config.unit import Setting as Setting
from sockreg.config.unit import Unit as Unit
from sockreg.grants import Grant
from sockreg.host.links import Above
from sockreg.host.queues import Jam
from sockreg.model import Action, Binding, Destination, Place
from sockreg.printable import shell, shell_words
from sockreg.registry.attachment import Other
from sockreg.rules.byport import ByPort
from sockreg.terms import adding_unit, companion
from sockreg.views.ahead import Filter
from sockreg.views.situation import Situation
from sockreg.views.status import ExpectedUnit


class SystemdState(NamedTuple):
    """What systemd reports about a unit: systemctl(1), ``show``.

    ``exit_status`` is that of its last process, negative for the signal that ended it.
    """

    active: str
    sub: str
    main_pid: int
    exit_status: int = 0


@dataclass(frozen=True, kw_only=True)
class Host:
    """Facts about the machine besides its sockets.

    ``interfaces`` has the index of each interface that rules name, 0 for none. ``inner`` are those
    of them that packets arrive from another interface for. ``others`` are foreign sk_lookup
    programs; ``blocked`` says why root may not list them, and what helps, or is None. ``expected``
    are the units whose listener the sock_ops program will register. ``doors`` are rules that take
    the ssh port, as
    (place, sentence, how to keep the port open). By the cookies of members, ``nonblocking`` is
    whether O_NONBLOCK is set, and ``asked_for`` whether a UDP server receives the destination
    address of datagrams. Both are empty without permission to look into sockets. ``probes`` are
    what UDP servers answered, with --probe, and ``visits`` what clients from elsewhere got.
    ``jams`` are the members, or sockets of their SO_REUSEPORT groups, whose queue was full at two
    looks, by their cookies. ``unfinished`` is the note of an enable that died. ``loopholes`` are
    those of registry/access.py.
    """

    kernel: tuple[int, int]
    memlock: int | None  # bytes; None is no limit
    client_ports: range
    interfaces: Mapping[str, int]
    inner: Mapping[str, Above] = field(default_factory=dict)
    situation: Situation
    others: Sequence[Other] = ()
    expected: Sequence[ExpectedUnit] = ()
    blocked: tuple[str, str] | None = None
    doors: Sequence[tuple[str, str, str]] = ()
    nonblocking: Mapping[int, bool] = field(default_factory=dict)
    asked_for: Mapping[int, bool] = field(default_factory=dict)
    probes: Sequence[Probe] = ()
    visits: Sequence[Visit] = ()
    jams: Mapping[int, Jam] = field(default_factory=dict)
    filter: Filter | None = None
    states: Mapping[str, SystemdState] = field(default_factory=dict)
    unfinished: Before | None = None
    loopholes: Sequence[tuple[str, str]] = ()

    def state(self, unit: str) -> SystemdState:
        """What systemd reports about a unit; empty if it was not queried."""
        return self.states.get(unit, SystemdState("", "", 0))

    def registered(self, unit: str) -> bool:
        """Whether a unit has a socket in the registry."""
        return any(
            member.unit == unit for members in self.situation.members.values() for member in members
        )

    def units_of(self, cookie: int) -> list[str]:
        """The units that a socket is registered for."""
        return sorted(
            {
                member.unit
                for members in self.situation.members.values()
                for member in members
                if member.cookie == cookie
            }
        )


class Granted(NamedTuple):
    """A grant of a label, and where it is; ``known`` is whether there is such a user, group or unit
    on this host.
    """

    label: str
    place: Place
    grant: Grant
    known: bool


@dataclass(frozen=True, kw_only=True)
class Facts:
    """``sockets`` are all .socket units; ``counted`` names those whose rules count.

    ``services`` are all relevant .service units: servers of counted sockets, units that receive
    sockets or start the loader, and sockreg's own. ``wanted`` are the .socket units whose companion
    is enabled, ``masked`` those of them whose companion is masked. ``loader_masked`` is whether the
    loader is.
    ``lost`` has units that would register their own sockets but are not there, each with its
    drop-in.
    ``host`` is None if only files are checked. ``grants`` are the Register= lines.
    """

    rules: RuleSet
    problems: Sequence[Problem]
    sockets: Mapping[str, Unit]
    counted: Sequence[str]
    services: Mapping[str, Unit]
    wanted: Sequence[str]
    lost: Mapping[str, str]
    masked: frozenset[str]
    host: Host | None
    loader_masked: bool = False
    grants: Sequence[Granted] = ()

    @property
    def bindings(self) -> Sequence[Binding]:
        """The configured rules."""
        return self.rules.bindings

    @cached_property
    def by_port(self) -> ByPort:
        return ByPort(self.bindings)

    @cached_property
    def destinations(self) -> dict[Destination, Binding]:
        """The destinations of BIND rules, each with the first rule that points there; missing=pass
        last, after that those that are pending.
        """
        found: dict[Destination, Binding] = {}
        for binding in sorted(
            self.bindings, key=lambda each: (self.is_pending(each), each.missing_pass)
        ):
            if binding.action is Action.BIND:
                found.setdefault(binding.destination, binding)
        return found

    def is_pending(self, binding: Binding) -> bool:
        """Whether a rule waits for its interface: it takes no packet now."""
        return (
            self.host is not None
            and binding.interface is not None
            and not self.host.interfaces[binding.interface]
        )

    def servers(self) -> Iterator[tuple[str, Unit]]:
        """The counted .socket units that start a service, with that service."""
        for name in self.counted:
            socket = self.sockets.get(name)
            server = self.server_of(socket) if socket else None
            if server is not None:
                yield name, server

    def server_of(self, socket: Unit) -> Unit | None:
        """The service that a socket starts. None if there is one per connection, or none at all."""
        if socket.is_on("Socket", "Accept"):
            return None
        return self.services.get(self.server_name(socket))

    def registers_itself(self, name: str) -> bool:
        """Whether a socket unit registers its own sockets, without a companion (mode exec)."""
        socket = self.sockets.get(name)
        return (
            socket is not None
            and name not in self.wanted
            and socket.is_on("Socket", "PassFileDescriptorsToExec")
            and companion(name) not in {word.value for word in socket.words("Unit", "Wants")}
        )

    def start(self, name: str) -> str:
        """The command that starts a socket unit and registers its sockets."""
        return f"systemctl start {shell(name if self.registers_itself(name) else companion(name))}"

    def register(self, name: str) -> str:
        """The command that registers the sockets of a unit that listens."""
        if self.registers_itself(name):
            return f"systemctl start {shell(adding_unit(name))}"
        return f"systemctl restart {shell(companion(name))}"

    def open_again(self, name: str) -> str:
        """The commands that make a socket unit listen as its files say now.

        One restart, if that restarts the server, too. Otherwise systemd would refuse it while the
        server runs.
        """
        socket = self.sockets.get(name)
        server = self.server_of(socket) if socket else None
        if server is None or self.is_tied(server, name):
            registers = "" if self.registers_itself(name) else f" && {self.start(name)}"
            return f"systemctl daemon-reload && systemctl restart {shell(name)}{registers}"
        both = shell_words(name, server.name)
        return f"systemctl daemon-reload && systemctl stop {both} && {self.start(name)}"

    @staticmethod
    def is_tied(server: Unit, name: str) -> bool:
        """Whether systemd stops and restarts a server together with its socket unit."""
        return any(
            word.value == name
            for key in ("Requires", "BindsTo", "PartOf")
            for word in server.words("Unit", key)
        )

    @staticmethod
    def instance_of(socket: Unit) -> str:
        """A service for a connection, if the socket has Accept=yes: ``web@0.service``."""
        return f"{socket.name.removesuffix('.socket').partition('@')[0]}@0.service"

    @staticmethod
    def server_name(socket: Unit) -> str:
        """The service that a socket starts, whether it exists or not."""
        named = socket.words("Socket", "Service")
        return named[-1].value if named else socket.name.removesuffix(".socket") + ".service"

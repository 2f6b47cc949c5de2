"""The state of a network namespace: rules in force, registered sockets, all other sockets."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sockreg import garbage
from sockreg.context import Context
from sockreg.host import cgroup, processes, routes, sockdiag
from sockreg.host.listener import address_text
from sockreg.host.processes import SYSTEMD, Holders, Process
from sockreg.host.sockdiag import DiagSocket
from sockreg.model import ANY_ADDRESS, INET, INET6, Binding, Destination, LeftOut
from sockreg.registry import generation_record, generations
from sockreg.registry.destinations import read_destinations
from sockreg.registry.maps import Maps
from sockreg.registry.members import Member, members_of, shares_of
from sockreg.rules.ending import Ends
from sockreg.rules.taken import Endpoint
from sockreg.systemd import unit_of
from sockreg.terms import NO_UNIT, ONLY
from sockreg.views import ordinary
from sockreg.views.locality import Locality, locality


@dataclass(frozen=True, kw_only=True)
class Situation:
    """``loaded`` is False without a registry: there are no bindings and no members then.
    ``in_force`` is False if no program is attached: there are no bindings, but perhaps members.

    ``bindings`` are in force; ``pending`` ones wait for their interface. ``left_out`` are the parts
    of the configuration that are not in force as they are written.

    ``ends`` says which rules end by themselves, and when.

    ``there`` are all sockets that receive packets without a connection, registered or not.
    ``interface_names`` are by index.
    """

    loaded: bool
    bindings: Sequence[Binding]
    members: dict[Destination, list[Member]]
    there: list[DiagSocket]
    holders: Holders
    local: Locality
    in_force: bool
    pending: Sequence[Binding] = ()
    left_out: Sequence[LeftOut] = ()
    ends: Ends = field(default_factory=dict)
    interface_names: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def by_cookie(self) -> dict[int, DiagSocket]:
        """The sockets that receive, by their cookies."""
        return {sock.cookie: sock for sock in self.there}

    @cached_property
    def labels_of(self) -> dict[int, set[str]]:
        """The labels of each registered socket, by its cookie."""
        found: dict[int, set[str]] = {}
        for destination, members in self.members.items():
            for member in members:
                found.setdefault(member.cookie, set()).add(destination.label)
        return found

    @cached_property
    def _labels_of_groups(self) -> dict[tuple[object, ...], set[str]]:
        """The labels of registered sockets whose SO_REUSEPORT group shares their packets."""
        found: dict[tuple[object, ...], set[str]] = {}
        for destination, members in self.members.items():
            for member in members:
                sock = self.by_cookie.get(member.cookie)
                if sock is not None and not member.exact:
                    found.setdefault(ordinary.bound(sock), set()).add(destination.label)
        return found

    def labels_for(self, sock: DiagSocket) -> set[str]:
        """The labels whose packets this socket receives, also as one of a SO_REUSEPORT group."""
        through_group = self._labels_of_groups.get(ordinary.bound(sock), set())
        return self.labels_of.get(sock.cookie, set()) | through_group

    def held_by(self, sock: DiagSocket) -> list[Process]:
        """The processes that have the socket open, as far as visible. systemd, which keeps it, is
        last.
        """
        return self.holders.of(sock.inode)

    def unit_of(self, sock: DiagSocket) -> str:
        """The unit that serves the socket: the unit of its process, or the one it was created
        for.
        """
        for process in self.held_by(sock):
            if process.pid != SYSTEMD:
                try:
                    return unit_of.unit_of(process.pid)
                except OSError:
                    continue  # the process has ended
        return cgroup.unit_of_id(sock.cgroup) if sock.cgroup else NO_UNIT

    @cached_property
    def usable(self) -> dict[Destination, list[Member]]:
        """The members that new packets can reach. Destinations without any are left out."""
        found = {
            destination: [
                member
                for member in members
                if shares[member.unit] > 0 and member.cookie in self.by_cookie
            ]
            for destination, members in self.members.items()
            for shares in [shares_of(members)]
        }
        return {destination: members for destination, members in found.items() if members}

    def unclear(self, destination: Destination) -> list[str]:
        """``mail.socket 127.0.0.1:8143`` of the listeners that rules do not tell apart here.

        They are those of units with several, if the rules say none.
        """
        if destination.listener != ONLY:
            return []
        clear = {member.unit for member in self.members.get(destination, [])}
        return [
            f"{member.unit} {member.address}"
            for member in self._of_several.get(destination[:3], ())
            if member.unit not in clear
        ]

    @cached_property
    def _of_several(self) -> dict[tuple[str, int, int], list[Member]]:
        """The members of units with several listeners, by label, family and protocol."""
        found: dict[tuple[str, int, int], list[Member]] = {}
        for destination, members in sorted(self.members.items()):
            if destination.listener != ONLY:
                found.setdefault(destination[:3], []).extend(members)
        return found

    def leaves(self, sock: DiagSocket, binding: Binding) -> bool:
        """Whether packets that the binding wins reach this socket nevertheless."""
        usable = self.usable.get(binding.destination)
        if usable is None:
            return binding.missing_pass
        return all(
            member.cookie == sock.cookie
            or (not member.exact and ordinary.same_address(self.by_cookie[member.cookie], sock))
            for member in usable
        )


def read(context: Context) -> Situation:
    """Raises SockregError if the kernel refuses, or the registry cannot be read."""
    bindings: list[Binding] = []
    pending: list[Binding] = []
    left_out: list[LeftOut] = []
    ends: Ends = {}
    members: dict[Destination, list[Member]] = {}
    loaded = in_force = context.is_loaded
    if loaded:
        content = generations.read_in_force(context.registry, generations.read_rules)
        in_force = content is not None
        with garbage.paused():
            if content is not None:
                bindings, pending = generation_record.decode_parts(content)
                header = generation_record.decode_header(content)
                left_out, ends = header.left_out, header.end_of
        members = _members(context.registry)
    there = [sock for sock in sockdiag.receiving() if sock.port]  # UDP sockets begin without one
    return Situation(
        loaded=loaded,
        bindings=bindings,
        pending=pending,
        members=members,
        there=there,
        holders=processes.holders([sock.inode for sock in there]),
        local=locality(routes.read()),
        in_force=in_force,
        left_out=left_out,
        ends=ends,
        interface_names=dict(socket.if_nameindex()),
    )


def _members(registry: str) -> dict[Destination, list[Member]]:
    with Maps(registry, read_only=True) as maps:
        return {
            Destination(*key): members_of(maps, slot)
            for key, slot in sorted(read_destinations(maps).items())
        }


def endpoints(sock: DiagSocket) -> list[Endpoint]:
    """Where a socket receives: a dual-stack one in both families."""
    if sock.address == ANY_ADDRESS[sock.family]:
        families = [sock.family] if sock.family == INET or sock.v6only else [INET, INET6]
        return [Endpoint(sock.protocol, family, None, sock.port) for family in families]
    family, address = sock.family, sock.address
    if address.startswith("::ffff:") and "." in address:
        family, address = INET, address.removeprefix("::ffff:")
    number = int.from_bytes(socket.inet_pton(family, address), "big")
    return [Endpoint(sock.protocol, family, number, sock.port)]


def name_of(sock: DiagSocket) -> str:
    """Its address and port as ss(8) prints them."""
    return address_text(sock.family, sock.address, sock.port)

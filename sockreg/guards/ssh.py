"""Keeping operators from locking themselves out: rules that would take the port of ssh.

What counts is where something listens for ssh at this moment, not who asks: the sockets of ssh
servers, port 22, the ports of sshd_config(5), and those of ssh sessions: the operator's own
(SSH_CONNECTION, ssh(1)) and the others. The loopback does not count.
"""

from __future__ import annotations

import os
import socket
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import NamedTuple

from sockreg.config.report import Notice
from sockreg.errors import RefusedError, SockregError
from sockreg.guards import ssh_config, ssh_servers
from sockreg.guards.ssh_config import SSH_PORT
from sockreg.host import routes, sessions, sockdiag
from sockreg.host.listener import address_text
from sockreg.host.sockdiag import DiagSocket
from sockreg.model import ANY_ADDRESS, FAMILY_BITS, INET, INET6, TCP, Action, Binding
from sockreg.registry.destinations import find_slot
from sockreg.registry.maps import Maps
from sockreg.registry.members import members_of
from sockreg.rules.byport import ByPort
from sockreg.rules.syntax import format_line, format_prefix
from sockreg.rules.taken import Endpoint, pass_line, takers

OPTION = "TakeSsh"  # of section [:registry]
_CONNECTION = "SSH_CONNECTION"
_SHOWN = 5
# PAM services of ssh servers, as sessions have them.
_SERVICES = frozenset({"ssh", *ssh_servers.PROGRAMS})


class Door(NamedTuple):
    """An address and port where ssh can be reached, and the cookie of the listening socket.

    ``known`` is what says that it is ssh's, for messages: a unit, a process, a line of a file, or
    '' of the usual port.
    """

    endpoint: Endpoint
    cookie: int
    known: str


class Taken(NamedTuple):
    """A door, and a binding that wins packets to it."""

    door: Door
    binding: Binding


def doors(bindings: Iterable[Binding], root: str = "/") -> list[Door]:
    """Where ssh can be reached in this network namespace, on ports that these bindings are about.

    sshd_config is read below ``root``. Raises SockregError on refusal.
    """
    listeners = [
        sock for family in (INET, INET6) for sock in sockdiag.dump(family, TCP, _LISTENING)
    ]
    ports = _about(bindings, {sock.port for sock in listeners})
    concerned = [sock for sock in listeners if sock.port in ports]
    if not concerned:
        return []
    session = _session()
    known = _known(concerned, listeners, session, root)
    if not known:
        return []
    own = {
        assigned.address
        for assigned in routes.interface_addresses()
        if not _is_loopback(assigned.address)
    }
    if session:
        own.add(session[0])
    return [
        Door(
            Endpoint(TCP, _family(address), _number(address), listener.port),
            listener.cookie,
            known[listener.cookie],
        )
        for listener in concerned
        if listener.cookie in known
        for address in sorted(own)
        if _listens_on(listener, address)
    ]


_LISTENING = (sockdiag.LISTENING,)


def _about(bindings: Iterable[Binding], ports: Collection[int]) -> set[int]:
    """Those of ``ports`` for which a binding may take packets."""
    wanted = sorted(ports)
    found: set[int] = set()
    for binding in bindings:
        if binding.protocol == TCP and binding.action is not Action.PASS:
            at = bisect_left(wanted, binding.first)
            while at < len(wanted) and wanted[at] <= binding.last:
                found.add(wanted[at])
                at += 1
            if len(found) == len(wanted):
                break
    return found


def _known(
    concerned: Collection[DiagSocket],
    listeners: Collection[DiagSocket],
    session: tuple[str, int] | None,
    root: str,
) -> dict[int, str]:
    """Which of these listening sockets are ssh's: cookie -> Door.known."""
    units = ssh_servers.Units()
    known = _identified(concerned, session, root, units)
    rest = [sock for sock in concerned if sock.cookie not in known]
    hosts = sessions.remote_hosts(_SERVICES) if rest else set()
    if hosts:
        through = _reached_by(hosts)
        ports = set().union(*through.values())
        # A session over a port that is known to be ssh's explains nothing about others.
        explained = {
            sock.port
            for sock in listeners
            if sock.port in ports
            and (sock.cookie in known or _identified([sock], session, root, units))
        }
        for host, reached in sorted(through.items()):
            if not reached & explained:
                known |= {
                    sock.cookie: f"the ssh session from {host}"
                    for sock in rest
                    if sock.port in reached
                }
    return known


def _identified(
    listeners: Collection[DiagSocket],
    session: tuple[str, int] | None,
    root: str,
    units: ssh_servers.Units,
) -> dict[int, str]:
    """Those of the listening sockets that are ssh's by themselves: cookie -> Door.known."""
    known: dict[int, str] = {}
    configured = {it.port: it.place for it in _configured(root)}
    for sock in listeners:
        if sock.port == SSH_PORT:
            known[sock.cookie] = ""
        elif session and sock.port == session[1]:
            known[sock.cookie] = "this ssh session"
        elif sock.port in configured:
            known[sock.cookie] = configured[sock.port]
    rest = [sock for sock in listeners if sock.cookie not in known]
    return known | (ssh_servers.servers(rest, units) if rest else {})


def _configured(root: str) -> list[ssh_config.Configured]:
    path = ssh_config.config_file(root)
    try:
        return ssh_config.configured(root, path) if path else []
    except OSError:
        return []  # a user may not read it; the sockets of sshd tell


def _reached_by(hosts: set[str]) -> dict[str, set[int]]:
    """The ports of this host that established connections from these hosts came to."""
    found: dict[str, set[int]] = {}
    for family in (INET, INET6):
        for sock in sockdiag.dump(family, TCP, (sockdiag.ESTABLISHED,)):
            host = sock.peer_address.removeprefix("::ffff:")
            if host in hosts:
                found.setdefault(host, set()).add(sock.port)
    return found


def taken(through: Iterable[Door], bindings: Iterable[Binding], maps: Maps | None) -> list[Taken]:
    """Which bindings of a rule set win packets to these doors.

    A binding that points to the very socket that listens there takes nothing. ``maps`` None is a
    registry that does not exist yet.
    """
    ports = {door.endpoint.port for door in through}
    rules = ByPort(
        b for b in bindings if b.protocol == TCP and any(b.first <= p <= b.last for p in ports)
    )
    return [
        Taken(door, binding)
        for door in through
        for binding in takers(rules, door.endpoint, partial(_leads_to, door, maps))
    ]


def guard(
    before: Callable[[], Iterable[Binding]],
    after: Collection[Binding],
    maps: Maps,
    *,
    root: str,
    force: bool,
) -> list[Notice]:
    """Raise RefusedError if ``after`` takes a door that ``before`` did not.

    sshd_config is read below ``root``. With ``force``, this is only a notice. Returns notices, also
    if the doors cannot be found out.
    """
    try:
        through = doors(after, root)
    except SockregError as error:
        text = f"rules that take the ssh port cannot be detected: {error.message}"
        return [Notice(None, text)]
    newly = taken(through, after, maps) if through else []
    if newly:
        lost = {loss.door for loss in taken(through, before(), maps)}
        newly = [loss for loss in newly if loss.door not in lost]
    if newly and not force:
        raise _refusal(newly)
    lasting = f"units refuse this, unless section [:registry] has {OPTION}=yes"
    return [Notice(loss.binding.place, f"{sentence(loss)}; {lasting}") for loss in newly]


def sentence(loss: Taken) -> str:
    """``RULE takes 192.0.2.1:2222, which ssh listens on (ssh.service)``."""
    known = f" ({loss.door.known})" if loss.door.known else ""
    return f"{format_line(loss.binding)} takes {door_text(loss.door)}, which ssh listens on{known}"


def door_text(door: Door) -> str:
    """``192.0.2.1:22``."""
    _, family, address, port = door.endpoint
    return address_text(family, format_prefix(family, address or 0, FAMILY_BITS[family]), port)


def pass_rule(loss: Taken) -> str:
    """The rule that keeps a door open."""
    return pass_line(loss.door.endpoint, loss.binding)


def _refusal(newly: Collection[Taken]) -> SockregError:
    lines = list(dict.fromkeys(f"{loss.binding.place}: {sentence(loss)}" for loss in newly))
    if len(lines) > _SHOWN:
        lines = [*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more"]
    first = next(iter(newly))
    return RefusedError(
        "\n".join(lines),
        f"nothing was changed; '{pass_rule(first)}' keeps the port open, 'sockreg apply "
        f"--confirm 60' tries the rules out, --force applies them anyway; {OPTION}=yes in "
        "section [:registry] of a file in /etc/sockreg allows them for units, too",
    )


def _session() -> tuple[str, int] | None:
    """The address and port of this host that the operator's ssh session came to.

    sudo(8) hides the variable from this process, but not from its ancestors.
    """
    connection = os.environ.get(_CONNECTION)
    pid = os.getpid()
    while connection is None and pid > 1:
        try:
            pid, connection = _of_process(pid)
        except (OSError, ValueError):
            return None  # not readable, or the process has just ended
    return _server(connection) if connection else None


def _of_process(pid: int) -> tuple[int, str | None]:
    """(parent's pid, SSH_CONNECTION) of a process, as it was when the process began."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        variables = dict(part.partition(b"=")[::2] for part in file.read().split(b"\0"))
    with open(f"/proc/{pid}/stat", "rb") as file:
        parent = int(file.read().rpartition(b")")[2].split()[1])
    value = variables.get(_CONNECTION.encode())
    return parent, None if value is None else value.decode("ascii", "replace")


def _server(connection: str) -> tuple[str, int] | None:
    """The second half of SSH_CONNECTION: client address and port, server address and port."""
    words = connection.split()
    if len(words) != 4 or not words[3].isdecimal():
        return None
    address = words[2].partition("%")[0]
    try:
        socket.inet_pton(_family(address), address)
    except OSError:
        return None
    return address.removeprefix("::ffff:") if "." in address else address, int(words[3])


def _listens_on(sock: DiagSocket, address: str) -> bool:
    if sock.address != ANY_ADDRESS[sock.family]:
        return sock.address in (address, f"::ffff:{address}")
    family = _family(address)
    return sock.family == family or (sock.family == INET6 and not sock.v6only)


def _leads_to(door: Door, maps: Maps | None, binding: Binding) -> bool:
    """Whether the label's only sockets are the one that listens at the door."""
    if maps is None:
        return False
    slot = find_slot(maps, binding.label, binding.family, binding.protocol)
    members = [] if slot is None else members_of(maps, slot)
    return bool(members) and all(member.cookie == door.cookie for member in members)


def _is_loopback(address: str) -> bool:
    return address == "::1" or (_family(address) == INET and address.startswith("127."))


def _family(address: str) -> int:
    return INET6 if ":" in address else INET


def _number(address: str) -> int:
    return int.from_bytes(socket.inet_pton(_family(address), address), "big")

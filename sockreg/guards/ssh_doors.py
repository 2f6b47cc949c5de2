"""Where ssh can be reached on this host: its doors.

What counts is where something listens for ssh at this moment, not who asks: the sockets of ssh
servers, port 22, the ports of sshd_config(5), and those of ssh sessions: the operator's own
(SSH_CONNECTION, ssh(1)) and the others. The loopback does not count. At boot, nothing listens yet,
and later a server may be stopped for a while. So it counts, too, where ssh will listen by its
configuration, and where it was last known to.
"""

from __future__ import annotations

import os
import socket
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from sockreg.guards import ssh_config, ssh_servers
from sockreg.guards.ssh_config import SSH_PORT, Configured
from sockreg.guards.ssh_expected import expected
from sockreg.guards.ssh_kept import Kept
from sockreg.host import cgroup, routes, sessions, sockdiag
from sockreg.host.sockdiag import DiagSocket
from sockreg.model import ANY_ADDRESS, INET, INET6, TCP, Action, Binding
from sockreg.printable import printable
from sockreg.rules.taken import Endpoint
from sockreg.systemd.unit_of import unit_of_cgroup
from sockreg.systemd.values import port_number

_CONNECTION = "SSH_CONNECTION"
# PAM services of ssh servers, as sessions have them.
_SERVICES = frozenset({"ssh", *ssh_servers.PROGRAMS})


class Door(NamedTuple):
    """An address and port where ssh can be reached, and the cookie of the listening socket.

    ``cookie`` is 0 if nothing listens there yet, but ssh will. ``endpoint`` may then have no
    address: it is not known which addresses the host will have. ``known`` is what says that it is
    ssh's, for messages: a unit, a process, a line of a file, or '' of the usual port. ``labels``
    are those under which ssh's sockets will be registered, if they are not yet.
    """

    endpoint: Endpoint
    cookie: int
    known: str
    labels: frozenset[str] = frozenset()


def doors(bindings: Iterable[Binding], root: str = "/") -> list[Door]:
    """Where ssh can be reached in this network namespace, on ports that these bindings are about.

    sshd_config is read below ``root``. Raises SockregError on refusal.
    """
    listeners = _listeners()
    ports = _about(bindings, {sock.port for sock in listeners})
    concerned = [sock for sock in listeners if sock.port in ports]
    if not concerned:
        return []
    session = _session()
    known = _known(concerned, listeners, session, root)
    if not known:
        return []
    own = _own_addresses()
    if session:
        own.add(session[0])
    return list(_doors_of([sock for sock in concerned if sock.cookie in known], known, own))


def doors_at_boot(root: str, kept: Kept | None, labels: Collection[str]) -> list[Door]:
    """Where ssh can be reached, and where it will be, on any port.

    The configuration is read below ``root``; ``kept`` is where ssh was last known to listen.
    ``labels`` are those of the units of ssh.
    """
    listeners = _listeners()
    session = _session()
    known = _known(listeners, listeners, session, root)
    own = _own_addresses().union(kept.addresses if kept is not None else ())
    if session:
        own.add(session[0])
    own_labels = frozenset(labels).union(kept.labels if kept is not None else ())
    found = [
        Door(Endpoint(TCP, family, number, sock.port), sock.cookie, known[sock.cookie], own_labels)
        for sock in listeners
        if sock.cookie in known
        for address, families in [_where(sock)]
        for family, number in _endpoints(address, families, own)
    ]
    will = _expected(root, kept, {sock.port for sock in listeners})
    found += _doors_to_be(will, own, own_labels)
    return list(dict.fromkeys(found))


def doors_later(
    bindings: Collection[Binding],
    root: str,
    kept: Kept | None,
    labels: Callable[[], Collection[str]],
) -> list[Door]:
    """Where ssh does not listen yet but will, on ports that these bindings are about.

    The server may be stopped, or be about to start. Arguments are as in doors_at_boot(); labels()
    is called if they matter. Where ssh listened last counts only if it listens nowhere now: it may
    have moved.
    """
    listeners = _listeners()
    here = {sock.port for sock in listeners}
    configured, before = _expected(root, None, here), _expected(None, kept, here)
    ports = _about(bindings, {it.port for it in [*configured, *before]})
    configured, before = ([it for it in of if it.port in ports] for of in (configured, before))
    if before and _known(listeners, listeners, _session(), root):
        before = []
    if not configured and not before:
        return []
    own = _own_addresses().union(kept.addresses if kept is not None else ())
    own_labels = frozenset(labels()).union(kept.labels if kept is not None else ())
    return list(dict.fromkeys(_doors_to_be([*configured, *before], own, own_labels)))


def _expected(root: str | None, kept: Kept | None, here: Collection[int]) -> list[Configured]:
    """Where ssh will listen, by files below ``root`` and by ``kept``, on ports not in ``here``."""
    found = expected(root).ports if root is not None else []
    if kept is not None:
        found += [
            Configured(address, port, families, "as it did before")
            for address, port, families in kept.ports
        ]
    return [it for it in found if it.port not in here]


def _doors_to_be(
    will: Iterable[Configured], own: Collection[str], labels: frozenset[str]
) -> Iterator[Door]:
    for it in will:
        for family, number in _endpoints(it.address, it.families, own):
            yield Door(Endpoint(TCP, family, number, it.port), 0, it.place, labels)


def _endpoints(
    address: str | None, families: Collection[int], own: Collection[str]
) -> Iterator[tuple[int, int | None]]:
    """(family, address) where a socket is reached that listens on an address, or on all.

    The number is None if the host has no address of the family, or if it is not known yet.
    """
    for family in families:
        if address is not None:
            if _family(address) == family and not _is_loopback(address):
                yield family, _number(address)
            continue
        numbers = [_number(it) for it in sorted(own) if _family(it) == family]
        yield from ((family, number) for number in numbers)
        if not numbers:
            yield family, None


def kept_for_boot(bindings: Iterable[Binding], root: str, labels: Collection[str]) -> Kept | None:
    """Where ssh listens now, as far as this is known without much work; None if nowhere.

    Sockets on ports that the bindings are about are known in any case. ``labels`` are as in Kept.
    """
    listeners = _listeners()
    ports = _about(bindings, {sock.port for sock in listeners})
    concerned = [sock for sock in listeners if sock.port in ports]
    known = _known(concerned, listeners, _session(), root) if concerned else {}
    known |= _quickly([s for s in listeners if s.cookie not in known and s.port not in ports], root)
    if not known:
        return None
    return Kept(
        ports=sorted(
            {
                (address, sock.port, families)
                for sock in listeners
                if sock.cookie in known
                for address, families in [_where(sock)]
            },
            key=repr,
        ),
        addresses=sorted(_own_addresses()),
        labels=sorted(labels),
    )


def _where(sock: DiagSocket) -> tuple[str | None, tuple[int, ...]]:
    """The address that a socket listens on, None if on all, and of which families."""
    if sock.address == ANY_ADDRESS[sock.family]:
        both = sock.family == INET6 and not sock.v6only
        return None, (INET, INET6) if both else (sock.family,)
    address = _plain(sock.address)
    return address, (_family(address),)


def _listeners() -> list[DiagSocket]:
    return [
        sock
        for family in (INET, INET6)
        for sock in sockdiag.dump(family, TCP, (sockdiag.LISTENING,))
    ]


def _own_addresses() -> set[str]:
    return {
        assigned.address
        for assigned in routes.interface_addresses()
        if not _is_loopback(assigned.address)
    }


def _doors_of(
    listeners: Iterable[DiagSocket], known: dict[int, str], own: Collection[str]
) -> Iterator[Door]:
    for listener in listeners:
        for address in sorted(own):
            if _listens_on(listener, address):
                endpoint = Endpoint(TCP, _family(address), _number(address), listener.port)
                yield Door(endpoint, listener.cookie, known[listener.cookie])


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
                    sock.cookie: f"the ssh session from {printable(host)}"
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


def _quickly(listeners: Collection[DiagSocket], root: str) -> dict[int, str]:
    """Like _identified(), only by ports and the names of units."""
    ports = {SSH_PORT, *(it.port for it in _configured(root))}
    paths = cgroup.paths_of({s.cgroup for s in listeners if s.cgroup and s.port not in ports})
    return {
        sock.cookie: ""
        for sock in listeners
        if sock.port in ports
        or (sock.cgroup in paths and ssh_servers.is_named(unit_of_cgroup(paths[sock.cgroup])))
    }


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
    if len(words) != 4 or not port_number(words[3]):
        return None
    address = words[2].partition("%")[0]
    try:
        socket.inet_pton(_family(address), address)
    except (OSError, ValueError):
        return None
    return _plain(address), port_number(words[3])


def _plain(address: str) -> str:
    return address.removeprefix("::ffff:") if "." in address else address


def _listens_on(sock: DiagSocket, address: str) -> bool:
    if sock.address != ANY_ADDRESS[sock.family]:
        return sock.address in (address, f"::ffff:{address}")
    family = _family(address)
    return sock.family == family or (sock.family == INET6 and not sock.v6only)


def _is_loopback(address: str) -> bool:
    return address == "::1" or (_family(address) == INET and address.startswith("127."))


def _family(address: str) -> int:
    return INET6 if ":" in address else INET


def _number(address: str) -> int:
    return int.from_bytes(socket.inet_pton(_family(address), address), "big")

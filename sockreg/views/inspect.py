"""Details of a label's sockets: queue, options, and processes that have them open.

The registry has a member's address and unit. sock_diag, which any user may query, has what the
kernel knows of the socket. The options come from a duplicate of one of its descriptors, which takes
the right to trace the process.
"""

import fcntl
import os
from dataclasses import dataclass

from sockreg.context import Context
from sockreg.host import pidfd, processes, sockdiag, sockopt
from sockreg.host.listener import cookie_text
from sockreg.host.processes import Process
from sockreg.host.sockopt import Value as Value
from sockreg.model import FAMILY_NAMES, PROTOCOL_NAMES
from sockreg.registry.label_members import nothing_registered, registered_under
from sockreg.registry.maps import Maps
from sockreg.registry.members import Member
from sockreg.systemd import unit_of
from sockreg.terms import NO_UNIT
from sockreg.views.health import ailment
from sockreg.views.ordinary import same_address

_NEEDS = "this takes root, the user of the process, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"


@dataclass(frozen=True)
class Owner:
    """A process that has the socket open, and its unit."""

    pid: int
    name: str
    unit: str


@dataclass(frozen=True)
class Queue:
    """Connections (TCP) or bytes (UDP) that wait for the server, and the limit.

    ``limit`` is None for UDP; see SO_RCVBUF. ``dropped`` counts packets since the socket was
    created.
    """

    waiting: int
    limit: int | None
    dropped: int


@dataclass(frozen=True, kw_only=True)
class Details:
    """A member. A field is None if it could not be read; ``notes`` say why, and what it takes.

    ``serves`` are the families of its destinations. ``group`` is the size of its reuseport group,
    or 1 without a group. ``registered`` is ns since the epoch.
    """

    cookie: str
    protocol: str
    address: str
    serves: list[str]
    unit: str
    weight: int
    registered: int
    uid: int | None
    queue: Queue | None
    group: int | None
    owners: list[Owner]
    nonblocking: bool | None
    options: dict[str, Value] | None
    notes: list[str]


def read(context: Context, label: str) -> list[Details]:
    """The members of a label, by protocol and unit. Raises SockregError if there are none."""
    found: dict[int, tuple[int, Member, list[str]]] = {}
    with Maps(context.loaded_registry(), read_only=True) as maps:
        for family, protocol, member in registered_under(maps, label):
            _, _, serves = found.setdefault(member.cookie, (protocol, member, []))
            serves.append(FAMILY_NAMES[family])
    if not found:
        raise nothing_registered(label)
    there = sockdiag.receiving()
    by_cookie = {sock.cookie: sock for sock in there if sock.cookie in found}
    holders = processes.holders([sock.inode for sock in by_cookie.values()])
    ordered = sorted(found.values(), key=lambda entry: (entry[0], entry[1].unit, entry[1].cookie))
    return [
        _details(protocol, member, serves, by_cookie.get(member.cookie), there, holders)
        for protocol, member, serves in ordered
    ]


def _details(
    protocol: int,
    member: Member,
    serves: list[str],
    socket: sockdiag.DiagSocket | None,
    there: list[sockdiag.DiagSocket],
    holders: processes.Holders,
) -> Details:
    held = holders.by_inode.get(socket.inode, []) if socket is not None else []
    nonblocking, options, note = look_into(member.cookie, held, holders.hidden)
    notes = [note] if note else []
    if socket is None:
        notes = [ailment(None, [], protocol)]
    return Details(
        cookie=cookie_text(member.cookie),
        protocol=PROTOCOL_NAMES[protocol],
        address=member.address,
        serves=serves,
        unit=member.unit,
        weight=member.weight,
        registered=member.registered,
        uid=None if socket is None else socket.uid,
        queue=None if socket is None else _queue(socket),
        group=None if socket is None else sum(same_address(socket, sock) for sock in there),
        owners=[_owner(process) for process, _ in held],
        nonblocking=nonblocking,
        options=options,
        notes=notes,
    )


def _queue(socket: sockdiag.DiagSocket) -> Queue:
    limit = socket.limit if socket.state == sockdiag.LISTENING else None
    return Queue(socket.received, limit, socket.dropped)


def _owner(process: Process) -> Owner:
    try:
        return Owner(process.pid, process.name, unit_of.unit_of(process.pid))
    except OSError:
        return Owner(process.pid, process.name, NO_UNIT)  # the process has ended


def look_into(
    cookie: int, held: list[tuple[Process, int]], hidden: int
) -> tuple[bool | None, dict[str, Value] | None, str]:
    """(O_NONBLOCK, options, why not) from the first readable process."""
    refused = "no visible process has it open: options and processes are unknown"
    if not held and hidden:
        refused = (
            f"options and processes are unknown: {hidden} processes could not be read; {_NEEDS}"
        )
    for process, descriptor in held:
        try:
            with pidfd.opened(process.pid) as owner, pidfd.duplicated(owner, descriptor) as fd:
                found = _flag_and_options(fd, cookie)
        except OSError as error:
            refused = f"options are unknown: {process}: {error.strerror}; {_NEEDS}"
            continue
        if found is not None:
            return *found, ""
    return None, None, refused


def _flag_and_options(fd: int, cookie: int) -> tuple[bool, dict[str, Value]] | None:
    """None if this is not the socket with the cookie."""
    try:
        if sockopt.cookie(fd) != cookie:
            return None
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        return bool(flags & os.O_NONBLOCK), sockopt.read(fd)
    except OSError:
        return None  # now another descriptor, and not a socket

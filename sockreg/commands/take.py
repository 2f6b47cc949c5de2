"""Registering a socket of a running process: found by sock_diag, duplicated by pidfd_getfd.

The process does not notice. sock_diag lists the sockets and their cookies. /proc/PID/fd shows which
processes have them open under which descriptor. The cookie of the duplicate is compared with the
wanted one, so no other socket is ever taken instead, whatever happens in between.
"""

import errno
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from sockreg import interrupts
from sockreg.commands.take_choice import Candidate, Selector, choose, with_mates
from sockreg.commands.take_refusals import (
    check_netns,
    no_access,
    no_process,
    nothing_matches,
    nothing_of_cookie,
    nothing_of_unit,
)
from sockreg.context import Context
from sockreg.errors import SockregError
from sockreg.host import cgroup, pidfd, processes, sockdiag
from sockreg.host.listener import UnfitError, cookie_text, inspect
from sockreg.registry import registration
from sockreg.registry.label_members import registered_under
from sockreg.registry.maps import Maps
from sockreg.systemd import unit_of
from sockreg.terms import NO_UNIT

_POLL = 0.02  # s between two checks


class _GoneError(SockregError):
    """The socket existed, and then it did not."""


class Order(NamedTuple):
    """What to register. One of ``pid``, ``of_unit`` and ``cookie`` says where to look.

    ``registrant`` is the unit that the member belongs to; None is that of the process. ``weight``
    is its share in a pool; None is the weight in the unit's files. ``replace`` takes the label over
    from other units. ``exact`` is as in registration.register(). ``wait`` is the number of
    seconds to wait for the socket.
    """

    label: str
    pid: int | None = None
    of_unit: str | None = None
    cookie: int | None = None
    selector: Selector = Selector()
    registrant: str | None = None
    weight: int | None = None
    replace: bool = False
    exact: bool = False
    wait: float = 5.0

    def __str__(self) -> str:
        if self.pid is not None:
            try:
                return f"process {processes.named(self.pid)}"
            except OSError:
                return f"process {self.pid}"
        if self.of_unit is not None:
            return self.of_unit
        return f"socket {cookie_text(self.cookie or 0)}"


def take(context: Context, order: Order) -> list[str]:
    """Find the socket, duplicate it and register it.

    Returns a sentence about each socket that was found and left out.

    Raises SockregError if there is none, if several match, if it cannot be read, or if it cannot be
    registered. The registry is unchanged then.
    """
    context.loaded_registry()
    with ExitStack() as until_the_end:
        with ExitStack() as stack:
            held = None if order.pid is None else stack.enter_context(_process(order.pid))
            taken = _wait_for(context, order, stack)
            registrant = order.registrant or _registrant(order, taken[0][1])
            if order.pid is not None and held is not None and not pidfd.is_alive(held):
                # What was found may be of another process, which has got its number.
                raise no_process(order.pid)
            received = [(fd, order.label) for fd, _ in taken]
            until_the_end.enter_context(interrupts.dropped())
            skipped = registration.register(
                received,
                registrant,
                context.bpffs,
                netns=context.netns.cookie,
                weight=order.weight,
                replace=order.replace,
                exact=order.exact,
            )
        # Our duplicates are closed now: what the server has closed is gone.
        _confirm(context, order, [candidate for _, candidate in taken])
    return skipped


@contextmanager
def _process(pid: int) -> Iterator[int]:
    try:
        with pidfd.opened(pid) as fd:
            yield fd
    except ProcessLookupError:
        raise no_process(pid) from None


def _wait_for(context: Context, order: Order, stack: ExitStack) -> list[tuple[int, Candidate]]:
    """Wait for the matching sockets. Returns duplicates, which ``stack`` closes."""
    deadline = time.monotonic() + order.wait
    before: list[Candidate] = []
    while True:
        overdue = time.monotonic() >= deadline
        found = _look(context, order, overdue)
        # A server opens its sockets one after another: two checks must agree.
        if found and (found == before or overdue or order.selector.is_exact):
            try:
                return _duplicates(order, found, stack)
            except _GoneError:
                if overdue:
                    raise
        before = found
        time.sleep(_POLL)


def _look(context: Context, order: Order, overdue: bool) -> list[Candidate]:
    """The matching sockets; none if they do not exist yet. Raises SockregError when time is up."""
    there = [sock for sock in sockdiag.receiving() if order.cookie in (None, sock.cookie)]
    pids = _pids(order)
    holders = processes.holders([sock.inode for sock in there], pids)
    found = _candidates(there, holders)
    matching = [candidate for candidate in found if order.selector.matches(candidate.socket)]
    if matching:
        return with_mates(choose(matching, str(order)), matching)
    if holders.hidden and (there or order.cookie is None):
        raise no_access(str(order), holders.hidden)
    if order.pid is not None and not found:
        check_netns(context, order.pid)
    if order.of_unit is not None and not pids and (overdue or order.of_unit.endswith(".socket")):
        raise nothing_of_unit(order.of_unit)
    if not overdue:
        return []
    if order.cookie is not None and not found:
        raise nothing_of_cookie(order.cookie, there)
    raise nothing_matches(
        str(order), pids=pids or [], selector=order.selector, found=found, wait=order.wait
    )


def _pids(order: Order) -> list[int] | None:
    """Where to look; None is everywhere."""
    if order.pid is not None:
        return [order.pid]
    return None if order.of_unit is None else processes.pids_of_unit(order.of_unit)


def _candidates(
    there: Sequence[sockdiag.DiagSocket], holders: processes.Holders
) -> list[Candidate]:
    """The sockets that processes have open, without the inner ones of MPTCP sockets.

    One process represents all that share a socket: systemd, which keeps the sockets it passes, only
    if no other process has it. The order is the one in which people would list them.
    """
    found = []
    for socket in sorted(
        there, key=lambda sock: (sock.protocol, sock.port, sock.family, sock.address)
    ):
        held = holders.by_inode.get(socket.inode)
        if held and socket.upper != "mptcp":
            process, descriptor = next(
                (holder for holder in held if holder[0].pid != processes.SYSTEMD), held[0]
            )
            found.append(Candidate(socket, process, descriptor))
    return found


def _duplicates(
    order: Order, found: Sequence[Candidate], stack: ExitStack
) -> list[tuple[int, Candidate]]:
    """Duplicates of all of them, or of none; ``stack`` closes them."""
    with ExitStack() as all_of_them:
        taken = [
            (all_of_them.enter_context(_duplicate(candidate, order.of_unit)), candidate)
            for candidate in found
        ]
        stack.push(all_of_them.pop_all())
        return taken


@contextmanager
def _duplicate(candidate: Candidate, unit: str | None) -> Iterator[int]:
    """A duplicate of the socket; with ``unit``, of a process that is still of this unit."""
    gone = _GoneError(f"{candidate} of {candidate.process} was closed while it was being taken")
    with ExitStack() as stack:
        try:
            with pidfd.opened(candidate.process.pid) as process:
                fd = stack.enter_context(pidfd.duplicated(process, candidate.descriptor))
                if unit is not None and _unit_of(candidate, process) != unit:
                    raise gone
        except ProcessLookupError:
            raise gone from None
        except OSError as error:
            if error.errno == errno.EBADF:
                raise gone from None
            raise _not_duplicated(candidate, error) from None
        # Checked last: if the socket is already closed, it would disappear with our duplicate,
        # after it has replaced the one registered now.
        if not (_is(fd, candidate) and _is_open(candidate)):
            raise gone
        yield fd


def _not_duplicated(candidate: Candidate, error: OSError) -> Exception:
    if isinstance(error, PermissionError):
        return no_access(str(candidate.process), 1)
    if error.errno == errno.ENOSYS:
        return SockregError(
            "this kernel cannot duplicate descriptors of other processes (pidfd_getfd)",
            "this takes Linux 5.6; register the socket from its unit instead",
        )
    return error


def _is(fd: int, candidate: Candidate) -> bool:
    try:
        return inspect(fd).cookie == candidate.socket.cookie
    except UnfitError:
        return False  # now another descriptor, or no longer listening


def _is_open(candidate: Candidate) -> bool:
    path = f"/proc/{candidate.process.pid}/fd/{candidate.descriptor}"
    try:
        return os.readlink(path) == f"socket:[{candidate.socket.inode}]"
    except OSError:
        return False


def _registrant(order: Order, candidate: Candidate) -> str:
    """The unit whose restart registers again, in place of this socket."""
    if order.of_unit is not None:
        return order.of_unit
    if order.cookie is not None and candidate.socket.cgroup:
        # systemd may have it open, for the .socket unit in which it was created.
        unit = cgroup.unit_of_id(candidate.socket.cgroup)
        if unit != NO_UNIT:
            return unit
    try:
        with pidfd.opened(candidate.process.pid) as process:
            return _unit_of(candidate, process)
    except ProcessLookupError:
        raise no_process(candidate.process.pid) from None


def _unit_of(candidate: Candidate, process: int) -> str:
    """The unit of the process that has a socket open. ``process`` is a pidfd of it.

    Raises ProcessLookupError if it has ended, or if another process has its number.
    """
    try:
        unit = unit_of.unit_of(candidate.process.pid)
    except FileNotFoundError:
        raise ProcessLookupError from None
    if not (_is_open(candidate) and pidfd.is_alive(process)):
        raise ProcessLookupError
    return unit


def _confirm(context: Context, order: Order, taken: Sequence[Candidate]) -> None:
    """Report if the server closed its socket meanwhile: the member disappeared with our
    duplicate.
    """
    with Maps(context.registry, read_only=True) as maps:
        there = {
            one.cookie
            for entry in registered_under(maps, order.label)
            for one in (entry.member, *entry.member.mates)
        }
    gone = [str(candidate) for candidate in taken if candidate.socket.cookie not in there]
    if len(gone) == len(taken):
        raise SockregError(
            f"{order} closed {' and '.join(gone)} while it was being registered",
            "register it again when the server runs",
        )

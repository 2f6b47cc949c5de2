"""Why a socket of a running process cannot be taken, in words for the operator."""

import os
from collections.abc import Sequence

from sockreg.commands.take_choice import Candidate, Selector, listed, socket_text
from sockreg.context import Context
from sockreg.errors import (
    AccessError,
    RefusedError,
    SockregError,
)
from sockreg.host import pidfd, processes
from sockreg.host.listener import UnfitError, address_text, cookie_text, inspect
from sockreg.host.sockdiag import DiagSocket
from sockreg.model import PROTOCOL_NAMES
from sockreg.printable import shell
from sockreg.terms import adding_unit

_YAMA = "/proc/sys/kernel/yama/ptrace_scope"
_LOOKED_AT = 200  # limit on the other descriptors of a process that are listed
_SHOWN = 3


def no_process(pid: int) -> SockregError:
    return SockregError(
        f"there is no process {pid} (any more)",
        "'systemctl show -p MainPID UNIT' shows that of a service; or use --of-unit UNIT",
    )


def no_access(what: str, hidden: int) -> SockregError:
    """``what`` cannot be read; ``hidden`` processes refused."""
    of = "its process" if hidden == 1 else f"{hidden} processes"
    hint = (
        "run it as root (ExecStartPost=+...), as the user of the process, or with "
        "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; SystemCallFilter= must allow pidfd_getfd"
    )
    try:
        with open(_YAMA, encoding="ascii") as scope:
            if int(scope.read()) > 0:
                hint += "; kernel.yama.ptrace_scope restricts even the same user"
    except FileNotFoundError:
        pass  # this kernel has no Yama
    return AccessError(f"{what}: no permission to take sockets from {of}", hint)


def check_netns(context: Context, pid: int) -> None:
    """Raises SockregError if the process is in another network namespace than the registry."""
    try:
        inode = os.stat(f"/proc/{pid}/ns/net").st_ino
    except FileNotFoundError:
        raise no_process(pid) from None
    if inode != context.netns.inode:
        raise RefusedError(
            f"process {processes.named(pid)} is in another network namespace "
            f"(net:[{inode}], not net:[{context.netns.inode}])",
            f"to register it there: sockreg --netns /proc/{pid}/ns/net register ...",
        )


def nothing_of_cookie(cookie: int, there: Sequence[DiagSocket]) -> SockregError:
    """No process has the socket open; ``there`` is what sock_diag still reports about it."""
    if there:
        return SockregError(
            f"no visible process has {socket_text(there[0])} open",
            "it may belong to a process of another pid namespace: run sockreg in that one",
        )
    return SockregError(
        "no TCP listener or bound UDP socket of this network namespace has cookie "
        f"{cookie_text(cookie)}",
        "'ss -tulne' lists sockets with their cookies; with --netns=, sockreg looks elsewhere",
    )


def nothing_of_unit(unit: str) -> SockregError:
    if unit.endswith(".socket"):
        return RefusedError(
            f"{unit} has no process: systemd itself has its sockets open",
            f"'systemctl start {shell(adding_unit(unit))}' registers them",
        )
    return SockregError(
        f"no process belongs to {unit}",
        f"'systemctl status {shell(unit)}' says whether it runs",
    )


def nothing_matches(
    who: str, *, pids: Sequence[int], selector: Selector, found: Sequence[Candidate], wait: float
) -> SockregError:
    """``who`` (``pids``) has no such socket: only ``found``, or only other kinds."""
    waited = f" within {wait:g} s" if wait else ""
    message = f"{who} has no {selector}{waited}"
    if found:
        return SockregError(f"{message}; it has {listed(found)}", "select one of these")
    others = [reason for pid in pids for reason in _other_sockets(pid)]
    if not others:
        return SockregError(message, "does it run? --wait SECONDS gives it more time")
    messages = list(dict.fromkeys(reason.message for reason in others))
    hints = [reason.hint for reason in others if reason.hint]
    return RefusedError(f"{message}: " + "; ".join(messages[:_SHOWN]), hints[0] if hints else "")


def _other_sockets(pid: int) -> list[SockregError]:
    """A reason for each open socket of a process not to register it."""
    reasons = []
    try:
        with pidfd.opened(pid) as process:
            for descriptor in list(processes.socket_descriptors(pid).values())[:_LOOKED_AT]:
                with pidfd.duplicated(process, descriptor) as fd:
                    reasons.append(_reason(fd))
    except OSError:
        pass  # it ends, closes descriptors or cannot be read: this is all there is to say
    # An error with a hint is about a socket that the operator probably meant.
    return sorted(reasons, key=lambda reason: not reason.hint)


def _reason(fd: int) -> SockregError:
    """What an open socket is, as the reason not to register it."""
    try:
        listener = inspect(fd)
    except UnfitError as reason:
        return reason.about("one")
    where = address_text(listener.family, listener.address, listener.port)
    return SockregError(
        f"one is {PROTOCOL_NAMES[listener.protocol]} {where} of another "
        f"network namespace (cookie {listener.netns})",
        "register it with --netns of its own namespace",
    )

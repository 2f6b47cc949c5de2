"""Units that receive sockets, and their effect on them: the traps of Sockets=.

Seen with systemd 252 and 257. docs/check.md and docs/architecture.md have the details.
"""

from __future__ import annotations

from collections.abc import Iterator

from sockreg.check.catalogue import Concern, check, live_check
from sockreg.check.facts import Facts, Host, Setting, Unit
from sockreg.check.finding import Finding, Severity
from sockreg.host.listener import cookie_text
from sockreg.printable import shell
from sockreg.terms import ADDING_PREFIX

_HANGS = (
    "systemd starts the server only while no unit that the socket triggers is active: "
    "clients connect and hang (systemd issue 4389)"
)
_FAILS_THE_SOCKET = "if a unit with Sockets= reaches its start limit, the socket itself fails"
_SHARED = (
    "before ExecStart=, systemd sets O_NONBLOCK of the sockets as NonBlocking= of this "
    "unit says; the running server shares the flag: an event loop hangs, a blocking "
    "server gets EAGAIN"
)


@check(Concern.SERVERS)
def remain_after_exit(facts: Facts) -> Iterator[Finding]:
    """A companion that stays active keeps systemd from starting the server."""
    for unit, socket in _oneshots(facts):
        if unit.is_on("Service", "RemainAfterExit"):
            yield Finding(
                severity=Severity.ERROR,
                check="remain-after-exit",
                where=unit.where("Service", "RemainAfterExit"),
                what=f"{unit.name} receives the sockets of {socket.value} and stays active",
                why=_HANGS,
                fix="set RemainAfterExit=no; if something has to stay active, put it into a unit "
                "without Sockets=, like sockreg@.service",
            )


@check(Concern.SERVERS)
def start_limits(facts: Facts) -> Iterator[Finding]:
    """A companion that reaches a start limit takes the socket down with it."""
    for unit, socket in _oneshots(facts):
        interval = unit.last("Unit", "StartLimitIntervalSec")
        if interval is None or interval.value not in ("0", "infinity"):
            yield Finding(
                severity=Severity.ERROR,
                check="start-limit",
                where=unit.where("Unit", "StartLimitIntervalSec"),
                what=f"{unit.name} has a start limit and receives the sockets of {socket.value}",
                why=_FAILS_THE_SOCKET,
                fix="StartLimitIntervalSec=0 in [Unit]",
            )
        restart = unit.last("Service", "Restart")
        if restart is not None and restart.value != "no":
            yield Finding(
                severity=Severity.ERROR,
                check="restart",
                where=str(restart.place),
                what=f"{unit.name} restarts by itself and receives the sockets of {socket.value}",
                why="while it waits to restart, traffic does not start the server",
                fix="Restart=no",
            )
        timeout = unit.last("Service", "TimeoutStartSec") or unit.last("Service", "TimeoutSec")
        if timeout is None or timeout.value in ("0", "infinity"):
            yield Finding(
                severity=Severity.WARNING,
                check="start-timeout",
                where=unit.where("Service", "TimeoutStartSec"),
                what=f"{unit.name} has no start timeout",
                why="a oneshot unit has no timeout by default, and the server on demand waits "
                f"for it, because {socket.value} triggers both",
                fix="TimeoutStartSec=10",
            )


@check(Concern.SERVERS)
def nonblocking(facts: Facts) -> Iterator[Finding]:
    """Among units that share sockets, the last one to start decides whether they block."""
    for name in facts.counted:
        socket = facts.sockets.get(name)
        server = facts.server_of(socket) if socket else None
        for unit, _ in _companions(facts, name):
            ours = unit.name.startswith(ADDING_PREFIX)
            companion = unit.is_on("Service", "NonBlocking")
            if ours and companion:
                continue  # it restores the flag: docs/nonblocking.md
            wanted = ours or (server is not None and server.is_on("Service", "NonBlocking"))
            if companion != wanted:
                yield Finding(
                    severity=Severity.ERROR,
                    check="nonblocking",
                    where=unit.where("Service", "NonBlocking"),
                    what=f"{unit.name} has NonBlocking={_yes(companion)} and shares the sockets "
                    f"of {name} with {server.name if server else 'the server'}, which wants "
                    f"NonBlocking={_yes(wanted)}",
                    why=_SHARED,
                    fix=f"NonBlocking={_yes(wanted)} in [Service] of {unit.name}"
                    + (", as shipped" if ours else ", or leave this to sockreg@.service"),
                )


@live_check(Concern.SERVERS)
def live_nonblocking(facts: Facts, host: Host) -> Iterator[Finding]:
    """A running server whose socket blocks, against its own unit's setting."""
    for cookie, flag in sorted(host.nonblocking.items()):
        for name in host.units_of(cookie):
            socket = facts.sockets.get(name)
            server = facts.server_of(socket) if socket else None
            if server is None or host.state(server.name).active != "active":
                continue
            if server.is_on("Service", "NonBlocking") and not flag:
                yield Finding(
                    severity=Severity.ERROR,
                    check="nonblocking",
                    where=server.where("Service", "NonBlocking"),
                    what=f"{server.name} runs with NonBlocking=yes, but its socket "
                    f"{cookie_text(cookie)} blocks",
                    why=f"another unit that receives the sockets of {name} has cleared "
                    "O_NONBLOCK: an event loop hangs in accept(2), and everything it serves "
                    "hangs",
                    fix="give that unit NonBlocking=yes, then "
                    f"'systemctl restart {shell(server.name)}'",
                )


@check(Concern.SERVERS)
def stop_hooks(facts: Facts) -> Iterator[Finding]:
    """Commands of the socket unit that get its sockets from systemd at the stop."""
    for name in facts.counted:
        socket = facts.sockets.get(name)
        if socket is None or not socket.is_on("Socket", "PassFileDescriptorsToExec"):
            continue
        for key in ("ExecStopPre", "ExecStopPost"):
            for setting in socket.all("Socket", key):
                yield Finding(
                    severity=Severity.ERROR,
                    check="stop-hook",
                    where=str(setting.place),
                    what=f"{name} has {key}= and passes its sockets to it",
                    why="systemd clears O_NONBLOCK of the sockets before it, and the server "
                    "keeps running with them: an event loop hangs",
                    fix=f"remove {key}=; the slot is emptied when its socket is closed",
                )


@check(Concern.SERVERS)
def dropped_target(facts: Facts) -> Iterator[Finding]:
    """An ordering cycle that systemd breaks by dropping sockets.target."""
    for unit, _ in _oneshots(facts):
        before = [word for word in unit.words("Unit", "Before") if word.value == "sockets.target"]
        if before and unit.is_on("Unit", "DefaultDependencies", default=True):
            yield Finding(
                severity=Severity.ERROR,
                check="ordering-cycle",
                where=str(before[0].place),
                what=f"{unit.name} is ordered before sockets.target and has default dependencies",
                why="these order it after basic.target, which comes after sockets.target: "
                "systemd breaks the cycle by dropping sockets.target",
                fix="DefaultDependencies=no with Conflicts=shutdown.target and "
                "Before=shutdown.target",
            )


def _oneshots(facts: Facts) -> Iterator[tuple[Unit, Setting]]:
    """The companions that do their work and exit; others are servers under another name."""
    for unit, socket in _companions(facts):
        kind = unit.last("Service", "Type")
        if kind is not None and kind.value == "oneshot":
            yield unit, socket


def _companions(facts: Facts, socket: str | None = None) -> Iterator[tuple[Unit, Setting]]:
    """Units that receive the sockets of a counted unit but are not the server of any."""
    servers = {facts.server_name(unit) for unit in facts.sockets.values()}
    for unit in facts.services.values():
        if unit.name in servers:
            continue
        for word in unit.words("Service", "Sockets"):
            if word.value in facts.counted and socket in (None, word.value):
                yield unit, word


def _yes(value: bool) -> str:
    return "yes" if value else "no"

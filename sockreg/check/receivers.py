"""Units that receive sockets, and what they do to them: the traps of Sockets=.

Seen with systemd 252 and 257; docs/check.md and docs/architecture.md tell the whole story.
"""

from __future__ import annotations

from collections.abc import Iterator

from sockreg.check.facts import Facts, Setting, Unit
from sockreg.check.finding import Finding, Severity

_ADD = "sockreg-add@"
_HANGS = (
    "systemd starts the server only while no unit that the socket triggers is active: clients "
    "connect and hang (systemd issue 4389)"
)
_FAILS_THE_SOCKET = "a unit with Sockets= that reaches its start limit fails the socket itself"
_SHARED = (
    "before ExecStart= systemd sets O_NONBLOCK of the sockets as this unit's NonBlocking= says, "
    "and the flag is shared with the running server: an event loop hangs, a blocking server "
    "meets EAGAIN"
)


def remain_after_exit(facts: Facts) -> Iterator[Finding]:
    """A companion that stays active keeps the server from being started."""
    for unit, socket in _oneshots(facts):
        if unit.is_on("Service", "RemainAfterExit"):
            yield Finding(
                Severity.ERROR,
                "remain-after-exit",
                unit.where("Service", "RemainAfterExit"),
                f"{unit.name} receives the sockets of {socket.value} and stays active",
                _HANGS,
                "RemainAfterExit=no; what has to stay active goes into a unit without Sockets=, "
                "as sockreg@.service is",
            )


def start_limits(facts: Facts) -> Iterator[Finding]:
    """A companion that may be refused a start takes the socket down with it."""
    for unit, socket in _oneshots(facts):
        interval = unit.last("Unit", "StartLimitIntervalSec")
        if interval is None or interval.value not in ("0", "infinity"):
            yield Finding(
                Severity.ERROR,
                "start-limit",
                unit.where("Unit", "StartLimitIntervalSec"),
                f"{unit.name} has a start limit and receives the sockets of {socket.value}",
                _FAILS_THE_SOCKET,
                "StartLimitIntervalSec=0 in [Unit]",
            )
        restart = unit.last("Service", "Restart")
        if restart is not None and restart.value != "no":
            yield Finding(
                Severity.ERROR,
                "restart",
                str(restart.place),
                f"{unit.name} restarts by itself and receives the sockets of {socket.value}",
                "as long as it is about to restart, traffic does not start the server",
                "Restart=no",
            )
        timeout = unit.last("Service", "TimeoutStartSec") or unit.last("Service", "TimeoutSec")
        if timeout is None or timeout.value in ("0", "infinity"):
            yield Finding(
                Severity.WARNING,
                "start-timeout",
                unit.where("Service", "TimeoutStartSec"),
                f"{unit.name} may take for ever to start",
                "a oneshot has no timeout by default, and a start of the server on demand waits "
                f"for it, as {socket.value} triggers both",
                "TimeoutStartSec=10",
            )


def nonblocking(facts: Facts) -> Iterator[Finding]:
    """Of units that share sockets, the last one to start decides whether they block."""
    for name in facts.counted:
        socket = facts.sockets.get(name)
        server = facts.server_of(socket) if socket else None
        for unit, _ in _companions(facts, name):
            ours = unit.name.startswith(_ADD)
            companion = unit.is_on("Service", "NonBlocking")
            if ours and companion:
                continue  # it puts the flag back: docs/nonblocking.md
            wanted = ours or (server is not None and server.is_on("Service", "NonBlocking"))
            if companion != wanted:
                yield Finding(
                    Severity.ERROR,
                    "nonblocking",
                    unit.where("Service", "NonBlocking"),
                    f"{unit.name} has NonBlocking={_yes(companion)}, and shares the sockets of "
                    f"{name} with {server.name if server else 'the server'}, which wants "
                    f"NonBlocking={_yes(wanted)}",
                    _SHARED,
                    f"NonBlocking={_yes(wanted)} in [Service] of {unit.name}"
                    + (", as shipped" if ours else ", or leave it to sockreg@.service"),
                )


def live_nonblocking(facts: Facts) -> Iterator[Finding]:
    """A running server whose socket blocks, against its own unit's setting."""
    if facts.host is None:
        return
    for cookie, flag in sorted(facts.host.nonblocking.items()):
        for name in facts.host.units_of(cookie):
            socket = facts.sockets.get(name)
            server = facts.server_of(socket) if socket else None
            if server is None or facts.host.state(server.name).active != "active":
                continue
            if server.is_on("Service", "NonBlocking") and not flag:
                yield Finding(
                    Severity.ERROR,
                    "nonblocking",
                    server.where("Service", "NonBlocking"),
                    f"{server.name} runs with NonBlocking=yes, but its socket sk:{cookie:x} blocks",
                    f"another unit that receives the sockets of {name} has cleared O_NONBLOCK: an "
                    "event loop hangs in accept(2), and everything it serves with it",
                    f"give that unit NonBlocking=yes, then 'systemctl restart {server.name}'",
                )


def stop_hooks(facts: Facts) -> Iterator[Finding]:
    """Commands of the socket unit that systemd passes its sockets to at the stop."""
    for name in facts.counted:
        socket = facts.sockets.get(name)
        if socket is None or not socket.is_on("Socket", "PassFileDescriptorsToExec"):
            continue
        for key in ("ExecStopPre", "ExecStopPost"):
            for setting in socket.all("Socket", key):
                yield Finding(
                    Severity.ERROR,
                    "stop-hook",
                    str(setting.place),
                    f"{name} has {key}= and passes its sockets to it",
                    "systemd clears O_NONBLOCK of the sockets before it, and the server runs on "
                    "with them: an event loop hangs",
                    f"remove {key}=; a slot empties itself when its socket is closed",
                )


def dropped_target(facts: Facts) -> Iterator[Finding]:
    """An ordering cycle that systemd breaks by leaving sockets.target out."""
    for unit, _ in _oneshots(facts):
        before = [it for it in unit.words("Unit", "Before") if it.value == "sockets.target"]
        if before and unit.is_on("Unit", "DefaultDependencies", default=True):
            yield Finding(
                Severity.ERROR,
                "ordering-cycle",
                str(before[0].place),
                f"{unit.name} is ordered before sockets.target and has default dependencies",
                "those order it after basic.target, which comes after sockets.target: systemd "
                "breaks the cycle by dropping sockets.target",
                "DefaultDependencies=no with Conflicts=shutdown.target and Before=shutdown.target",
            )


def _oneshots(facts: Facts) -> Iterator[tuple[Unit, Setting]]:
    """The companions that do their work and end; others are servers under another name."""
    for unit, socket in _companions(facts):
        kind = unit.last("Service", "Type")
        if kind is not None and kind.value == "oneshot":
            yield unit, socket


def _companions(facts: Facts, socket: str | None = None) -> Iterator[tuple[Unit, Setting]]:
    """Units that receive the sockets of a counted unit and are not the server of any."""
    servers = {facts.server_name(unit) for unit in facts.sockets.values()}
    for unit in facts.services.values():
        if unit.name in servers:
            continue
        for word in unit.words("Service", "Sockets"):
            if word.value in facts.counted and socket in (None, word.value):
                yield unit, word


def _yes(value: bool) -> str:
    return "yes" if value else "no"

"""Having systemd start sockreg when network interfaces come and go, and to look at members.

A timer of systemd looks for stalled members while units say Drain=stalled. For interfaces, systemd
listens on a netlink socket, sockreg-interfaces.socket, and starts a oneshot for what
arrives there. The socket is open only while rules in force name interfaces.
"""

from __future__ import annotations

import os
import subprocess

from sockreg.context import BPFFS, Context
from sockreg.registry.generation_record import Header
from sockreg.systemd import journal
from sockreg.terms import INTERFACES_SERVICE, INTERFACES_SOCKET, STALLED_SERVICE, STALLED_TIMER

_BOOTED = "/run/systemd/system"  # sd_booted(3)


def watch(context: Context, before: Header | None, after: Header | None) -> None:
    """Open the socket if rules name interfaces, and close it with the last such rule.

    ``before`` and ``after`` are of the generations in force before and after a change. If systemd
    cannot do it, a notice says so: the rules are in force.
    """
    wanted = after is not None and bool(after.interfaces)
    if not wanted and not (before is not None and before.interfaces):
        return  # a host without such rules pays nothing, not even this question
    if not is_systemds(context):
        if wanted and not (before is not None and before.interfaces):
            journal.say(
                "systemd does not see the interfaces of these rules: run 'sockreg apply "
                "--interfaces' after they change"
            )
        return
    if not wanted:
        _systemctl("stop", "--no-block", INTERFACES_SOCKET)
        return
    if _systemctl("is-active", "--quiet", INTERFACES_SOCKET).returncode == 0:
        return
    # The service looks once at the beginning: since this process did, much may have changed.
    done = _systemctl("start", "--no-block", INTERFACES_SOCKET, INTERFACES_SERVICE)
    if done.returncode != 0 and not _is_stopping():
        said = done.stderr.strip().split("\n")[0]
        journal.say(
            f"cannot start {INTERFACES_SOCKET}: {said or 'systemctl failed'}; until "
            "it runs, rules follow interfaces only when 'sockreg apply --interfaces' is run",
            priority=journal.WARNING,
        )


def watch_members(context: Context, before: Header | None, after: Header) -> None:
    """Start the timer that looks for stalled members if a unit says Drain=stalled.

    Stops it with the last such unit, after one more look, which lets all members have their share.
    Arguments are as in watch().
    """
    wanted, had = bool(after.drains), before is not None and bool(before.drains)
    if not wanted and not had:
        return
    if not is_systemds(context):
        if wanted and not had:
            journal.say(
                "systemd does not look for stalled members here: run 'sockreg drain --stalled' "
                "every few seconds, also once after the last unit with Drain=stalled is gone"
            )
        return
    if not wanted:
        _systemctl("stop", "--no-block", STALLED_TIMER)
        _systemctl("start", "--no-block", STALLED_SERVICE)
        return
    done = _systemctl("start", "--no-block", STALLED_TIMER)
    if done.returncode != 0 and not _is_stopping():
        said = done.stderr.strip().split("\n")[0]
        journal.say(
            f"cannot start {STALLED_TIMER}: {said or 'systemctl failed'}; until it runs, stalled "
            "members keep their share",
            priority=journal.WARNING,
        )


def unwatch() -> None:
    """Close the socket, because no rule of its network namespace names an interface."""
    _systemctl("stop", "--no-block", INTERFACES_SOCKET)


def is_systemds(context: Context) -> bool:
    """Whether systemd's sockets are in this network namespace, and its services find the registry.

    Its units cannot look, and are in it unless their files say otherwise.
    """
    if not os.path.isdir(_BOOTED) or context.bpffs != BPFFS:
        return False
    try:
        return os.stat("/proc/1/ns/net").st_ino == context.netns.inode
    except OSError:
        return "INVOCATION_ID" in os.environ  # systemd.exec(5)


def _is_stopping() -> bool:
    """Whether the host shuts down, when systemd starts nothing."""
    return _systemctl("is-system-running").stdout.strip() == "stopping"


def _systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["systemctl", *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess(arguments, 1, "", f"systemctl: {error.strerror}")

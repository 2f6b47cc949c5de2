"""What ExecStop= of the loader does, and of the unit beside it that loads the sock_ops program.

systemd does not tell ExecStop= why it runs, but its jobs do. A restart leaves everything in force:
the start that follows changes what is different, in one step. At shutdown there is nothing to
clean up, because the state in the kernel ends with the kernel. A soft-reboot keeps the kernel, so
all state is removed, as a reboot would have done.
"""

import posix

from sockreg.companion.counting import own_registry
from sockreg.systemd import systemctl
from sockreg.terms import SHUTDOWN

_SOFT_REBOOT = "soft-reboot.target"  # systemd 254; it pulls in shutdown.target
_KEEP = "--keep"


def leave(unit: str, bpffs: str, command: list[str]) -> None:
    """Run ``command`` in place of this process, unless systemd is about to start ``unit`` again.

    ``command`` is the argument vector of 'sockreg unload'. Without a registry, there is nothing
    to do. If systemd does not answer, nothing changes; raises SockregError.
    """
    jobs = systemctl.jobs(unit, SHUTDOWN, _SOFT_REBOOT)
    if _SOFT_REBOOT in jobs:
        command = [word for word in command if word != _KEEP]
        _say_nothing()
    elif SHUTDOWN in jobs or jobs.get(unit) == "restart":
        return
    try:
        posix.stat(own_registry(bpffs))
    except FileNotFoundError:
        return
    posix.execv(command[0], command)


def _say_nothing() -> None:
    """The journal ends at the same time, and what is written to it then fails the command."""
    nothing = posix.open("/dev/null", posix.O_RDWR)
    for fd in (1, 2):
        posix.dup2(nothing, fd)

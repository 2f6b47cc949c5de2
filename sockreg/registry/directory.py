"""Where the state of a network namespace is pinned.

    BPFFS/sockreg/NETNS/            the registry; its lock guards slots and members
        sockets counters pools destinations members units       pinned maps
        flows owners                optional: see registry/flows.py
        copy_socket                 a program that copies a socket from slot to slot
        published                   what readers may know, see registry/published.py
        link                        the attached program: this is in force
        generations/                its lock guards the swap of generations
            7/program table rules [counters] [tracing]
                                    a compiled rule set and the program that holds it; its own
                                    counters if the registry's were too small or replaced; and
                                    a program that runs in its place, see registry/tracing.py
        ssh-2-22-9c5b0f3a/       a label that carries ssh, see registry/ssh_labels.py
        unconfirmed-7-123456789/    a change that reverts by itself, see registry/trial.py
        end-1795744876/             locked by who waits for the end of a rule, see commands/wake.py
        sockops/                    optional: see registry/sockops.py
        lock/                       stands for the registry where that is locked, see locks.py

NETNS is the namespace's cookie (SO_NETNS_COOKIE), which is never reused, unlike an inode number. It
is ``inode-N`` on kernels before 5.14. bpffs forbids dots in names.

On the companion's start-up path.
"""

import errno
import posix

from sockreg.errors import AccessError, NotLoadedError, SockregError
from sockreg.printable import shell

BPFFS = "/sys/fs/bpf"
HOME = "sockreg"  # sockreg's directory in the bpffs
MAPS = ("sockets", "counters", "pools", "destinations", "members", "units")
FLOWS = "flows"
OWNERS = "owners"
COPY = "copy_socket"  # a program that copies a socket between slots
PUBLISHED = "published"
LINK = "link"
GENERATIONS = "generations"
PROGRAM = "program"
TRACING = "tracing"
TABLE = "table"
RULES = "rules"
COUNTERS = "counters"
LOCK = "lock"  # a directory
SOCKOPS = "sockops"  # the directory of the sock_ops program
EXPECTED = "expected"  # units, see registry/sockops_expected.py
DENIED = (errno.EACCES, errno.EPERM, errno.ENOSYS)  # what bpf(2) refuses with, see denied()
UNFINISHED = "new-"  # prefix of a registry or generation that is being built


def netns_name(cookie: int, inode: int) -> str:
    """The directory name of a network namespace."""
    return str(cookie) if cookie else f"inode-{inode}"


def named_bpffs() -> str:
    """The bpffs that SOCKREG_BPFFS= of this process names, or the default."""
    return posix.environ.get(b"SOCKREG_BPFFS", BPFFS.encode()).decode("utf-8", "surrogateescape")


def registry_path(bpffs: str, netns: str) -> str:
    return f"{bpffs}/{HOME}/{netns}"


def not_loaded(path: str) -> SockregError:
    return NotLoadedError(
        f"no registry at {path}: nothing is loaded in this network namespace",
        "start it: 'systemctl start sockreg.service' or 'sockreg load'",
    )


def not_in_force(path: str) -> SockregError:
    """The error of a command that changes rules while the program is detached."""
    return NotLoadedError(
        f"nothing is in force: no program of the registry at {path} is attached",
        "start it: 'systemctl start sockreg.service' or 'sockreg load'; registered sockets and "
        "counters are kept",
    )


def damaged(path: str) -> SockregError:
    """The error for a pin that is not there, or is something else, in a registry that is there."""
    return SockregError(
        f"{path} is missing, or is not what sockreg had pinned there",
        f"'rm -f {shell(path)}', then 'sockreg apply', puts a map back; if that is refused, "
        "'sockreg unload', then 'systemctl restart sockreg.service', makes the registry again with "
        "the sockets of started units",
    )


def is_there(registry: str) -> bool:
    """Whether there is a registry, perhaps without some of its pins."""
    try:
        posix.stat(registry)
    except OSError:
        return False
    return True


def denied(path: str, error: OSError) -> SockregError:
    """The error for a pin that may not be opened. Looks for the cause, which takes a while."""
    hint = "run it as root, or as a member of the group that owns the pin"
    # Not the pin's mode (EACCES of others than root) but bpf(2) itself refuses.
    if error.errno != errno.EACCES or posix.geteuid() == 0:
        from sockreg.host import bpf_access

        hint = bpf_access.remedy()
    return AccessError(f"{path}: {error.strerror}", hint)

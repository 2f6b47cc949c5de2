"""Reading registries without root: the members of a group.

sockreg's directory in the bpffs belongs to the group and has the set-group-ID bit. Everything
created below it belongs to the group as well (inode_init_owner() in fs/inode.c), so writers need no
right to change owners. The bpffs itself stays as systemd mounts it, open only to root. A mount unit
shows the directory at another path.
"""

import contextlib
import grp
import os
import stat
from pathlib import Path

from sockreg.errors import AccessError, RefusedError
from sockreg.host.mounts import mounts
from sockreg.printable import shell
from sockreg.registry.directory import BPFFS, HOME

GROUP = "sockreg"
WINDOW = "/run/sockreg/bpf"  # where run-sockreg-bpf-sockreg.mount shows sockreg's directory

UNPRIVILEGED = "/proc/sys/kernel/unprivileged_bpf_disabled"
_MODE = 0o2710  # enter, and not open: see registry/locks.py


def usual_bpffs() -> str:
    """The default bpffs; for users who cannot enter it, the path of the mount unit."""
    if not os.access(BPFFS, os.X_OK) and os.path.exists(f"{WINDOW}/{HOME}"):
        return WINDOW
    return BPFFS


def exists(registry: str) -> bool:
    """Whether a registry is there. AccessError if this user may not know."""
    try:
        found = os.stat(registry)  # Path.is_dir() may hide EACCES
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise AccessError(
            f"{registry}: {error.strerror}",
            f"run it as root or as a member of group {GROUP}; systemd mounts /sys/fs/bpf "
            f"only for root; members need {WINDOW}: see sockreg(8)",
        ) from None
    if found.st_uid not in (0, os.geteuid()):
        raise RefusedError(
            f"{registry} belongs to user {found.st_uid}, who decides what is in it",
            "remove it, and load again below a bpffs that others cannot write to",
        )
    return stat.S_ISDIR(found.st_mode)


def loopholes() -> list[tuple[str, str]]:
    """What lets readers write to maps that they may only read, and the command that helps.

    The kernel keeps a descriptor that was opened for reading from writing, but not a second pin of
    the map, or a program that uses it. Empty if this system has no readers.
    """
    try:
        grp.getgrnam(GROUP)
    except KeyError:
        return []
    found = []
    for path in sorted({mount.path for mount in mounts() if mount.kind == "bpf"}):
        with contextlib.suppress(OSError):
            if os.stat(path).st_mode & stat.S_IWOTH:
                what = f"everybody may make pins in the bpffs at {path}"
                found.append((what, f"chmod go-w {shell(path)}"))
    with contextlib.suppress(OSError), open(UNPRIVILEGED, encoding="ascii") as setting:
        if setting.read().strip() == "0":
            what = "everybody may load BPF programs: kernel.unprivileged_bpf_disabled is 0"
            found.append((what, "sysctl -w kernel.unprivileged_bpf_disabled=2"))
    return found


def let_in(home: Path) -> None:
    """Open sockreg's directory in the bpffs to the group, if this system has that group."""
    try:
        group = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return
    found = home.stat()
    if found.st_gid == group and found.st_mode & 0o7777 == _MODE:
        return
    # Without CAP_CHOWN, only root can read. A unit does this before it drops capabilities.
    with contextlib.suppress(PermissionError):
        os.chown(home, -1, group)
        home.chmod(_MODE)

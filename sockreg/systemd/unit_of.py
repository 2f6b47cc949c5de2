"""The systemd unit of a process, from its cgroup (proc(5), cgroups(7)).

On the start-up path of the receiver: this module imports next to nothing.
"""

import posix

from sockreg.terms import NO_UNIT as NO_UNIT


def unit_of(pid: int) -> str:
    """The systemd unit of a process, or ``-``. Raises OSError if there is no such process."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="backslashreplace") as text:
        return unit_of_membership(text.read())


def unit_of_this_process() -> str:
    """The unit of this process, or ``-``."""
    return unit_of(posix.getpid())


def unit_of_membership(text: str) -> str:
    """The unit in the text of a /proc/PID/cgroup.

    systemd keeps its tree in the hierarchy without a number. On hosts with cgroup v1, it uses a
    hierarchy that it named itself (cgroups(7)).
    """
    paths = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        paths[controllers] = path
    for hierarchy in ("name=systemd", ""):
        unit = unit_of_cgroup(paths.get(hierarchy, "/"))
        if unit != NO_UNIT:
            return unit
    return NO_UNIT


def unit_of_cgroup(path: str) -> str:
    """The unit of a cgroup: the first part of its path that is not a slice.

    This is how systemd does it (cg_path_get_unit() in src/basic/cgroup-util.c). Processes of a
    user's own service manager belong to user@UID.service. A login session and systemd itself are no
    service: they give ``-``, as if there were no systemd.
    """
    for part in path.split("/"):
        # systemd puts an underscore before a name that could be a file of the kernel.
        name = part.removeprefix("_")
        if name in ("", "..") or name.endswith(".slice"):
            continue
        if (name.startswith("session-") and name.endswith(".scope")) or name == "init.scope":
            return NO_UNIT
        suffixes = (".service", ".socket", ".scope", ".mount", ".swap")
        return name if name.endswith(suffixes) else NO_UNIT
    return NO_UNIT

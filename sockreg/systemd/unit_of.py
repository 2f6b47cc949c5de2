"""Which systemd unit a process belongs to, from its cgroup (proc(5), cgroups(7)).

On the start-up path of the receiver: imports next to nothing.
"""

import posix

NO_UNIT = "-"  # a process, or a socket, of no unit


def unit_of(pid: int) -> str:
    """The systemd unit a process belongs to, or ``-``. OSError if there is no such process."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="backslashreplace") as text:
        return unit_of_membership(text.read())


def unit_of_this_process() -> str:
    """The unit this process runs in, or ``-``."""
    return unit_of(posix.getpid())


def unit_of_membership(text: str) -> str:
    """The unit in the text of a /proc/PID/cgroup.

    systemd keeps its tree in the hierarchy without a number, or on hosts with cgroup v1
    in the one it named itself (cgroups(7)).
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
    """The unit that a cgroup is of: the first part of its path that is no slice.

    So does systemd (cg_path_get_unit() in src/basic/cgroup-util.c); what a user's own
    manager runs is of user@UID.service. A login session and systemd itself are no
    services of anybody: ``-``, as if there were no systemd.
    """
    for part in path.split("/"):
        # A name that the kernel could take for a file of its own has an underscore before it.
        name = part.removeprefix("_")
        if name in ("", "..") or name.endswith(".slice"):
            continue
        if (name.startswith("session-") and name.endswith(".scope")) or name == "init.scope":
            return NO_UNIT
        suffixes = (".service", ".socket", ".scope", ".mount", ".swap")
        return name if name.endswith(suffixes) else NO_UNIT
    return NO_UNIT

"""The systemd unit of a process, from its cgroup (proc(5), cgroups(7)).

A user may name cgroups below those that systemd has given to him, with any byte except NUL, ``/``
and the end of a line. Everything that reads cgroups does it here.

On the start-up path of the receiver: this module imports next to nothing.
"""

import posix

from sockreg.terms import NO_UNIT as NO_UNIT

_NAME_MAX = 255  # UNIT_NAME_MAX of systemd, without its NUL
_NAME_CHARACTERS = frozenset(
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:-_.\\@"
)
_KINDS = (".service", ".socket", ".scope", ".mount", ".swap")  # with a cgroup; slices have others


def unit_of(pid: int) -> str:
    """The systemd unit of a process, or ``-``. Raises OSError if there is no such process.

    A process may end, and another get its number, at any moment: ask a pidfd after this whether
    it still lives, if something depends on the answer.
    """
    with open(f"/proc/{pid}/cgroup", "rb") as text:
        return unit_of_membership(text.read())


def unit_of_this_process() -> str:
    """The unit of this process, or ``-``."""
    return unit_of(posix.getpid())


def unit_of_membership(text: bytes) -> str:
    """The unit in the text of a /proc/PID/cgroup.

    systemd keeps its tree in the hierarchy without a number. On hosts with cgroup v1, it uses a
    hierarchy that it named itself (cgroups(7)).
    """
    paths = cgroup_paths(text)
    unit = unit_of_cgroup(paths.get("name=systemd", "/"))
    return unit_of_cgroup(paths.get("", "/")) if unit == NO_UNIT else unit


def cgroup_paths(text: bytes) -> dict[str, str]:
    """The paths in the text of a /proc/PID/cgroup, by controllers; ``""`` is cgroup v2.

    Only a line feed ends a line: the kernel refuses it in names, and no other character.
    """
    paths: dict[str, str] = {}
    for line in text.split(b"\n"):
        number, _, rest = line.decode("utf-8", "surrogateescape").partition(":")
        controllers, colon, path = rest.partition(":")
        if colon and number.isascii() and number.isdigit():
            paths.setdefault(controllers, path)
    return paths


def unit_of_cgroup(path: str) -> str:
    """The unit of a cgroup: the first part of its path that is not a slice.

    This is how systemd does it (cg_path_get_unit() in src/basic/cgroup-util.c). What is below is
    of the unit's own making, and so are the names there. Processes of a user's own service manager
    belong to user@UID.service. A login session and systemd itself are no service: they give ``-``,
    as if there were no systemd. So does a cgroup outside of this process's part of the tree: its
    path begins with ``..``, and what is above is not known.
    """
    for part in path.split("/"):
        # systemd puts an underscore before a name that could be a file of the kernel.
        name = part.removeprefix("_")
        if not part or (_is_unit(name, ".slice") and "@" not in name):
            continue
        if (name.startswith("session-") and name.endswith(".scope")) or name == "init.scope":
            return NO_UNIT
        return name if any(_is_unit(name, kind) for kind in _KINDS) else NO_UNIT
    return NO_UNIT


def _is_unit(name: str, kind: str) -> bool:
    """Whether this is a name that systemd gives to a unit: unit_name_is_valid().

    Templates are no units: nothing runs in them.
    """
    stem = name.removesuffix(kind)
    if len(name) > _NAME_MAX or stem in (name, "") or not _NAME_CHARACTERS.issuperset(stem):
        return False
    prefix, at, instance = stem.partition("@")
    return bool(prefix and (instance or not at))

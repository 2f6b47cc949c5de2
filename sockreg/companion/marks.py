"""Marks that keep sockreg-add@.service from registering again what is registered.

They are files below /run that its ConditionPathExists= looks at. A mark that is missing only costs
a registration, which is right at any time. On the companion's start-up path.
"""

import posix

_NAME = "sockreg-registered"


def put(unit: str) -> None:
    """Leave a mark for a .socket unit, if the directory is there."""
    try:
        posix.close(posix.open(_path(unit), posix.O_WRONLY | posix.O_CREAT, 0o600))
    except FileNotFoundError:
        return  # another instance has stopped, and systemd has removed the directory


def remove(unit: str) -> None:
    """Remove the mark of a .socket unit, if there is one."""
    try:  # noqa: SIM105  # contextlib is a heavy import on this path
        posix.unlink(_path(unit))
    except FileNotFoundError:
        pass


def remove_all(units: list[str]) -> None:
    """Remove the marks of some units, in a process that systemd has made no directory for."""
    for unit in units:
        try:  # noqa: SIM105
            posix.unlink(f"/run/{_NAME}/{unit.removesuffix('.socket')}")
        except FileNotFoundError:
            pass


def _path(unit: str) -> str:
    """The mark's path, in one of the directories that systemd has made for this process.

    All instances share the directory. The first instance of sockreg@.service to stop, other than in
    a restart, removes it (RuntimeDirectoryPreserve=restart).
    """
    directories = posix.environ.get(b"RUNTIME_DIRECTORY", b"").decode("utf-8", "surrogateescape")
    for directory in directories.split(":"):
        if directory.endswith(f"/{_NAME}"):
            return f"{directory}/{unit.removesuffix('.socket')}"
    return f"/nowhere/{_NAME}"

"""Registering the sockets of many units at boot, in one process.

A process with the hardening of a companion takes as much time to start as some hundred
registrations. sockreg-boot@.service is passed the sockets of all units that boot_units.py has
found. What it does not register is left to the companions of these units, which say why.
"""

from sockreg.companion import counting, marks
from sockreg.companion.registering import registry_of
from sockreg.errors import NotLoadedError, SockregError
from sockreg.registry import registration
from sockreg.systemd import listen_fds


def register_all(units: str, bpffs: str, root: str) -> None:
    """Register the passed sockets. ``units`` is a file with a line ``UNIT NAME`` for each unit,
    where NAME is the one under which systemd passes its sockets (FileDescriptorName=).

    Raises OSError without that file, and UsageError if no sockets were passed.
    """
    unit_of = {}
    with open(units, "rb") as lines:
        for line in lines:
            unit, _, name = line.decode("ascii").rstrip("\n").partition(" ")
            unit_of[name] = unit
    sockets: dict[str, list[tuple[int, str]]] = {}
    for fd, name in listen_fds.received():
        if name in unit_of:
            sockets.setdefault(unit_of[name], []).append((fd, name))
    for unit, received in sockets.items():
        try:
            registration.register(received, unit, bpffs, root=root)
            registry = registry_of(received, bpffs)
            counts = registry is not None and counting.count(registry, unit, root)
        except NotLoadedError:
            return
        except (SockregError, OSError):
            continue
        if counts:
            marks.put(unit)

"""Registering the sockets of many units at boot, in one process.

A process with the hardening of a companion takes as much time to start as some hundred
registrations. sockreg-boot@.service is passed the sockets of all units that boot_units.py has
found. What it does not register is left to the companions of these units, which say why.
"""

import errno

from sockreg.companion import counting, marks
from sockreg.companion.registering import registry_of
from sockreg.errors import NotLoadedError, SockregError
from sockreg.registry import registration
from sockreg.systemd import listen_fds

# Of sockreg-generator at boot, and of 'sockreg enable'.
_PLACES = ("/run/systemd/system", "/run/systemd/generator")


def register_all(instance: str, bpffs: str, root: str) -> None:
    """Register the passed sockets, as those of the units that sockreg-boot@INSTANCE.service names.

    Raises OSError if they are not named, and UsageError if no sockets were passed.
    """
    unit_of = _units(instance)
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


def _units(instance: str) -> dict[str, str]:
    """The unit of each name under which systemd passes sockets (FileDescriptorName=).

    The file has a line ``UNIT NAME`` for each unit. Raises OSError without one.
    """
    for place in _PLACES:
        try:
            with open(f"{place}/sockreg-boot@{instance}.service.d/units", "rb") as lines:
                pairs = [line.decode("ascii").rstrip("\n").partition(" ") for line in lines]
        except FileNotFoundError:
            continue
        return {name: unit for unit, _, name in pairs}
    raise FileNotFoundError(errno.ENOENT, f"no file names the units of instance {instance}")

"""Destinations that carry ssh: a rule leads the port of ssh to its own socket, by a label.

Without such a mark, another socket could take the label and ssh with it. A mark is a directory in
the registry, ``ssh-SLOT-PORT-UNIT``: the slot of the destination, the port of ssh, and a checksum
of the name of the unit whose socket it is. Each apply writes them.

On the companion's start-up path. Registrations only look at marks; they know nothing of rules.
"""

import posix

from sockreg.errors import RefusedError
from sockreg.systemd.unit_of import NO_UNIT

_PREFIX = "ssh-"


def marks(registry: str) -> dict[int, list[tuple[int, str]]]:
    """(port, checksum of the unit) by the slots of destinations that carry ssh."""
    found: dict[int, list[tuple[int, str]]] = {}
    for name in posix.listdir(registry):
        if name.startswith(_PREFIX):
            slot, port, unit = name[len(_PREFIX) :].split("-")
            found.setdefault(int(slot), []).append((int(port), unit))
    return found


def carried_by(registry: str, unit: str) -> list[int]:
    """The ports of ssh that rules lead to a socket of this unit."""
    found = [mark for some in marks(registry).values() for mark in some]
    return sorted({port for port, of in found if of == checksum(unit)}) if found else []


def write(registry: str, wanted: set[tuple[int, int, str]]) -> None:
    """Mark these (slot, port, unit), and no others."""
    names = {f"{_PREFIX}{slot}-{port}-{checksum(unit)}" for slot, port, unit in wanted}
    present = {name for name in posix.listdir(registry) if name.startswith(_PREFIX)}
    for name in sorted(names - present):
        posix.mkdir(f"{registry}/{name}", 0o750)
    for name in sorted(present - names):
        posix.rmdir(f"{registry}/{name}")


def refuse_others(
    registry: str, slot: int, destination: str, unit: str, port: int | None, *, what: str
) -> None:
    """Raise RefusedError if a destination carries ssh, and this socket is not ssh's.

    A socket is ssh's if it has ssh's ``port`` or is of the same unit. ``port`` None is no socket
    at all: ssh's would go. ``what`` is what is refused.
    """
    marked = marks(registry).get(slot, [])
    for ssh_port, of in marked:
        if port == ssh_port or (port is not None and unit != NO_UNIT and of == checksum(unit)):
            return
    if marked:
        raise RefusedError(
            f"{what}: a rule leads port {marked[0][0]} of this host, which ssh listens on, to "
            f"label {destination}",
            "use another label, or first remove the rule that 'sockreg rules' shows; "
            "TakeSsh=yes in section [:registry] allows it if there is another way in",
        )


def checksum(unit: str) -> str:
    import binascii

    return f"{binascii.crc32(unit.encode()):08x}"

"""The units that count, and the state of their files when they were read.

Callers hold the lock of the registry's directory for everything that writes.
On the companion's start-up path.
"""

from sockreg.kernel import bpf
from sockreg.registry import layout
from sockreg.registry.maps import Maps


class UnitState:
    """What the registry stores about a unit that counts.

    ``active`` is whether its sockreg@ instance is started. ``files`` are files_state() of its files
    when they were read (systemd/unitpaths.py). ``label`` and ``weight`` are those of its sockets in
    these files, and ``weight_said`` is whether the files say a weight. ``exact`` is whether they
    say Reuseport=no, and ``sticky`` whether they say Flows=sticky.
    """

    def __init__(
        self,
        active: bool,
        files: tuple[int, int, int, int],
        *,
        label: str,
        weight: int,
        weight_said: bool,
        exact: bool = False,
        sticky: bool = False,
    ) -> None:
        self.active = active
        self.files = files
        self.label = label
        self.weight = weight
        self.weight_said = weight_said
        self.exact = exact
        self.sticky = sticky


def _key(unit: str) -> bytes:
    return layout.UNIT_NAME.pack(unit.encode("ascii"))


def unit_state(maps: Maps, unit: str) -> UnitState | None:
    """The state of a unit, or None if it does not count."""
    return _state(maps, _key(unit))


def _state(maps: Maps, key: bytes) -> UnitState | None:
    value = bpf.map_lookup(maps.units, key, layout.UNIT_STATE.size)
    if value is None:
        return None
    active, files, newest, inodes, size, weight, flags, label = layout.UNIT_STATE.unpack(value)
    return UnitState(
        bool(active),
        (files, newest, inodes, size),
        label=layout.text(label),
        weight=weight,
        weight_said=bool(flags & layout.MEMBER_WEIGHT_SAID),
        exact=bool(flags & layout.MEMBER_EXACT),
        sticky=bool(flags & layout.MEMBER_STICKY),
    )


def read_units(maps: Maps) -> dict[str, UnitState]:
    """All units that count."""
    found = {}
    for key in bpf.map_keys(maps.units, layout.UNIT_NAME.size):
        state = _state(maps, key)
        if state is not None:
            found[layout.text(key)] = state
    return found


def active_units(maps: Maps) -> set[str]:
    """The units whose sockreg@ instance is started."""
    return {unit for unit, state in read_units(maps).items() if state.active}


def write_unit(maps: Maps, unit: str, state: UnitState) -> None:
    """Make a unit count."""
    value = layout.UNIT_STATE.pack(
        state.active,
        *state.files,
        state.weight,
        layout.MEMBER_WEIGHT_SAID * state.weight_said
        | layout.MEMBER_EXACT * state.exact
        | layout.MEMBER_STICKY * state.sticky,
        state.label.encode("ascii", "replace")[: layout.LABEL_SIZE - 1],
    )
    bpf.map_update(maps.units, _key(unit), value)


def drop_unit(maps: Maps, unit: str) -> None:
    """Make a unit no longer count."""
    bpf.map_delete(maps.units, _key(unit))

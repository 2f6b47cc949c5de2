"""The units that count, and the state of their files when they were read.

On the companion's start-up path.
"""

from sockreg.kernel import bpf
from sockreg.label import DEFAULT_WEIGHT
from sockreg.registry import layout
from sockreg.registry.maps import Maps


def read_units(maps: Maps) -> dict[str, tuple[int, ...]]:
    """The units that count, with the members of their struct unit_state."""
    found = {}
    for key in bpf.map_keys(maps.units, layout.UNIT_NAME.size):
        value = bpf.map_lookup(maps.units, key, layout.UNIT_STATE.size)
        if value is not None:
            found[layout.text(key)] = layout.UNIT_STATE.unpack(value)
    return found


def write_unit(
    maps: Maps, unit: str, active: bool, files: tuple[int, int, int, int], weight: int
) -> None:
    """Let a unit count; ``files`` are files_state() of its files."""
    bpf.map_update(
        maps.units,
        layout.UNIT_NAME.pack(unit.encode("ascii")),
        layout.UNIT_STATE.pack(active, *files, weight, 0),
    )


def unit_weight(maps: Maps, unit: str) -> int:
    """The weight that the unit's files give its sockets, as the loader read them."""
    key = layout.UNIT_NAME.pack(unit.encode("ascii"))
    value = bpf.map_lookup(maps.units, key, layout.UNIT_STATE.size)
    return DEFAULT_WEIGHT if value is None else int(layout.UNIT_STATE.unpack(value)[5])

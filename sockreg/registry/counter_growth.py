"""Counters that outgrow their map: a bigger map continues from the old counts.

Maps have a fixed size, and counters take memory on every CPU. So they start small, and a generation
whose rules point to slots beyond them gets its own map.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

from sockreg.kernel import bpf, libbpf
from sockreg.registry import layout
from sockreg.registry.directory import COUNTERS
from sockreg.registry.pins import pin, pinned


def size_for(slots: int) -> int:
    """How many entries to create for this many slots: the next power of two."""
    return 1 << (slots - 1).bit_length()


def value_size() -> int:
    """Bytes of a value: the values of the CPUs are side by side, each a multiple of 8 long."""
    return layout.COUNTERS.size * libbpf.possible_cpus()


@contextlib.contextmanager
def counting_on(registry: str, generation: Path, failed: list[OSError]) -> Iterator[None]:
    """While a generation comes into force: its own counters continue from the registry's.

    What fails after the block is added to ``failed``: the generation is in force.
    """
    own = generation / COUNTERS
    if not own.exists():
        yield
        return
    with pinned(f"{registry}/{COUNTERS}") as theirs, pinned(own) as ours:
        copied = _copy(theirs, ours)
        yield
        try:
            _add_later(theirs, ours, copied)
            share(registry, generation)
        except OSError as error:
            failed.append(error)


def share(registry: str, current: Path) -> None:
    """Make the counters of the generation in force those of the registry.

    The other generations have counted in the registry's previous map and keep it, in case one of
    them comes back into force. An interruption is repaired by doing this again.
    """
    own, shared = current / COUNTERS, Path(registry, COUNTERS)
    if not own.exists():
        return
    with pinned(shared) as counters:
        for other in current.parent.iterdir():
            complete = other.name.isdecimal()
            if complete and other != current and not (other / COUNTERS).exists():
                pin(counters, other / COUNTERS)
    own.rename(shared)


def _copy(old: int, new: int) -> list[bytes]:
    """Copy the values of map ``old`` to map ``new``. Returns them by slot."""
    size = value_size()
    values = []
    for slot in range(min(bpf.map_capacity(old), bpf.map_capacity(new))):
        value = bpf.map_lookup(old, layout.SLOT.pack(slot), size) or bytes(size)
        bpf.map_update(new, layout.SLOT.pack(slot), value)
        values.append(value)
    return values


def _add_later(old: int, new: int, copied: list[bytes]) -> None:
    """Add to map ``new`` what map ``old`` has counted since its values were copied."""
    size = value_size()
    numbers = struct.Struct(f"={size // 8}Q")
    for slot, before in enumerate(copied):
        key = layout.SLOT.pack(slot)
        after = bpf.map_lookup(old, key, size) or before
        if after == before:
            continue
        now = bpf.map_lookup(new, key, size) or bytes(size)
        columns = map(numbers.unpack, (now, after, before))
        total = [own + late - early for own, late, early in zip(*columns, strict=True)]
        bpf.map_update(new, key, numbers.pack(*total))

"""Is this file our object, whole and of this version?

The shipped file is known by its hash; others are looked at with pyelftools.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sockreg.errors import SockregError
from sockreg.kernel import shipped
from sockreg.kernel.object_source import OBJECT, SOURCE

if TYPE_CHECKING:
    from sockreg.kernel.btf import MapDefinition

SOURCE_SECTION = "sockreg.source"
_SECTIONS = ("sk_lookup", "license", ".maps", ".BTF", ".rodata.config", ".data.table")
_LICENSE = "Dual MIT/GPL"


@dataclass(frozen=True)
class ObjectInfo:
    """``source`` is the SHA-256 (hex) of the C sources it was built from."""

    source: str
    license: str
    maps: dict[str, MapDefinition]


def read(content: bytes) -> ObjectInfo:
    """What the object says of itself. Any kind of exception if it is not a BPF object."""
    # These take 40 ms to import, and are needed for foreign objects only.
    from elftools.elf.elffile import ELFFile

    from sockreg.kernel.btf import Types

    elf = ELFFile(io.BytesIO(content))
    if elf["e_machine"] != "EM_BPF":
        raise ValueError(f"it is for machine {elf['e_machine']}, not for BPF")
    if elf.little_endian != (sys.byteorder == "little"):
        raise ValueError("it is of the other byte order")
    data = {}
    for name in (*_SECTIONS, SOURCE_SECTION):
        section = elf.get_section_by_name(name)
        if section is None:
            raise ValueError(f"it has no section {name}")
        data[name] = bytes(section.data())
    return ObjectInfo(
        _text(data[SOURCE_SECTION]),
        _text(data["license"]),
        Types(data[".BTF"]).maps(),
    )


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("ascii")


def check(path: Path, maps: Mapping[str, tuple[int, int, int]]) -> str:
    """Read the object and compare it with what this version of sockreg expects.

    ``maps`` are those it has to define: (type, size of a key, size of a value) by name.
    Returns the SHA-256 (hex) of the sources it was built from. SockregError says in one
    sentence what is wrong. The kernel's program tag is not looked at: how it is computed
    has changed (Linux 6.18) and may again.
    """
    hint = "reinstall sockreg, so that object and commands are of one version"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SockregError(f"the object {path} is missing", hint) from None
    except PermissionError as error:
        raise SockregError(f"cannot read the object {path}: {error.strerror}", hint) from None
    if hashlib.sha256(content).hexdigest() == OBJECT:
        return SOURCE
    try:
        info = read(content)
    except ImportError:
        raise  # pyelftools itself is missing
    except Exception as error:  # noqa: BLE001
        # pyelftools meets damaged files with a dozen kinds of exception.
        raise SockregError(
            f"{path} is not an object of sockreg: {str(error) or type(error).__name__}", hint
        ) from None
    if info.license != _LICENSE:
        raise SockregError(f"{path} has licence {info.license!r}, not {_LICENSE!r}", hint)
    for name, expected in maps.items():
        found = info.maps.get(name)
        if found is None or (found.type, found.key_size, found.value_size) != expected:
            raise SockregError(f"{path} defines map {name} otherwise than this version", hint)
    if info.source != SOURCE:
        raise SockregError(
            f"{path} was built from other sources (hash {info.source[:12]}, not {SOURCE[:12]})",
            hint,
        )
    # The verifier keeps a flipped bit from harming the kernel, not from steering wrongly.
    # An object that somebody else has built from the same sources may have other bytes.
    if path == shipped.object_path():
        raise SockregError(f"{path} is damaged: it is not the file that was shipped", hint)
    return info.source

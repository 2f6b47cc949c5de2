"""What a generation remembers of its rule set: pinned beside its program and table.

    magic      8 bytes  b"sockreg1"
    header     u32      length of the header
    records    u32      length of the compressed records
    header     JSON     see Header
    records    zlib     one _BINDING a rule, in the order of the files

Reading commands show what is in force from here, never from files.
"""

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from sockreg.model import Action, Binding, Place

_MAGIC = b"sockreg1"
_FRAME = struct.Struct("=8sII")
# action, protocol, family, missing_pass, first, last, length, source length + 1 (0: none),
# label, path, interface + 1 (0: none), line, address, source address
_BINDING = struct.Struct("=BBBBHHBBHIII16s16s")
_FASTEST = 1  # zlib level


@dataclass(frozen=True)
class Header:
    """What status needs without unpacking a million rules.

    ``fingerprint`` names the content (rules, table and program); ``created`` is ns since
    the epoch; ``source`` is the source hash of the object; ``previous`` is the number of
    the generation it replaced; ``destinations`` are (label, family, protocol, how many
    rules point there); ``labels``, ``paths`` and ``interfaces`` are what records point into.
    """

    version: str
    created: int
    fingerprint: str
    source: str
    count: int
    table_bytes: int
    counters: bool
    previous: int | None
    destinations: list[tuple[str, int, int, int]]
    labels: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    interfaces: list[str] = field(default_factory=list)


def pack_bindings(bindings: Sequence[Binding]) -> tuple[bytes, list[str], list[str], list[str]]:
    """(records before compression, labels, paths, interfaces)."""
    labels: dict[str, int] = {}
    paths: dict[str, int] = {}
    interfaces: dict[str, int] = {}
    records = bytearray()
    for b in bindings:
        source_address, source_length = b.source or (0, -1)
        records += _BINDING.pack(
            b.action,
            b.protocol,
            b.family,
            b.missing_pass,
            b.first,
            b.last,
            b.length,
            source_length + 1,
            labels.setdefault(b.label, len(labels)),
            paths.setdefault(b.place.path, len(paths)),
            0 if b.interface is None else interfaces.setdefault(b.interface, len(interfaces)) + 1,
            b.place.line,
            b.address.to_bytes(16, "big"),
            source_address.to_bytes(16, "big"),
        )
    return bytes(records), list(labels), list(paths), list(interfaces)


def encode(header: Header, records: bytes) -> bytes:
    text = json.dumps(asdict(header)).encode()
    packed = zlib.compress(records, _FASTEST)
    return _FRAME.pack(_MAGIC, len(text), len(packed)) + text + packed


def header_end(content: bytes) -> int:
    """Where the header ends; ``content`` holds at least the first 16 bytes.

    ValueError if this is not such a record.
    """
    magic, length, _ = _FRAME.unpack_from(content)
    if magic != _MAGIC:
        raise ValueError("not a record of a sockreg generation")
    return _FRAME.size + int(length)


def decode_header(content: bytes) -> Header:
    """ValueError if this is not such a record."""
    fields = json.loads(content[_FRAME.size : header_end(content)])
    fields["destinations"] = [tuple(destination) for destination in fields["destinations"]]
    return Header(**fields)


def decode_bindings(content: bytes) -> list[Binding]:
    """All rules of the generation, as they were read."""
    header = decode_header(content)
    _, length, packed = _FRAME.unpack_from(content)
    start = _FRAME.size + length
    bindings = []
    for (
        action,
        protocol,
        family,
        missing_pass,
        first,
        last,
        prefix_length,
        source_length,
        label,
        path,
        interface,
        line,
        address,
        source,
    ) in _BINDING.iter_unpack(zlib.decompress(content[start : start + packed])):
        bindings.append(
            Binding(
                header.labels[label],
                Action(action),
                protocol,
                family,
                int.from_bytes(address, "big"),
                prefix_length,
                first,
                last,
                (int.from_bytes(source, "big"), source_length - 1) if source_length else None,
                header.interfaces[interface - 1] if interface else None,
                bool(missing_pass),
                Place(header.paths[path], line),
            )
        )
    return bindings

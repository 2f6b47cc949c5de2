"""The stored rule set of a generation: pinned beside its program and table.

    magic      8 bytes  b"sockreg2"
    header     u32      length of the header
    records    u32      length of the compressed records
    header     JSON     see Header
    records    zlib     one _BINDING per rule, in the order of the files

Reading commands show the rules in force from here, never from files.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from sockreg.model import FAMILY_BITS, Action, Binding, LeftOut, Place
from sockreg.rules.ending import Ends, has_ended

_MAGIC = b"sockreg2"
_FRAME = struct.Struct("=8sII")
# path, line, label, interface + 1 (0: none); and the rest of a rule: action, protocol, family,
# missing_pass, first, last, listener, length, source length + 1 (0: none), address, source address
_BINDING = struct.Struct("=IIHIBBBBHHHBB16s16s")
_MEANING = struct.Struct("=8xHI44s")  # the same without its place
_PLACE = struct.Struct("=II50x")  # only its place: path, line
# Only protocol, family, first, last, length and address.
_MATCHED = struct.Struct("=15xBBxHH2xBx16s16x")
_FASTEST = 1  # zlib level
_RECORDS_MAX = 1 << 30  # bytes, of many times the rules that were ever measured


class Root(NamedTuple):
    """The directory below which rules were read: as it was named, and which one that was."""

    path: str
    device: int
    inode: int


class PartRecord(NamedTuple):
    """A part of the configuration in the form that is in force; see config/parts.py.

    Its bindings are the next ``rules`` records after those of the parts before it. ``drops`` are
    (label, action) of the rules in earlier files that it drops. ``options`` are those it sets. A
    unit has a ``label`` and a ``weight``, and perhaps says the weight; the label of a file is
    empty. ``ports`` are (family, protocol, port) of a unit's only listeners, which rules without
    ``to`` point to.
    """

    name: str
    rules: int
    drops: list[tuple[str, int]]
    options: dict[str, bool]
    label: str
    weight: int
    weight_said: bool
    ports: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class Header:
    """What status needs without unpacking a million rules.

    ``fingerprint`` is a hash of the content (rules, table and program). ``created`` is ns since the
    epoch. ``source`` is the source hash of the object. ``previous`` is the number of the generation
    that was replaced. ``destinations`` are (label, family, protocol, listener, number of rules that
    point there). Records refer to entries of ``labels``, ``paths`` and ``interfaces``. ``root`` is
    None in generations of versions that did not store it.

    ``indices`` are the indices of ``interfaces`` that the table was made for, 0 for an interface
    that was not there: its rules are pending, which means that the table does not have them.
    ``rules_for`` are the numbers of rules that name each interface. ``count`` includes the pending
    rules, ``destinations`` has only their keys.

    ``parts`` are those of the rules, ``left_out`` those that are not in force as they are written.
    ``state`` is the directory where the rules are kept for the next boot, or None. ``refused`` has
    the interfaces that are there, but whose rules are pending because the kernel refused a table
    with them, each with its index then. ``flows`` is how many flows its units want to be noted at
    least; 0 if none says Flows=sticky. ``ends`` are (path, line, seconds since the epoch): when the
    rules of a line end, for lines whose rules do. ``drains`` are the units with Drain=stalled.
    """

    version: str
    created: int
    fingerprint: str
    source: str
    count: int
    table_bytes: int
    counters: bool
    previous: int | None
    destinations: list[tuple[str, int, int, int, int]]
    labels: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    interfaces: list[str] = field(default_factory=list)
    root: Root | None = None
    indices: list[int] = field(default_factory=list)
    rules_for: list[int] = field(default_factory=list)
    parts: list[PartRecord] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    state: str | None = None
    refused: dict[str, int] = field(default_factory=dict)
    flows: int = 0
    ends: list[tuple[str, int, int]] = field(default_factory=list)
    drains: list[str] = field(default_factory=list)

    @property
    def end_of(self) -> dict[Place, int]:
        """When rules end, by their place, for those that do."""
        return {Place(path, line): end for path, line, end in self.ends}

    @property
    def index_of(self) -> dict[str, int]:
        """The index by the name of the interface. Unknown ones (-1) are of an older sockreg."""
        known = self.indices or [-1] * len(self.interfaces)
        return dict(zip(self.interfaces, known, strict=True))

    @property
    def absent(self) -> dict[str, int]:
        """The interfaces that are not there, and the number of their rules: those are pending."""
        return {
            name: rules
            for name, index, rules in zip(
                self.interfaces, self.indices, self.rules_for, strict=False
            )
            if index == 0
        }

    def why_pending(self, interface: str) -> str:
        """Why rules for one of these interfaces are pending."""
        return why_pending(interface, self.refused)

    @property
    def pending(self) -> int:
        """The number of pending rules."""
        return sum(self.absent.values())


def why_pending(interface: str | None, refused: Collection[str]) -> str:
    """Why rules for an interface are pending. ``refused`` is that of a Header."""
    if interface in refused:
        return f"the kernel refused a table with the rules for interface {interface}"
    return f"there is no interface {interface}"


class Packed(NamedTuple):
    """Bindings in compact form: one _BINDING each, and the tables that they refer to."""

    records: bytes
    labels: list[str]
    paths: list[str]
    interfaces: list[str]


NOTHING = Packed(b"", [], [], [])


def pack(bindings: Sequence[Binding]) -> Packed:
    labels: dict[str, int] = {}
    paths: dict[str, int] = {}
    interfaces: dict[str, int] = {}
    records = bytearray()
    for b in bindings:
        source_address, source_length = b.source or (0, -1)
        records += _BINDING.pack(
            paths.setdefault(b.place.path, len(paths)),
            b.place.line,
            labels.setdefault(b.label, len(labels)),
            0 if b.interface is None else interfaces.setdefault(b.interface, len(interfaces)) + 1,
            b.action,
            b.protocol,
            b.family,
            b.missing_pass,
            b.first,
            b.last,
            b.listener,
            b.length,
            source_length + 1,
            b.address.to_bytes(16, "big"),
            source_address.to_bytes(16, "big"),
        )
    return Packed(bytes(records), list(labels), list(paths), list(interfaces))


def rules_for(packed: Packed) -> list[int]:
    """The number of rules that name each of the interfaces."""
    counts = [0] * (len(packed.interfaces) + 1)
    if packed.interfaces:
        for _, interface, _ in _MEANING.iter_unpack(packed.records):
            counts[interface] += 1
    return counts[1:]


def unpack(packed: Packed, positions: Iterable[int] | None = None) -> list[Binding]:
    """The bindings at these positions, by default all."""
    records, labels, paths, interfaces = packed
    if positions is None:
        found = _BINDING.iter_unpack(records)
    else:
        found = (_BINDING.unpack_from(records, at * _BINDING.size) for at in positions)
    bindings = []
    for (
        path,
        line,
        label,
        interface,
        action,
        protocol,
        family,
        missing_pass,
        first,
        last,
        listener,
        length,
        source_length,
        address,
        source,
    ) in found:
        bindings.append(
            Binding(
                labels[label],
                Action(action),
                protocol,
                family,
                int.from_bytes(address, "big"),
                length,
                first,
                last,
                (int.from_bytes(source, "big"), source_length - 1) if source_length else None,
                interfaces[interface - 1] if interface else None,
                bool(missing_pass),
                Place(paths[path], line),
                listener,
            )
        )
    return bindings


def prefixes(packed: Packed) -> Iterator[tuple[int, int, int, bytes]]:
    """Protocol, family, length and prefix of each binding; the prefix has 16 bytes."""
    for protocol, family, _, _, length, prefix in _MATCHED.iter_unpack(packed.records):
        yield protocol, family, length, prefix


def about_packet(packed: Packed, protocol: int, family: int, address: int, port: int) -> list[int]:
    """The positions of the bindings with the protocol, family, prefix and ports of a packet."""
    bits = FAMILY_BITS[family]
    inside = [
        (address >> bits - length << bits - length).to_bytes(16, "big")
        for length in range(bits + 1)
    ]
    return [
        at
        for at, (of, among, first, last, length, prefix) in enumerate(
            _MATCHED.iter_unpack(packed.records)
        )
        if of == protocol and among == family and first <= port <= last and inside[length] == prefix
    ]


def difference(before: Packed, after: Packed) -> tuple[list[int], list[int]]:
    """The difference between two rule sets: what is added and removed.

    Positions in ``after`` and in ``before``. Bindings are compared by their meaning, not by their
    place. They stay packed: of a million rules, usually a few change.
    """
    old, new = _meanings(before), _meanings(after)
    known, wanted = set(old), set(new)
    added = [at for at, meaning in enumerate(new) if meaning not in known]
    removed = [at for at, meaning in enumerate(old) if meaning not in wanted]
    return added, removed


def _meanings(packed: Packed) -> list[bytes]:
    """Each record without its place, in a form that is comparable between rule sets."""
    labels = [label.encode() + b"\0" for label in packed.labels]
    interfaces = [name.encode() + b"\0" for name in ("", *packed.interfaces)]
    return [
        labels[label] + interfaces[interface] + rest
        for label, interface, rest in _MEANING.iter_unpack(packed.records)
    ]


def checksum(packed: Packed) -> int:
    """A number of 48 bits that is the same for the same rules, wherever they are written."""
    hashed = hashlib.sha256()
    for meaning in sorted(_meanings(packed)):
        hashed.update(b"%d:%b" % (len(meaning), meaning))
    return int.from_bytes(hashed.digest()[:6], "big")


class Lasting(NamedTuple):
    """Rules of a generation that go on, with their parts, and those that have ended."""

    bindings: list[Binding]
    parts: list[PartRecord]
    ended: list[Binding]


def lasting(bindings: list[Binding], parts: list[PartRecord], ends: Ends, now: float) -> Lasting:
    """Tell the rules of a generation whose time has come at ``now`` from the others."""
    if not any(end <= now for end in ends.values()):
        return Lasting(bindings, parts, [])
    stay: list[Binding] = []
    counted: list[PartRecord] = []
    at = 0
    for part in parts:
        of_part = bindings[at : at + part.rules]
        at += part.rules
        goes_on = [b for b in of_part if not has_ended(b, ends, now)]
        stay += goes_on
        counted.append(part._replace(rules=len(goes_on)))
    stay += [b for b in bindings[at:] if not has_ended(b, ends, now)]
    return Lasting(stay, counted, [b for b in bindings if has_ended(b, ends, now)])


def end_records(ends: Ends) -> list[tuple[str, int, int]]:
    """``ends`` of a Header."""
    return sorted((*place, end) for place, end in ends.items())


def ending(packed: Packed, ends: Ends) -> list[Binding]:
    """The rules that end, in their order. Of many others, none is unpacked."""
    number = {path: index for index, path in enumerate(packed.paths)}
    wanted = {(number[path], line) for path, line in ends if path in number}
    if not wanted:
        return []
    places = _PLACE.iter_unpack(packed.records)
    return unpack(packed, [at for at, place in enumerate(places) if place in wanted])


def encode(header: Header, records: bytes) -> bytes:
    text = json.dumps(asdict(header)).encode()
    compressed = zlib.compress(records, _FASTEST)
    return _FRAME.pack(_MAGIC, len(text), len(compressed)) + text + compressed


def is_record(content: bytes) -> bool:
    """Whether this begins as a record does."""
    return content.startswith(_MAGIC) and len(content) >= _FRAME.size


def header_end(content: bytes) -> int:
    """The end of the header. ``content`` has at least the first 16 bytes.

    Raises ValueError if this is not such a record.
    """
    magic, length, _ = _FRAME.unpack_from(content)
    if magic != _MAGIC:
        raise ValueError("not a record of a sockreg generation")
    return _FRAME.size + int(length)


def decode_header(content: bytes) -> Header:
    """Raises ValueError if this is not such a record."""
    fields = json.loads(content[_FRAME.size : header_end(content)])
    fields["destinations"] = [tuple(destination) for destination in fields["destinations"]]
    if fields.get("root") is not None:
        fields["root"] = Root(*fields["root"])
    # Not in the records of earlier versions.
    fields["ends"] = [(path, line, end) for path, line, end in fields.get("ends", [])]
    fields["parts"] = [_part(*values) for values in fields.get("parts", [])]
    fields["left_out"] = [_left_out(*values) for values in fields.get("left_out", [])]
    return Header(**fields)


def _part(name: str, rules: int, drops: list[list[Any]], *rest: Any) -> PartRecord:
    part = PartRecord(name, rules, [(label, action) for label, action in drops], *rest)
    # As they were written: the fingerprint of a generation made from this one depends on it.
    return part._replace(ports=[tuple(port) for port in part.ports])


def _left_out(
    part: str, problems: list[list[str]], earlier: bool, files: list[int], accepted: bool
) -> LeftOut:
    told = tuple((place, text) for place, text in problems)
    one, two, three, four = files
    return LeftOut(part, told, earlier, (one, two, three, four), accepted)


def decode(content: bytes) -> Packed:
    """All rules of the generation, as they were read."""
    header = decode_header(content)
    _, length, compressed = _FRAME.unpack_from(content)
    start = _FRAME.size + length
    # A damaged record may claim to be of any size when it is unpacked.
    unpacker = zlib.decompressobj()
    records = unpacker.decompress(content[start : start + compressed], _RECORDS_MAX)
    if not unpacker.eof or len(records) % _BINDING.size:
        raise ValueError("not whole rules")
    return Packed(records, header.labels, header.paths, header.interfaces)


def decode_bindings(content: bytes) -> list[Binding]:
    """All rules of the generation, unpacked, with those that are pending."""
    return unpack(decode(content))


def decode_parts(content: bytes) -> tuple[list[Binding], list[Binding]]:
    """The rules in force and the pending ones, unpacked."""
    return divide(decode_bindings(content), decode_header(content).absent)


def divide(
    bindings: list[Binding], absent: Mapping[str, int]
) -> tuple[list[Binding], list[Binding]]:
    """The rules in force and the pending ones: those for an ``absent`` interface."""
    if not absent:
        return bindings, []
    return (
        [binding for binding in bindings if binding.interface not in absent],
        [binding for binding in bindings if binding.interface in absent],
    )

"""A short reader of BTF: the maps an object defines and the layout of its structs.

BTF is the kernel's own description of C types (Documentation/bpf/btf.rst): a header, a
list of types of which each names the ones it is made of by number, and their strings.
pyelftools has no parser for it.
"""

import struct
from dataclasses import dataclass

_HEADER = struct.Struct("=HBBIIIII")  # magic, version, flags, hdr_len, type/str off and len
_TYPE = struct.Struct("=III")  # name_off, info, size or type
_MAGIC = 0xEB9F

_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM = 1, 2, 3, 4, 5, 6
_TYPEDEF, _VOLATILE, _CONST, _RESTRICT = 8, 9, 10, 11
_FUNC_PROTO, _VAR, _DATASEC, _DECL_TAG, _TYPE_TAG, _ENUM64 = 13, 14, 15, 17, 18, 19
_TRANSPARENT = (_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG)

# Bytes after the common part: fixed, and for each of the vlen entries.
_TAIL = {_INT: (4, 0), _ARRAY: (12, 0), _STRUCT: (0, 12), _UNION: (0, 12), _ENUM: (0, 8),
         _FUNC_PROTO: (0, 8), _VAR: (4, 0), _DATASEC: (0, 12), _DECL_TAG: (4, 0),
         _ENUM64: (0, 12)}  # fmt: skip


@dataclass(frozen=True)
class _Type:
    kind: int
    name: str
    size_or_type: int
    tail: tuple[tuple[int, ...], ...]  # entries of three or two words; an array's one entry


@dataclass(frozen=True)
class Member:
    name: str
    offset: int  # bytes
    size: int  # bytes


@dataclass(frozen=True)
class MapDefinition:
    """``type`` is enum bpf_map_type; sizes are in bytes."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


class Types:
    """The types of one .BTF section. ValueError, struct.error or IndexError if it is none."""

    def __init__(self, section: bytes) -> None:
        magic, _, _, length, types, types_size, strings, strings_size = _HEADER.unpack_from(section)
        if magic != _MAGIC:
            raise ValueError("no BTF of this machine's byte order")
        self._strings = section[length + strings :][:strings_size]
        self._types = [_Type(0, "void", 0, ())]
        self._parse(section[length + types :][:types_size])

    def _parse(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            name, info, size_or_type = _TYPE.unpack_from(data, position)
            position += _TYPE.size
            kind, count = info >> 24 & 0x1F, info & 0xFFFF
            fixed, each = _TAIL.get(kind, (0, 0))
            step = fixed or each
            tail = []
            for _ in range(1 if fixed else count if each else 0):
                tail.append(struct.unpack_from(f"={step // 4}I", data, position))
                position += step
            self._types.append(_Type(kind, self._string(name), size_or_type, tuple(tail)))

    def _string(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode("ascii")

    def _resolved(self, number: int) -> _Type:
        found = self._types[number]
        while found.kind in _TRANSPARENT:
            found = self._types[found.size_or_type]
        return found

    def _size(self, number: int) -> int:
        found = self._resolved(number)
        if found.kind == _ARRAY:
            element, _, count = found.tail[0]
            return self._size(element) * count
        return 8 if found.kind == _PTR else found.size_or_type

    def structure(self, name: str) -> tuple[int, list[Member]]:
        """(size, members) of a struct. KeyError if there is none of that name."""
        for found in self._types:
            if found.kind == _STRUCT and found.name == name:
                return found.size_or_type, [
                    Member(self._string(n), bits // 8, self._size(number))
                    for n, number, bits in found.tail
                ]
        raise KeyError(name)

    def maps(self) -> dict[str, MapDefinition]:
        """The maps of section .maps, as bpf_helpers.h's __uint and __type encode them."""
        found = {}
        for section in self._types:
            if section.kind == _DATASEC and section.name == ".maps":
                for number, _, _ in section.tail:
                    variable = self._types[number]
                    found[variable.name] = self._map(self._resolved(variable.size_or_type))
        return found

    def _map(self, definition: _Type) -> MapDefinition:
        numbers, sizes = {}, {}
        for name_offset, number, _ in definition.tail:
            name, pointer = self._string(name_offset), self._resolved(number)
            target = self._resolved(pointer.size_or_type)
            if name in ("key", "value"):
                sizes[name] = self._size(pointer.size_or_type)
            elif target.kind == _ARRAY:
                numbers[name] = target.tail[0][2]  # __uint(): int (*name)[number]
        return MapDefinition(
            numbers.get("type", 0),
            numbers.get("key_size", sizes.get("key", 0)),
            numbers.get("value_size", sizes.get("value", 0)),
            numbers.get("max_entries", 0),
            numbers.get("map_flags", 0),
        )

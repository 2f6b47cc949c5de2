"""Which rule of a generation decided on a packet, for very many packets."""

from __future__ import annotations

from collections.abc import Iterator

from sockreg.model import FAMILY_BITS, Binding, Packet
from sockreg.registry import generation_record
from sockreg.rules.oracle import matches
from sockreg.rules.precedence import rank


class Winners:
    """The rules of a record, found by prefix. They are unpacked as they are needed."""

    def __init__(self, record: bytes) -> None:
        self._packed = generation_record.decode(record)
        header = generation_record.decode_header(record)
        self._index_of = header.index_of
        self._absent = header.absent
        self._found: dict[bytes, list[int] | int] = {}
        lengths: dict[tuple[int, int], set[int]] = {}
        for at, (protocol, family, length, prefix) in enumerate(
            generation_record.prefixes(self._packed)
        ):
            lengths.setdefault((protocol, family), set()).add(length)
            key = _key(protocol, family, length, prefix)
            before = self._found.setdefault(key, at)
            if before is not at:
                self._found[key] = [*before, at] if isinstance(before, list) else [before, at]
        # The longest prefix wins, whatever else rules say.
        self._lengths = {of: sorted(found, reverse=True) for of, found in lengths.items()}
        self._unpacked: dict[int, Binding] = {}

    def __getitem__(self, position: int) -> Binding:
        """The rule at a position of the record."""
        found = self._unpacked.get(position)
        if found is None:
            (found,) = generation_record.unpack(self._packed, [position])
            self._unpacked[position] = found
        return found

    def positions(self) -> Iterator[int]:
        """Of all rules that are in the table."""
        rules = generation_record.unpack(self._packed)
        return (at for at, rule in enumerate(rules) if rule.interface not in self._absent)

    def of(self, packet: Packet, interface: int) -> int | None:
        """The position of the rule that wins a packet, or None if no rule matches.

        ``interface`` is the index of the interface that it arrives on.
        """
        bits = FAMILY_BITS[packet.family]
        for length in self._lengths.get((packet.protocol, packet.family), []):
            inside = packet.address >> bits - length << bits - length
            key = _key(packet.protocol, packet.family, length, inside.to_bytes(16, "big"))
            found = self._found.get(key)
            if found is None:
                continue
            matching = [
                (rank(self[at]), at)
                for at in (found if isinstance(found, list) else [found])
                if self._matches(self[at], packet, interface)
            ]
            if matching:
                return min(matching)[1]
        return None

    def _matches(self, rule: Binding, packet: Packet, interface: int) -> bool:
        # Rules go by the index that their interface had when the table was made.
        if rule.interface is not None and self._index_of[rule.interface] != interface:
            return False
        return matches(rule, packet._replace(interface=rule.interface))


def _key(protocol: int, family: int, length: int, prefix: bytes) -> bytes:
    return prefix + bytes((protocol, family, length))

"""Addresses as text: a prefix, a range of addresses, a set, or a list of these.

``192.0.2.0/24``, ``192.0.2.10-192.0.2.50``, ``@anycast`` or ``192.0.2.7,198.51.100.0/24``. A range
becomes the fewest prefixes that make it up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from socket import inet_ntop, inet_pton

from sockreg.model import FAMILY_BITS, INET, INET6

Prefix = tuple[int, int, int]  # family, address, length

PREFIXES_MAX = 1 << 20  # of one line, or of a set
SET = "@"  # begins the name of a set

FindSet = Callable[[str], Sequence[Prefix]]  # raises ValueError


def parse_prefixes(text: str, notices: list[str], find_set: FindSet | None = None) -> list[Prefix]:
    """Read a list of prefixes, ranges and sets. What occurs twice counts once.

    ``notices`` are as in parse_prefix(). Without ``find_set``, there are no sets. Raises
    ValueError.
    """
    if "," not in text and "-" not in text and SET not in text:
        return [parse_prefix(text, notices)]
    found: dict[Prefix, None] = {}
    for item in text.split(","):
        if item.startswith(SET):
            if find_set is None:
                raise ValueError(f"{item}: only rules in files name sets")
            prefixes = find_set(item.removeprefix(SET))
            if not prefixes:
                notices.append(f"set {item} is empty")
            found |= dict.fromkeys(prefixes)
        elif "-" in item.partition("/")[0]:
            found |= dict.fromkeys(_parse_range(item))
        else:
            found[parse_prefix(item, notices)] = None
        if len(found) > PREFIXES_MAX:
            raise ValueError(f"more than {PREFIXES_MAX:,} prefixes in one rule")
    return list(found)


def parse_prefix(text: str, notices: list[str]) -> Prefix:
    """Read ``ADDRESS[/LENGTH]`` as (family, address, length). Without a length, it is one host.

    Host bits are cleared, with a notice. IPv4-mapped IPv6 is refused: such packets are IPv4 on the
    wire, so the rule would never match. Raises ValueError.
    """
    name, slash, written_length = text.partition("/")
    family, address = _parse_address(name, text)
    bits = FAMILY_BITS[family]
    if not slash:
        length = bits
    else:
        length = number(written_length, 3)
        if not 0 <= length <= bits:
            raise ValueError(f"prefix {text!r}: the length must be from 0 to {bits}")
        host_bits = bits - length
        cleared = address >> host_bits << host_bits
        if cleared != address:
            address = cleared
            read_as = format_prefix(family, address, length)
            notices.append(f"{text} has host bits set and is read as {read_as}")
    _refuse_mapped(text, family, address, length)
    return family, address, length


def _parse_range(text: str) -> Iterator[Prefix]:
    low, _, high = text.partition("-")
    if "/" in text or "-" in high or not {".", ":"} & {*high}:
        raise ValueError(
            f"range {text!r}: expected two addresses without a length, as in 192.0.2.1-192.0.2.9"
        )
    (family, first), (other, last) = _parse_address(low, text), _parse_address(high, text)
    if family != other:
        raise ValueError(f"range {text!r}: the addresses are of different families")
    if first > last:
        raise ValueError(f"range {text!r} is descending")
    for address, length in _summarized(first, last, FAMILY_BITS[family]):
        _refuse_mapped(text, family, address, length)
        yield family, address, length


def _summarized(first: int, last: int, bits: int) -> Iterator[tuple[int, int]]:
    """The fewest prefixes that hold exactly these addresses, in order."""
    while first <= last:
        # As large as the address is aligned, and not beyond the end.
        zeros = (first & -first).bit_length() - 1 if first else bits
        fits = (last - first + 1).bit_length() - 1
        host_bits = min(zeros, fits)
        yield first, bits - host_bits
        first += 1 << host_bits


def _parse_address(name: str, text: str) -> tuple[int, int]:
    family = INET6 if ":" in name else INET
    try:
        return family, int.from_bytes(inet_pton(family, name), "big")
    except (OSError, ValueError):
        raise ValueError(_problem(text, name)) from None


def _refuse_mapped(text: str, family: int, address: int, length: int) -> None:
    if length >= 96 and family == INET6 and address >> 32 == 0xFFFF:
        mapped = format_prefix(INET, address & 0xFFFFFFFF, length - 96)
        raise ValueError(f"prefix {text!r}: IPv4-mapped IPv6 never matches; write {mapped}")


def format_prefix(family: int, address: int, length: int) -> str:
    """``192.0.2.0/24``; a host address has no length."""
    bits = FAMILY_BITS[family]
    text = inet_ntop(family, address.to_bytes(bits // 8, "big"))
    return text if length == bits else f"{text}/{length}"


def number(text: str, digits: int) -> int:
    """A decimal number in its usual spelling, or -1."""
    usual = text.isascii() and text.isdigit() and len(text) <= digits
    return int(text) if usual and (text == "0" or text[0] != "0") else -1


def _problem(text: str, name: str) -> str:
    if text.startswith(SET):
        return f"prefix {text!r}: an address is expected here, not a set"
    if "%" in name:
        return f"prefix {text!r}: name the interface with 'dev' instead of '%'"
    return f"prefix {text!r}: expected an IPv4 or IPv6 address with or without /LENGTH"

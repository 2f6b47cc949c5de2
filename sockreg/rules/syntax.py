"""Rules as text: ``PROTO PREFIX PORTS [to PORT] [from PREFIX] [dev IFNAME] [missing=pass]``.

A rule set may have a million rules, so the common path is short: three words, the C library's
inet_pton(3), and a cache of port lists.
"""

from __future__ import annotations

from functools import lru_cache
from socket import inet_ntop, inet_pton

from sockreg.model import (
    ANY_PORT,
    FAMILY_BITS,
    INET,
    INET6,
    PROTOCOL_NAMES,
    Action,
    Binding,
    Place,
)
from sockreg.rules.unasked import why_unasked

_PROTOCOLS = {name: number for number, name in PROTOCOL_NAMES.items()}
_FORM = "PROTOCOL PREFIX PORTS"
_CONDITIONS = "'to PORT', 'from PREFIX', 'dev INTERFACE', 'missing=pass' or 'until=TIME'"
_IFNAMSIZ = 16  # linux/if.h, with the NUL

Conditions = tuple[tuple[int, int] | None, str | None, bool, int]


def parse_rule(
    action: Action, text: str, label: str, place: Place, notices: list[str]
) -> list[Binding]:
    """Read the value of one ``Bind=``, ``Reject=`` or ``Pass=`` line.

    A list of ports gives one binding per item. If something is read differently from how it is
    written, a sentence is appended to ``notices``. Raises ValueError.
    """
    return parse_words(action, text.split(), label, place, notices)


def parse_words(
    action: Action, words: list[str], label: str, place: Place, notices: list[str]
) -> list[Binding]:
    """Like parse_rule(), for a rule in words, such as the arguments of a command."""
    if len(words) < 3:
        raise ValueError(f"{_FORM} expected, as in 'tcp 192.0.2.0/24 80'")
    protocol = _PROTOCOLS.get(words[0])
    if protocol is None:
        raise ValueError(f"protocol {words[0]!r}: 'tcp' or 'udp' expected")
    family, address, length = parse_prefix(words[1], notices)
    _check_asked(action, words[1], (family, address, length), notices)
    ranges = parse_ports(words[2])
    source, interface, missing_pass, listener = None, None, False, 0
    if len(words) > 3:
        source, interface, missing_pass, listener = _parse_conditions(
            action, words[3:], family, notices
        )
    return [
        Binding(
            label,
            action,
            protocol,
            family,
            address,
            length,
            first,
            last,
            source,
            interface,
            missing_pass,
            place,
            listener,
        )
        for first, last in ranges
    ]


def parse_prefix(text: str, notices: list[str]) -> tuple[int, int, int]:
    """Read ``ADDRESS[/LENGTH]`` as (family, address, length). Without a length, it is one host.

    Host bits are cleared, with a notice. IPv4-mapped IPv6 is refused: such packets are IPv4 on the
    wire, so the rule would never match. Raises ValueError.
    """
    name, slash, written_length = text.partition("/")
    family = INET6 if ":" in name else INET
    try:
        address = int.from_bytes(inet_pton(family, name), "big")
    except (OSError, ValueError):
        raise ValueError(_prefix_problem(text, name)) from None
    bits = FAMILY_BITS[family]
    if not slash:
        length = bits
    else:
        length = _number(written_length, 3)
        if not 0 <= length <= bits:
            raise ValueError(f"prefix {text!r}: the length must be from 0 to {bits}")
        host_bits = bits - length
        cleared = address >> host_bits << host_bits
        if cleared != address:
            address = cleared
            read_as = format_prefix(family, address, length)
            notices.append(f"{text} has host bits set and is read as {read_as}")
    if length >= 96 and family == INET6 and address >> 32 == 0xFFFF:
        mapped = format_prefix(INET, address & 0xFFFFFFFF, length - 96)
        raise ValueError(f"prefix {text!r}: IPv4-mapped IPv6 never matches; write {mapped}")
    return family, address, length


def _check_asked(
    action: Action, text: str, prefix: tuple[int, int, int], notices: list[str]
) -> None:
    """Refuse a rule that would never match. Nothing is wrong with a Pass= rule: that is what
    happens.
    """
    why = why_unasked(*prefix)
    if why and action is Action.PASS:
        notices.append(f"{text} never meets a rule, so nothing has to pass: {why}")
    elif why:
        raise ValueError(f"prefix {text!r} never matches: {why}")


def format_line(binding: Binding) -> str:
    """The line of a file that says a binding: ``Bind=tcp 192.0.2.0/24 80``."""
    return f"{binding.action.name.capitalize()}={format_rule(binding)}"


def format_rule(binding: Binding) -> str:
    """The canonical text of a binding, without its action; parse_rule reads it back."""
    words = [
        PROTOCOL_NAMES[binding.protocol],
        format_prefix(binding.family, binding.address, binding.length),
        format_ports(binding.first, binding.last),
        *(["to", str(binding.listener)] if binding.listener else []),
        *_conditions(binding),
    ]
    if binding.missing_pass:
        words.append("missing=pass")
    return " ".join(words)


def format_conditions(binding: Binding) -> str:
    """What a packet must have besides prefix and port: ``from 198.51.100.0/24 dev eth0``."""
    return " ".join(_conditions(binding))


def _conditions(binding: Binding) -> list[str]:
    words = []
    if binding.source is not None:
        words += ["from", format_prefix(binding.family, *binding.source)]
    if binding.interface is not None:
        words += ["dev", binding.interface]
    return words


def format_prefix(family: int, address: int, length: int) -> str:
    """``192.0.2.0/24``; a host address has no length."""
    bits = FAMILY_BITS[family]
    text = inet_ntop(family, address.to_bytes(bits // 8, "big"))
    return text if length == bits else f"{text}/{length}"


def format_ports(first: int, last: int) -> str:
    """``80``, ``8000-8999`` or ``*``."""
    if (first, last) == ANY_PORT:
        return "*"
    return str(first) if first == last else f"{first}-{last}"


@lru_cache(maxsize=1 << 16)
def parse_ports(text: str) -> tuple[tuple[int, int], ...]:
    """Read a list of ports as (first, last) of each item. Raises ValueError."""
    if text == "*":
        return (ANY_PORT,)
    return tuple(_parse_range(item, text) for item in text.split(","))


def _parse_range(item: str, text: str) -> tuple[int, int]:
    low, dash, high = item.partition("-")
    first = _number(low, 5)
    last = _number(high, 5) if dash else first
    if first == 0:
        raise ValueError(f"ports {text!r}: there is no port 0; use '*' for any port")
    if not (0 < first <= 65535 and 0 <= last <= 65535):
        raise ValueError(
            f"ports {text!r}: expected numbers from 1 to 65535, ranges such as 8000-8999, both "
            "separated by commas, or '*'"
        )
    if first > last:
        raise ValueError(f"ports {text!r}: the range {item} is descending")
    return first, last


def _parse_conditions(
    action: Action, words: list[str], family: int, notices: list[str]
) -> Conditions:
    source: tuple[int, int] | None = None
    interface: str | None = None
    missing_pass = False
    listener = 0
    seen: set[str] = set()
    rest = iter(words)
    for word in rest:
        if word in seen:
            raise ValueError(f"{word!r} is given twice")
        seen.add(word)
        if word == "from":
            source = _parse_source(next(rest, ""), family, notices)
        elif word == "dev":
            interface = _parse_interface(next(rest, ""))
        elif word == "to":
            if action is not Action.BIND:
                raise ValueError("'to' is for Bind= only")
            listener = _parse_listener(next(rest, ""))
        elif word == "missing=pass":
            if action is not Action.BIND:
                raise ValueError("'missing=pass' is for Bind= only")
            missing_pass = True
        else:
            raise ValueError(f"unknown word {word!r}: {_CONDITIONS} expected")
    return source, interface, missing_pass, listener


def _parse_listener(text: str) -> int:
    if not text:
        raise ValueError("the port of a listener is expected after 'to'")
    port = _number(text, 5)
    if not 0 < port <= 65535:
        raise ValueError(f"listener {text!r}: one port from 1 to 65535 is expected after 'to'")
    return port


def _parse_source(text: str, family: int, notices: list[str]) -> tuple[int, int] | None:
    if not text:
        raise ValueError("a prefix is expected after 'from'")
    source_family, address, length = parse_prefix(text, notices)
    if source_family != family:
        raise ValueError(f"source {text!r} is of another address family than the prefix")
    if why_unasked(family, address, length):
        raise ValueError(f"source {text!r}: no packet comes from there")
    # Every packet has a source: a source of length 0 is no condition.
    return (address, length) if length else None


def _parse_interface(name: str) -> str:
    """Check an interface name like dev_valid_name() of net/core/dev.c."""
    if not name:
        raise ValueError("an interface is expected after 'dev'")
    if not name.isprintable():  # the kernel takes more, and packets of such an interface no rule
        raise ValueError(f"interface {name!r}: the name has characters that cannot be shown")
    if len(name.encode()) >= _IFNAMSIZ:
        raise ValueError(f"interface {name!r}: the name is longer than {_IFNAMSIZ - 1} bytes")
    if name in (".", "..") or "/" in name or ":" in name:
        raise ValueError(f"interface {name!r}: no interface can have this name")
    return name


def _number(text: str, digits: int) -> int:
    """A decimal number in its usual spelling, or -1."""
    usual = text.isascii() and text.isdigit() and len(text) <= digits
    return int(text) if usual and (text == "0" or text[0] != "0") else -1


def _prefix_problem(text: str, name: str) -> str:
    if "%" in name:
        return f"prefix {text!r}: name the interface with 'dev' instead of '%'"
    return f"prefix {text!r}: expected an IPv4 or IPv6 address with or without /LENGTH"

"""Rules as text: ``PROTO PREFIX PORTS [to PORT] [from PREFIX] [dev IFNAME] [missing=pass]``.

A rule set may have a million rules, so the common path is short: three words, the C library's
inet_pton(3), and a cache of port lists. Names of services are those of getservbyname(3).
"""

from __future__ import annotations

from functools import lru_cache
from socket import getservbyname

from sockreg.model import (
    ANY_PORT,
    PROTOCOL_NAMES,
    Action,
    Binding,
    Place,
)
from sockreg.rules.prefixes import SET, FindSet, format_prefix, number, parse_prefix, parse_prefixes
from sockreg.rules.unasked import why_unasked

_PROTOCOLS = {name: number for number, name in PROTOCOL_NAMES.items()}
_FORM = "PROTOCOL PREFIX PORTS"
_CONDITIONS = "'to PORT', 'from PREFIX', 'dev INTERFACE', 'missing=pass' or 'until=TIME'"
RULES_MAX = 1 << 20  # that one line may make
_OF_NUMBERS = "0123456789-,*"  # no service is named with these only
_PORTS = (
    "numbers from 1 to 65535, ranges such as 8000-8999 and names of services, separated by commas, "
    "or '*'"
)
_IFNAMSIZ = 16  # linux/if.h, with the NUL

Conditions = tuple[tuple[int, int] | None, str | None, bool, int]


def parse_rule(
    action: Action,
    text: str,
    label: str,
    place: Place,
    notices: list[str],
    find_set: FindSet | None = None,
) -> list[Binding]:
    """Read the value of one ``Bind=``, ``Reject=`` or ``Pass=`` line.

    A list of ports or prefixes gives one binding per item, and a range of addresses or a set one
    for each prefix that it is made of. Without ``find_set``, there are no sets. If something is
    read differently from how it is written, a sentence is appended to ``notices``. Raises
    ValueError.
    """
    return parse_words(action, text.split(), label, place, notices, find_set)


def parse_words(
    action: Action,
    words: list[str],
    label: str,
    place: Place,
    notices: list[str],
    find_set: FindSet | None = None,
) -> list[Binding]:
    """Like parse_rule(), for a rule in words, such as the arguments of a command."""
    if len(words) < 3:
        raise ValueError(f"{_FORM} expected, as in 'tcp 192.0.2.0/24 80'")
    protocol = _PROTOCOLS.get(words[0])
    if protocol is None:
        raise ValueError(f"protocol {words[0]!r}: 'tcp' or 'udp' expected")
    prefixes = parse_prefixes(words[1], notices, find_set)
    for prefix in prefixes:
        _check_asked(action, words[1], prefix, notices)
    ranges = parse_ports(words[2], words[0])
    if len(prefixes) * len(ranges) > RULES_MAX:
        raise ValueError(f"{len(prefixes) * len(ranges):,} rules in one line; {RULES_MAX:,} is the "
                         "limit")  # fmt: skip
    source, interface, missing_pass, listener = None, None, False, 0
    if len(words) > 3:
        source, interface, missing_pass, listener = _parse_conditions(
            action, words[3:], {prefix[0] for prefix in prefixes}, notices
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
        for family, address, length in prefixes
        for first, last in ranges
    ]


def _check_asked(
    action: Action, text: str, prefix: tuple[int, int, int], notices: list[str]
) -> None:
    """Refuse a rule that would never match. Nothing is wrong with a Pass= rule: that is what
    happens.
    """
    why = why_unasked(*prefix)
    if (
        why
        and text != (piece := format_prefix(*prefix))
        and ("," in text or "-" in text or text.startswith(SET))
    ):
        text = f"{piece} of {text}"
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


def format_ports(first: int, last: int) -> str:
    """``80``, ``8000-8999`` or ``*``."""
    if (first, last) == ANY_PORT:
        return "*"
    return str(first) if first == last else f"{first}-{last}"


def parse_ports(text: str, protocol: str) -> tuple[tuple[int, int], ...]:
    """Read a list of ports as (first, last) of each item. Raises ValueError.

    A port may have the name that it has for the protocol in services(5).
    """
    if not text.strip(_OF_NUMBERS):
        return _parse_numbers(text)
    return tuple(_parse_named(item, text, protocol) for item in text.split(","))


@lru_cache(maxsize=1 << 16)
def _parse_numbers(text: str) -> tuple[tuple[int, int], ...]:
    if text == "*":
        return (ANY_PORT,)
    return tuple(_parse_range(item, text) for item in text.split(","))


def _parse_named(item: str, text: str, protocol: str) -> tuple[int, int]:
    if not item.strip(_OF_NUMBERS):
        return _parse_range(item, text)
    try:
        port = getservbyname(item, protocol)
    except (OSError, ValueError):  # unknown, or with characters that no name has
        if not item.isascii():
            raise ValueError(f"ports {text!r}: expected {_PORTS}") from None
        raise ValueError(
            f"ports {text!r}: /etc/services has no {protocol} service {item!r}; expected {_PORTS}"
        ) from None
    return port, port


def _parse_range(item: str, text: str) -> tuple[int, int]:
    low, dash, high = item.partition("-")
    first = number(low, 5)
    last = number(high, 5) if dash else first
    if first == 0:
        raise ValueError(f"ports {text!r}: there is no port 0; use '*' for any port")
    if not (0 < first <= 65535 and 0 <= last <= 65535):
        raise ValueError(f"ports {text!r}: expected {_PORTS}")
    if first > last:
        raise ValueError(f"ports {text!r}: the range {item} is descending")
    return first, last


def _parse_conditions(
    action: Action, words: list[str], families: set[int], notices: list[str]
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
            source = _parse_source(next(rest, ""), families, notices)
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
    port = number(text, 5)
    if not 0 < port <= 65535:
        raise ValueError(f"listener {text!r}: one port from 1 to 65535 is expected after 'to'")
    return port


def _parse_source(text: str, families: set[int], notices: list[str]) -> tuple[int, int] | None:
    if not text:
        raise ValueError("a prefix is expected after 'from'")
    if text.startswith(SET) or "," in text or "-" in text:
        raise ValueError(f"source {text!r}: 'from' takes one prefix, and no set, list or range")
    source_family, address, length = parse_prefix(text, notices)
    if len(families) > 1:
        raise ValueError("'from' takes a rule whose prefixes are of one address family")
    if source_family not in families:
        raise ValueError(f"source {text!r} is of another address family than the prefix")
    if why_unasked(source_family, address, length):
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

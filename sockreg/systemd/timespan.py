"""Time spans as systemd reads and prints them (systemd.time(7)): ``2h``, ``1h 30min``, ``90``."""

from __future__ import annotations

import re

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_YEAR = 31557600  # 365.25 days; a month is a twelfth

# The table of extract_multiplier() in systemd's basic/time-util.c.
_UNITS = {
    **dict.fromkeys(("seconds", "second", "sec", "s", ""), 1.0),
    **dict.fromkeys(("minutes", "minute", "min", "m"), float(_MINUTE)),
    **dict.fromkeys(("hours", "hour", "hr", "h"), float(_HOUR)),
    **dict.fromkeys(("days", "day", "d"), float(_DAY)),
    **dict.fromkeys(("weeks", "week", "w"), 7.0 * _DAY),
    **dict.fromkeys(("months", "month", "M"), _YEAR / 12),
    **dict.fromkeys(("years", "year", "y"), float(_YEAR)),
    **dict.fromkeys(("msec", "ms"), 1e-3),
    **dict.fromkeys(("usec", "us", "µs", "μs"), 1e-6),
}
_ITEM = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)[ \t]*([A-Za-zµμ]*)")
_LONGEST = 100  # characters


def parse_span(text: str) -> float:
    """Seconds. Raises ValueError for what is no time span, and for ``infinity``."""
    at, seconds = 0, 0.0
    text = text.strip()
    while at < len(text) <= _LONGEST:
        item = _ITEM.match(text, at)
        if item is None or item[2] not in _UNITS:
            break
        seconds += float(item[1]) * _UNITS[item[2]]
        at = item.end()
    if not text or at < len(text):
        raise ValueError("a time span expected, as in '2h', '1h 30min' or '3 days'")
    return seconds


def format_span(seconds: float) -> str:
    """The two largest units, as in systemctl(1): ``1h 59min``, ``3min 20s``, ``0s``."""
    left = max(0, int(seconds))
    words = []
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s")):
        if left >= size:
            words.append(f"{left // size}{unit}")
            left %= size
        elif words:
            break  # no unit is left out between the two
        if len(words) == 2:
            break
    return " ".join(words) or "0s"

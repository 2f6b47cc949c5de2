"""Rates between two readings of the counters. Pure."""

from typing import NamedTuple

from sockreg.views.status import Counters, DestinationStatus, Status


class Key(NamedTuple):
    """Names a destination."""

    label: str
    protocol: str
    family: str
    listener: int = 0


class Rate(NamedTuple):
    """Packets per second; see Counters."""

    lookups: float
    misses: float
    errors: float


def key_of(destination: DestinationStatus) -> Key:
    return Key(destination.label, destination.protocol, destination.family, destination.listener)


def rates(before: Status, after: Status, seconds: float) -> dict[Key, Rate]:
    """The rates of all destinations in ``after``. ``seconds`` is the time between the readings."""
    known = {key_of(destination): destination.counters for destination in before.destinations}
    return {
        key_of(destination): _rate(known.get(key_of(destination)), destination.counters, seconds)
        for destination in after.destinations
    }


def _rate(before: Counters | None, after: Counters, seconds: float) -> Rate:
    # Lower than before: the slot was freed in between, and its counters restarted.
    if before is None or before.lookups > after.lookups:
        before = Counters(0, 0, 0)
    return Rate(
        (after.lookups - before.lookups) / seconds,
        (after.misses - before.misses) / seconds,
        (after.errors - before.errors) / seconds,
    )


def rate_text(value: float) -> str:
    """A short number: ``0``, ``0.3``, ``17``, ``12k``, ``3.4M``."""
    if value < 9.95:
        return f"{value:.1f}".removesuffix(".0")
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.0f}{letter}" if scaled >= 9.95 else f"{scaled:.1f}{letter}"
    return f"{value:.0f}"

"""Which of the sockets that a unit brings can be registered, and for which families.

On the companion's start-up path.
"""

from sockreg.errors import RefusedError
from sockreg.host.listener import Listener, UnfitError, address_text, cookie_text, inspect
from sockreg.systemd import journal
from sockreg.systemd.unit_of import NO_UNIT
from sockreg.terms import PROTOCOL_NAMES, label_problem


class Offer:
    """A socket that can be registered, and its label."""

    def __init__(self, label: str, listener: Listener) -> None:
        self.label = label
        self.listener = listener
        self.families: list[int] = []  # of the destinations that it will serve

    def __str__(self) -> str:
        listener = self.listener
        where = address_text(listener.family, listener.address, listener.port)
        return f"{PROTOCOL_NAMES[listener.protocol]} {where} ({cookie_text(listener.cookie)})"


def offers_of(received: list[tuple[int, str]], unit: str) -> list[Offer]:
    """The sockets that can be registered, of (descriptor, label) pairs. RefusedError if none can.

    The others are skipped with a notice each.
    """
    offers = []
    for fd, label in received:
        problem = label_problem(label)
        if problem:
            _skip(unit, label, f"skipped descriptor {fd}{of_unit(unit)}: its label {problem}")
            continue
        try:
            offers.append(Offer(label, inspect(fd)))
        except UnfitError as error:
            message = f"skipped a socket{of_unit(unit)}, label {label}: {error.about('it').line}"
            _skip(unit, label, message)
    if not offers:
        raise RefusedError(
            f"{unit}: none of its sockets can be registered"
            if unit != NO_UNIT
            else "none of the sockets can be registered",
            "see the lines above",
        )
    return _assigned(offers, unit)


def of_unit(unit: str) -> str:
    """For messages: `` of web.socket``."""
    return "" if unit == NO_UNIT else f" of {unit}"


def _skip(unit: str, label: str, message: str) -> None:
    journal.say(
        message,
        journal.SKIPPED,
        journal.WARNING,
        {"SOCKREG_LABEL": label, **journal.unit_fields(unit)},
    )


def _assigned(offers: list[Offer], unit: str) -> list[Offer]:
    """Give each destination one socket: of its own family first, otherwise a dual-stack one.

    If several sockets could serve the same destination, the first Listen line wins.
    """
    taken: dict[tuple[str, int, int], Offer] = {}
    for native in (True, False):
        for offer in offers:
            for family in offer.listener.serves:
                if (family == offer.listener.family) is not native:
                    continue
                key = (offer.label, family, offer.listener.protocol)
                if key not in taken:
                    taken[key] = offer
                    offer.families.append(family)
    for offer in offers:
        if not offer.families:
            first = taken[offer.label, offer.listener.family, offer.listener.protocol]
            _skip(
                unit,
                offer.label,
                f"skipped {offer}{of_unit(unit)}: {first} already serves {offer.label} (one socket "
                "serves all rules of a label; give the other its own FileDescriptorName= in a "
                "separate .socket unit)",
            )
    return [offer for offer in offers if offer.families]

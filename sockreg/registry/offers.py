"""Which of the sockets that a unit brings can be registered, and for which families.

On the companion's start-up path.
"""

from sockreg.errors import RefusedError
from sockreg.host.listener import Listener, UnfitError, address_text, cookie_text, inspect
from sockreg.sharing import by_port, only_port
from sockreg.systemd import journal
from sockreg.systemd.unit_of import NO_UNIT
from sockreg.terms import ONLY, PROTOCOL_NAMES, label_problem


class Offer:
    """A socket that can be registered, and its label."""

    def __init__(self, label: str, listener: Listener) -> None:
        self.label = label
        self.listener = listener
        # The destinations that it will serve: family and listener.
        self.places: list[tuple[int, int]] = []
        # Other sockets of its SO_REUSEPORT group.
        self.mates: list[Listener] = []

    @property
    def families(self) -> list[int]:
        """The families of packets that it will serve."""
        return sorted({family for family, _ in self.places})

    def __str__(self) -> str:
        listener = self.listener
        where = address_text(listener.family, listener.address, listener.port)
        return f"{PROTOCOL_NAMES[listener.protocol]} {where} ({cookie_text(listener.cookie)})"


def offers_of(
    received: list[tuple[int, str]], unit: str, skipped: list[str] | None = None
) -> list[Offer]:
    """The sockets that can be registered, of (descriptor, label) pairs. RefusedError if none can.

    The others are skipped with a notice each, which is added to ``skipped``.
    """
    offers = []
    told = [] if skipped is None else skipped
    for fd, label in received:
        problem = label_problem(label)
        if problem:
            message = f"skipped descriptor {fd}{of_unit(unit)}: its label {problem}"
            told.append(_skip(unit, label, message))
            continue
        try:
            offers.append(Offer(label, inspect(fd)))
        except UnfitError as error:
            message = f"skipped a socket{of_unit(unit)}, label {label}: {error.about('it').line}"
            told.append(_skip(unit, label, message))
    offers = _assigned(offers, unit, told)
    if not offers:
        raise RefusedError(
            f"{unit}: none of its sockets can be registered"
            if unit != NO_UNIT
            else "none of the sockets can be registered",
            "see the lines above",
        )
    return offers


def of_unit(unit: str) -> str:
    """For messages: `` of web.socket``."""
    return "" if unit == NO_UNIT else f" of {unit}"


def _skip(unit: str, label: str, message: str) -> str:
    """Report a socket that is left out. Returns the message."""
    journal.say(
        message,
        journal.SKIPPED,
        journal.WARNING,
        {"SOCKREG_LABEL": label, **journal.unit_fields(unit)},
    )
    return message


def _assigned(offers: list[Offer], unit: str, skipped: list[str]) -> list[Offer]:
    """Give the sockets their destinations. Returns those that have any.

    The only listener of a label in one family and protocol serves all of its rules there. Of
    several, each serves the rules that mean it. Rules name a listener by its port, so two addresses
    with one port are of no use to them, and are ``skipped``.
    """
    for label in {offer.label for offer in offers}:
        same = [offer for offer in offers if offer.label == label]
        for (family, _), ports in by_port([offer.listener for offer in same]).items():
            native = {
                port: same[positions[0]].listener.family == family
                for port, positions in ports.items()
            }
            only = only_port(native)
            for port, positions in ports.items():
                if len(positions) == 1:
                    places = same[positions[0]].places
                    places += [(family, ONLY)] if port == only else []
                    places += [(family, port)] if len(ports) > 1 else []
        for offer in same:
            if offer.places:
                continue
            mate = _mate_of(offer, same)
            if mate is not None:
                mate.mates.append(offer.listener)
            else:
                others = {
                    str(other)
                    for other in same
                    if other is not offer
                    and other.listener.protocol == offer.listener.protocol
                    and other.listener.port == offer.listener.port
                }
                skipped.append(_skip_twin(offer, sorted(others), unit))
    return [offer for offer in offers if offer.places]


def _mate_of(offer: Offer, others: list[Offer]) -> Offer | None:
    """The socket with the same address and port that stands for this one.

    The kernel lets two sockets have one address only as a SO_REUSEPORT group, and spreads the
    packets for one of them over all of the group.
    """
    own = offer.listener
    for other in others:
        if (
            other.places
            and other.listener.family == own.family
            and other.listener.protocol == own.protocol
            and other.listener.address == own.address
            and other.listener.port == own.port
            and other.listener.netns == own.netns
        ):
            return other
    return None


def _skip_twin(offer: Offer, others: list[str], unit: str) -> str:
    """Report a socket that rules cannot tell from others. Returns the message."""
    return _skip(
        unit,
        offer.label,
        f"skipped {offer}{of_unit(unit)}: {' and '.join(others)} of the same label has the same "
        "port, by which rules tell listeners apart (give the other one another port, or its own "
        ".socket unit)",
    )

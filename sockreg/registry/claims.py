"""Whose a label is: what decides whether a registration may join the sockets of a label.

On the companion's start-up path. Callers hold the lock of the registry's directory.
"""

from sockreg.host.listener import cookie_text
from sockreg.registry.maps import Maps
from sockreg.registry.members import Member, members_of
from sockreg.registry.offers import Offer
from sockreg.registry.units import UnitState, read_units, unit_state
from sockreg.sharing import may_share, refusal
from sockreg.terms import DEFAULT_WEIGHT


class Registrant:
    """Who registers: a unit, and the weight of its sockets.

    ``weight_said`` is whether the registration or the unit's files say the weight. ``exact`` is
    whether they say that packets are for its sockets without their SO_REUSEPORT groups, and
    ``sticky`` whether the files say Flows=sticky.
    """

    def __init__(
        self,
        unit: str,
        weight: int,
        *,
        weight_said: bool,
        exact: bool = False,
        sticky: bool = False,
    ) -> None:
        self.unit = unit
        self.weight = weight
        self.weight_said = weight_said
        self.exact = exact
        self.sticky = sticky


def identify(
    maps: Maps,
    unit: str,
    offers: list[Offer],
    weight: int | None,
    root: str | None,
    *,
    exact: bool,
) -> Registrant:
    """Who registers. The arguments are those of registration.register().

    With ``root``, this gives the offers the label in the unit's files: as the loader read them, or
    else from the files themselves. Raises RefusedError if it is the label of another unit that
    counts and does not share it, and ConfigError if the files are wrong.
    """
    state = unit_state(maps, unit)
    if root is not None and (state is None or not state.label):
        state = state_of_files(maps, unit, root)
    if state is not None and root is not None and len({offer.label for offer in offers}) == 1:
        for offer in offers:
            offer.label = state.label
    exact = exact or (state is not None and state.exact)
    sticky = state is not None and state.sticky
    if weight is not None:
        return Registrant(unit, weight, weight_said=True, exact=exact, sticky=sticky)
    if state is None:
        return Registrant(unit, DEFAULT_WEIGHT, weight_said=False, exact=exact)
    return Registrant(unit, state.weight, weight_said=state.weight_said, exact=exact, sticky=sticky)


def state_of_files(maps: Maps, unit: str, root: str) -> UnitState | None:
    """The state of a unit that does not count yet, or was left out; None if it has no files."""
    from sockreg.systemd import unit_label  # only here: it reads files

    found = unit_label.of_files(root, unit)
    if found is None:
        return None
    name, label, weight, exact, flows = found
    for other, state in read_units(maps).items():
        if (
            state.label == label
            and other != name
            and not may_share(unit, weight is not None, other, state.weight_said)
        ):
            raise refusal(label, unit, other, "a unit whose rules count")
    return UnitState(
        False,
        (0, 0, 0, 0),
        label=label,
        weight=DEFAULT_WEIGHT if weight is None else weight,
        weight_said=weight is not None,
        exact=exact,
        sticky=bool(flows),
    )


def foreign_members(
    maps: Maps,
    who: Registrant,
    slots: list[int],
    own: set[int],
    weighted: frozenset[str] = frozenset(),
) -> list[tuple[int, Member]]:
    """(slot of the destination, member): sockets of others that do not share a label with ``who``.

    ``slots`` are those of the label's destinations. ``own`` are cookies of the sockets that ``who``
    brings: it takes these over. ``weighted`` are units whose files now say a weight, which their
    sockets get.
    """
    return [
        (slot, member)
        for slot in slots
        for member in members_of(maps, slot)
        if member.cookie not in own
        and not may_share(
            who.unit, who.weight_said, member.unit, member.weight_said or member.unit in weighted
        )
    ]


def refuse_foreign(
    maps: Maps,
    who: Registrant,
    label: str,
    slots: list[int],
    own: set[int],
    leaving: frozenset[str] = frozenset(),
    weighted: frozenset[str] = frozenset(),
) -> None:
    """Raises RefusedError if a label has a socket of another unit that does not share it.

    The sockets of units in ``leaving`` are about to get another label. The other arguments are
    those of foreign_members().
    """
    for _, member in foreign_members(maps, who, slots, own, weighted):
        if member.unit in leaving:
            continue
        where = f"{cookie_text(member.cookie)}, {member.address}"
        raise refusal(label, who.unit, member.unit, where, registered=True)

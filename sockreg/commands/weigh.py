"""Weights of the members of a label: shares of new flows, and draining."""

from sockreg import interrupts
from sockreg.commands.names import check_weight
from sockreg.commands.ssh_labels import refuse_removal
from sockreg.context import Context
from sockreg.host.listener import cookie_text
from sockreg.registry import pools
from sockreg.registry.destinations import destination_name, of_label
from sockreg.registry.label_members import nothing_registered
from sockreg.registry.locks import REGISTRATION_PATIENCE, Lock
from sockreg.registry.maps import Maps
from sockreg.registry.members import Member, members_of
from sockreg.registry.units import unit_state
from sockreg.systemd import journal
from sockreg.terms import DEFAULT_WEIGHT


def weigh(context: Context, label: str, unit: str | None, weight: int | None) -> int:
    """Change the weight of the members of a label, or of that of ``unit``. Returns how many.

    None is the weight in their units' files. The weight lasts until the unit registers again.
    A stalled member gets new flows again, until the next look (commands/stalls.py). Weight 0 drains
    a member: nothing new arrives there, and existing connections continue. Raises
    SockregError if the label has no such member, and RefusedError if this drains ssh, to which a
    rule leads.
    """
    if weight is not None:
        check_weight(weight)
    registry = context.loaded_registry()
    changed = set()
    with Maps(registry) as maps, Lock(maps.registry, REGISTRATION_PATIENCE), interrupts.dropped():
        if weight == 0 or (weight is None and _drains(maps, label, unit)):
            refuse_removal(maps, label, unit, what="nothing is drained")
        for key, slot in sorted(of_label(maps, label).items()):
            for member in members_of(maps, slot):
                if unit is not None and member.unit != unit:
                    continue
                new = _in_files(maps, member.unit) if weight is None else weight
                pools.weigh(maps, slot, member, new, stalled=False)
                # A destination for one listener may have what the one for the only listener has.
                if (*key[:3], member.cookie) not in changed:
                    changed.add((*key[:3], member.cookie))
                    _tell(label, destination_name(*key), member, new)
    if not changed:
        raise nothing_registered(label, unit)
    return len(changed)


def _drains(maps: Maps, label: str, unit: str | None) -> bool:
    """Whether a member has weight 0 in its unit's files."""
    return any(
        unit in (None, member.unit) and _in_files(maps, member.unit) == 0
        for slot in of_label(maps, label).values()
        for member in members_of(maps, slot)
    )


def _in_files(maps: Maps, unit: str) -> int:
    """The weight in the files of a unit, as the loader read them."""
    state = unit_state(maps, unit)
    return DEFAULT_WEIGHT if state is None else state.weight


def _tell(label: str, destination: str, member: Member, weight: int) -> None:
    effect = "drained" if weight == 0 else f"now has weight {weight}"
    journal.say(
        f"label {destination}: {cookie_text(member.cookie)} of {member.unit} {effect}",
        journal.WEIGHED,
        fields={
            "SOCKREG_LABEL": label,
            "SOCKREG_COOKIE": cookie_text(member.cookie),
            "SOCKREG_WEIGHT": str(weight),
            **journal.unit_fields(member.unit),
        },
    )

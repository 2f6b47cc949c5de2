"""Units that a command starts, and whose rules it will put in force itself.

A companion that finds the state of its unit's files in the registry only marks the unit as started
(companion/counting.py). So the rules of all units come into force at once, when all sockets are
registered.
"""

from collections.abc import Sequence

from sockreg.commands.apply import state_of
from sockreg.config import ruleset
from sockreg.context import Context
from sockreg.registry.locks import Lock
from sockreg.registry.maps import Maps
from sockreg.registry.units import drop_unit, unit_state, write_unit


def announce(context: Context, units: Sequence[str]) -> None:
    """Store the state of the units' files, of those that do not count."""
    registry = context.loaded_registry()
    read = ruleset.read_units(context.root, units)
    with Maps(registry) as maps, Lock(registry):
        for name in units:
            if unit_state(maps, name) is None and name in read:
                write_unit(maps, name, state_of(read[name], active=False))


def take_back(context: Context, units: Sequence[str]) -> None:
    """The rules of these units did not come into force: they do not count."""
    with Maps(context.registry) as maps, Lock(context.registry):
        for name in units:
            drop_unit(maps, name)

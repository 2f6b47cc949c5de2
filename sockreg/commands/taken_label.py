"""Whether units may have their labels, before anything of them is enabled."""

from collections.abc import Collection

from sockreg.config import ruleset
from sockreg.context import Context
from sockreg.registry import relabel
from sockreg.registry.maps import Maps
from sockreg.registry.units import active_units, read_units


def refuse_taken_labels(context: Context, units: Collection[str]) -> None:
    """Raises RefusedError if one of these .socket units has the label of another one.

    Another one is a unit that counts, or one that has a socket in the registry. Nothing changes.
    """
    if not context.is_loaded:
        _refuse_configured(context.root, units, (), ())
        return
    with Maps(context.registry, read_only=True) as maps:
        counted = read_units(maps)
        files = _refuse_configured(context.root, units, active_units(maps), counted)
        new = {
            unit: (files[unit].label, files[unit].weight_said) for unit in units if unit in files
        }
        relabel.refuse_taken(maps, new)


def _refuse_configured(
    root: str, units: Collection[str], active: Collection[str], counted: Collection[str]
) -> dict[str, ruleset.UnitFiles]:
    before = ruleset.read_units(root, active)
    files = before | ruleset.read_units(root, units)
    first = {unit for unit in (*counted, *before) if unit not in units}
    for unit, holder in ruleset.same_labels(files, first):
        if unit in units:
            raise ruleset.label_refusal(files, unit, holder)
    return files

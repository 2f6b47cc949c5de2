"""Who may share a label: registrants that mean it.

A label often is the name that the software of a server wants for its sockets. Unrelated units with
the same name must not get each other's traffic.

On the companion's start-up path: imports nothing else of sockreg but the errors.
"""

from sockreg.errors import RefusedError


def may_share(unit: str, weight_said: bool, other: str, other_weight_said: bool) -> bool:
    """Whether two registrants of a label share its traffic on purpose.

    They do if they are instances of one template, or if both say a weight.
    """
    return unit == other or (weight_said and other_weight_said) or _are_instances(unit, other)


def _are_instances(one: str, other: str) -> bool:
    """Whether both are instances of one template: ``web@1.socket`` and ``web@2.socket``."""
    prefix, at, rest = one.partition("@")
    other_prefix, other_at, other_rest = other.partition("@")
    return bool(
        at
        and other_at
        and prefix == other_prefix
        and rest.rpartition(".")[2] == other_rest.rpartition(".")[2]
    )


def taken(label: str, unit: str, holder: str, where: str) -> str:
    """The sentence that a label is not for ``unit``, because ``holder`` has it.

    ``where`` is the holder's socket, or the place in its files.
    """
    return (
        f"label {label} belongs to {_name(holder)} ({where}), which does not share it with "
        f"{_name(unit)}"
    )


def way_out(unit: str, holder: str) -> str:
    """What an operator can do about it."""
    if unit.endswith(".socket"):
        own = f"set Label= in [X-Sockreg] of {unit}"
    else:
        own = "use another label, or --replace to take this one"
    if unit.endswith(".socket") and holder.endswith(".socket"):
        return f"{own}, or to share the traffic, Weight= in both units"
    return f"{own}; to share the traffic, give both a weight (Weight= in a .socket unit, --weight)"


def refusal(label: str, unit: str, holder: str, where: str) -> RefusedError:
    """``unit`` may not register under a label. The arguments are those of taken()."""
    return RefusedError(
        f"{_name(unit)}: {taken(label, unit, holder, where)}", way_out(unit, holder)
    )


def _name(unit: str) -> str:
    return "a process without a unit" if unit == "-" else unit

"""Who may share a label: registrants that mean it. And what tells their listeners apart.

A label often is the name that the software of a server wants for its sockets. Unrelated units with
the same name must not get each other's traffic.

On the companion's start-up path: imports nothing else of sockreg but the errors.
"""

from sockreg.errors import RefusedError
from sockreg.printable import shell

_IN_BOTH = "Weight= in both units"


class Listener:
    """A listening socket, as rules tell it from others of its unit.

    ``family`` is its own, and ``serves`` are the families of packets that it takes.
    """

    def __init__(
        self, family: int, serves: tuple[int, ...], protocol: int, address: str, port: int
    ) -> None:
        self.family = family
        self.serves = serves
        self.protocol = protocol
        self.address = address
        self.port = port


def by_port(listeners: list[Listener]) -> dict[tuple[int, int], dict[int, list[int]]]:
    """What rules can tell apart among the listeners of a unit: their ports.

    The result has positions in ``listeners`` for each (family of packets, protocol) and port.
    Several positions on one port are listeners on different addresses, which rules cannot tell
    apart. On one port, a socket of the packet's own family comes before a dual-stack one, and the
    first socket of a reuseport group represents all.
    """
    found: dict[tuple[int, int], dict[int, list[int]]] = {}
    for native in (True, False):
        for at, one in enumerate(listeners):
            for family in one.serves:
                if (family == one.family) is not native:
                    continue
                same = found.setdefault((family, one.protocol), {}).setdefault(one.port, [])
                if not same or (
                    listeners[same[0]].family == one.family
                    and all(one.address != listeners[other].address for other in same)
                ):
                    same.append(at)
    return found


def only_port(ports: dict[int, bool]) -> int | None:
    """The port of the only listener, given for each port whether it is of the packet's own family.

    A dual-stack socket does not count beside one of the packet's own family. None if there are
    several.
    """
    native = [port for port, is_native in ports.items() if is_native] or list(ports)
    return native[0] if len(native) == 1 else None


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
        return f"{own}, or to share the traffic, {_IN_BOTH}"
    return f"{own}; to share the traffic, give both a weight (Weight= in a .socket unit, --weight)"


def refusal(
    label: str, unit: str, holder: str, where: str, *, registered: bool = False
) -> RefusedError:
    """``unit`` may not register under a label. The arguments are those of taken().

    ``registered`` is whether the holder has a socket in the registry, which can be taken out.
    """
    hint = way_out(unit, holder)
    if registered:
        if hint.endswith(_IN_BOTH):
            hint += " and then 'systemctl reload sockreg'"  # the holder's socket gets its weight
        hint += f"; 'sockreg unregister {shell(label)} --unit {shell(holder)}' frees the label"
    return RefusedError(f"{_name(unit)}: {taken(label, unit, holder, where)}", hint)


def _name(unit: str) -> str:
    return "a process without a unit" if unit == "-" else unit

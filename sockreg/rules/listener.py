"""Which listener a rule means, if the sockets of a label listen on several ports. Pure.

A rule that says ``to PORT`` means the listener on this port. Any other rule means the listener
whose own port is among its ports, or else the only one of its family and protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sockreg.model import WHICH_LISTENER, Action, Binding
from sockreg.sharing import only_port
from sockreg.terms import ONLY


class Port(NamedTuple):
    """The listeners on one port, as text. Rules cannot tell several apart.

    ``native`` is whether they are sockets of the packet's own family, not dual-stack ones.
    """

    listeners: list[str]
    native: bool


Ports = Mapping[int, Port]
Listening = Mapping[tuple[str, int, int], Mapping[str, Ports]]  # label, family, protocol -> units
NO_LISTENERS: Listening = {}


class Unclear(NamedTuple):
    """A rule that does not say which listener it means. ``listeners`` are texts."""

    binding: Binding
    listeners: list[str]

    def __str__(self) -> str:
        return unclear_text(self.binding.label, self.listeners)


def unclear_text(label: str, listeners: Iterable[str]) -> str:
    """What is unclear, and what to do about it."""
    return (
        f"{WHICH_LISTENER} {label} is meant? There are {' and '.join(listeners)}: add "
        "'to PORT' to the rule, with a port that only one of them has"
    )


def settle_listeners(
    bindings: list[Binding], configured: Listening, live: Listening
) -> tuple[list[Binding], list[Unclear]]:
    """The bindings with their listeners, and those that remain unclear.

    ``configured`` are the listeners of all units that count, by their files. ``live`` are those of
    units that have several in the registry.
    """
    crowded = {key for key, units in configured.items() if any(map(_several, units.values()))}
    crowded.update(live)
    if not crowded:
        return bindings, []
    labels = {label for label, _, _ in crowded}
    settled: list[Binding] = []
    unclear: list[Unclear] = []
    for binding in bindings:
        if binding.label in labels and binding.action is Action.BIND and not binding.listener:
            key = (binding.label, binding.family, binding.protocol)
            if key in crowded:
                units = {**live.get(key, {}), **configured.get(key, {})}
                port = meant(binding, units.values())
                if port is None:
                    unclear.append(Unclear(binding, texts(units)))
                else:
                    binding = binding._replace(listener=port)
        settled.append(binding)
    return settled, unclear


def _several(ports: Ports) -> bool:
    return len(ports) > 1 or any(len(port.listeners) > 1 for port in ports.values())


def meant(binding: Binding, units: Iterable[Ports]) -> int | None:
    """The listener of a rule that does not say it, as in Destination; None if it is unclear."""
    owned = set()
    for ports in units:
        own = {p: port.native for p, port in ports.items() if binding.first <= p <= binding.last}
        chosen = only_port(own or {p: port.native for p, port in ports.items()})
        if chosen is None or len(ports[chosen].listeners) > 1:
            return None
        owned.add(chosen if own and len(ports) > 1 else ONLY)
    return owned.pop() if len(owned) == 1 else None


def only_ports(ports: Mapping[tuple[int, int], Ports]) -> dict[tuple[int, int], int]:
    """The port of a unit's only listener, by family and protocol: where rules without ``to`` lead.

    Those of which it has several, or several on one port, are missing.
    """
    found = {}
    for key, there in ports.items():
        port = only_port({number: each.native for number, each in there.items()})
        if port is not None and len(there[port].listeners) == 1:
            found[key] = port
    return found


def as_before(
    binding: Binding,
    before: Mapping[tuple[int, int], int],
    now: Mapping[tuple[int, int], Ports],
) -> Binding:
    """A rule of a unit as it was when ``before`` were the unit's only_ports().

    If the unit has several listeners ``now``, the rule means the one that it led to.
    """
    key = (binding.family, binding.protocol)
    there = now.get(key)
    if binding.action is not Action.BIND or binding.listener != ONLY or not there:
        return binding
    port = meant(binding, [there])
    if port == ONLY:
        return binding
    known = before.get(key)
    if known is not None and known in there and len(there[known].listeners) == 1:
        port = known
    return binding if port is None else binding._replace(listener=port)


def texts(units: Mapping[str, Ports]) -> list[str]:
    """``mail.socket 127.0.0.1:8143`` of each listener."""
    return [
        f"{unit} {listener}"
        for unit, ports in sorted(units.items())
        for port in sorted(ports)
        for listener in ports[port].listeners
    ]

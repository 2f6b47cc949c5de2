"""In which network namespace a .socket unit listens (systemd.exec(5))."""

from __future__ import annotations

import os

from sockreg.config.unit import Setting, Unit
from sockreg.systemd.specifiers import expand_specifiers

_OWN = "/proc/thread-self/ns/net"


def elsewhere(root: str, unit: Unit) -> tuple[str, Setting] | None:
    """The key and value that make the unit listen outside of this thread's network namespace.

    NetworkNamespacePath= may name this very namespace. JoinsNamespaceOf= only chooses which private
    namespace PrivateNetwork= means.
    """
    path = unit.last("Socket", "NetworkNamespacePath")
    if path is not None:
        return None if _is_own(root, path.value, unit.name) else ("NetworkNamespacePath", path)
    private = unit.last("Socket", "PrivateNetwork")
    if private is not None and unit.is_on("Socket", "PrivateNetwork"):
        return "PrivateNetwork", private
    return None


def _is_own(root: str, value: str, unit: str) -> bool:
    if os.path.realpath(root) != "/":
        return False  # the namespaces of that system are not here
    try:
        return os.path.samefile(expand_specifiers(value, unit), _OWN)
    except (OSError, ValueError):
        return False  # no such namespace, or a specifier that only systemd knows

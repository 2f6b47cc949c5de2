"""The vocabulary of rules as data: labels, places, bindings, rule sets.

Pure: this module knows neither files nor the kernel.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from sockreg.terms import INET as INET
from sockreg.terms import INET6 as INET6
from sockreg.terms import LABEL_MAX as LABEL_MAX
from sockreg.terms import PROTOCOL_NAMES as PROTOCOL_NAMES
from sockreg.terms import TCP as TCP
from sockreg.terms import UDP as UDP
from sockreg.terms import label_problem as label_problem

WHICH_LISTENER = "which listener of label"  # is meant? The problem of a rule begins with this.
UNTIL_THEN = "until then, its rules lead to port"  # What such a problem goes on with, if they do.

FAMILY_BITS = {INET: 32, INET6: 128}
FAMILY_NAMES = {INET: "ipv4", INET6: "ipv6"}
ANY_ADDRESS = {INET: "0.0.0.0", INET6: "::"}
ANY_PORT = (0, 65535)
_SHOWN = 3  # problems of a part that a line names


class Action(IntEnum):
    """What the winning binding does with a packet."""

    BIND = 0
    REJECT = 1
    PASS = 2


ACTION_NAMES = {action: action.name.lower() for action in Action}


class Place(NamedTuple):
    """Where a binding is written; prints as ``path:line``. Line 0 means the whole file."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


class Destination(NamedTuple):
    """Where a BIND rule points: one label in one address family and protocol.

    ``listener`` is the local port of the listener that the rule means. 0 is the only listener of a
    unit.
    """

    label: str
    family: int
    protocol: int
    listener: int = 0


class Binding(NamedTuple):
    """One rule of a rule set.

    ``label`` is the label that a BIND rule points to. For REJECT and PASS, it names the section or
    unit that contains the rule. ``address`` is the prefix as an integer of 32 or 128 bits in host
    order, with host bits cleared. ``first`` and ``last`` are ports, both inclusive; ``ANY_PORT`` is
    a rule that was written with ``*``. ``source`` is (address, length) in the same family, or None.
    ``missing_pass`` leaves the packet to ordinary lookup when the label has no usable socket.
    ``listener`` is as in Destination.
    """

    label: str
    action: Action
    protocol: int
    family: int
    address: int
    length: int
    first: int
    last: int
    source: tuple[int, int] | None
    interface: str | None
    missing_pass: bool
    place: Place
    listener: int = 0

    @property
    def destination(self) -> Destination:
        return Destination(self.label, self.family, self.protocol, self.listener)

    @property
    def matched(self) -> tuple[object, ...]:
        """Everything that decides which packets match, from ``protocol`` to ``interface``."""
        return self[2:10]

    @property
    def outcome(self) -> tuple[Action, str, int, bool]:
        """What two tying bindings must have in common, or they conflict."""
        if self.action is Action.BIND:
            return (self.action, self.label, self.listener, self.missing_pass)
        return (self.action, "", 0, False)


class LeftOut(NamedTuple):
    """A part of the configuration, a .socket unit or a conf file, that is wrong.

    ``part`` is the name of the unit or the path of the file; it is the path of a directory if that
    cannot be read, and nothing is known of what was in it. ``problems`` are (``path:line``, what is
    wrong there). ``earlier`` says whether the rules that the part had when it was last sound are in
    force. Otherwise, none of its rules is. ``files`` is files_state() of the part's files
    (systemd/unitpaths.py). ``accepted`` says whether rules came into force beside the wrong part at
    a boot, and not only by a command about other parts.
    """

    part: str
    problems: tuple[tuple[str, str], ...]
    earlier: bool
    files: tuple[int, int, int, int]
    accepted: bool = False

    @property
    def outcome(self) -> str:
        """``none of its rules is in force``."""
        if self.earlier:
            stay = "its rules stay in force as they were when it was last sound"
            if any(WHICH_LISTENER in text and UNTIL_THEN not in text for _, text in self.problems):
                # A unit with several listeners serves no rule that does not say which one it means.
                stay += (
                    ", but lead to no socket once several listeners are open, until they say "
                    "'to PORT'"
                )
            return stay
        return "none of its rules is in force"

    @property
    def line(self) -> str:
        """One line that says which part is wrong, what follows from that, where and why."""
        found = [f"{place}: {text}" for place, text in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            found.append(f"and {len(self.problems) - _SHOWN} more")
        return f"{self.sentence}: {'; '.join(found)}"

    @property
    def sentence(self) -> str:
        """``web.socket is wrong, and none of its rules is in force``."""
        return f"{self.part} is wrong, and {self.outcome}"


class Packet(NamedTuple):
    """The part of a packet that rules match. ``source_address`` is an integer as in Binding."""

    protocol: int
    family: int
    address: int
    port: int
    source_address: int = 0
    interface: str | None = None

"""The list of checks, to which each adds itself.

``@check(Concern.UNITS)`` is for what units and rule files show, ``@live_check(Concern.UNITS)``
for what the machine shows as well: it is left out when only files are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum, auto
from typing import NamedTuple

from sockreg.check.facts import Facts, Host
from sockreg.check.finding import Finding

Find = Callable[[Facts], Iterator[Finding]]
FindLive = Callable[[Facts, Host], Iterator[Finding]]


class Concern(IntEnum):
    """What a check is about, in the order in which findings of one severity are of use.

    Causes come before their possible consequences.
    """

    RULES = auto()  # the configured rules can be put in force
    ARRIVAL = auto()  # packets get to the rules
    UNITS = auto()  # the units are there, complete and started
    SOCKETS = auto()  # labels have sockets, and these serve
    SERVERS = auto()  # units that share a socket do each other no harm
    LOADER = auto()  # sockreg.service can do its work, and has done it
    UNUSED = auto()  # rules or sockets that nothing leads to
    RESTARTS = auto()  # a socket survives the restart of its units
    HIDDEN = auto()  # rules that never win
    ANSWERS = auto()  # clients of UDP servers get their answers
    PROGRAMS = auto()  # other programs in the same place
    LISTENERS = auto()  # ordinary sockets that lose traffic
    REMARKS = auto()  # worth knowing


class Check(NamedTuple):
    """A function from facts to findings, without any access to the system of its own."""

    concern: Concern
    find: Find


CHECKS: list[Check] = []


def check(concern: Concern) -> Callable[[Find], Find]:
    """Add a function to the checks."""

    def add(find: Find) -> Find:
        CHECKS.append(Check(concern, find))
        return find

    return add


def live_check(concern: Concern) -> Callable[[FindLive], FindLive]:
    """Add a function that needs the machine to the checks."""

    def add(find: FindLive) -> FindLive:
        def find_if_live(facts: Facts) -> Iterator[Finding]:
            if facts.host is not None:
                yield from find(facts, facts.host)

        CHECKS.append(Check(concern, find_if_live))
        return find

    return add

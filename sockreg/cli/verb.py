"""What a verb of the command line is. Each stands in a module of its own in ``verbs/``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockreg.api import Registry


class Group(Enum):
    """A heading in the list of verbs."""

    PROGRAM = "the program"
    RULES = "the rules in force"
    UNITS = "systemd units"
    SOCKETS = "sockets"
    VIEWS = "what there is"


def no_arguments(_: argparse.ArgumentParser) -> None:
    """For a verb that takes none of its own."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """``summary`` stands in the list of verbs, ``description`` in the verb's own help.

    ``run`` raises SockregError when it fails. It imports what it needs, no more.
    ``takes_command`` lets ``-- COMMAND`` follow, which is run at the end; ``usage`` replaces
    what argparse would make of the arguments.
    """

    name: str
    group: Group
    summary: str
    description: str
    run: Callable[[Registry, argparse.Namespace], None]
    add_arguments: Callable[[argparse.ArgumentParser], None] = no_arguments
    takes_command: bool = False
    usage: str | None = None

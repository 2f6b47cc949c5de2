"""A verb of the command line. Each has a module in ``verbs/``."""

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

    CHANGE = "change where traffic goes"
    LOOK = "look"
    HAND_OVER = "hand over sockets"
    SYSTEM = "the system"


def no_arguments(_: argparse.ArgumentParser) -> None:
    """For a verb without arguments."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """``summary`` is for the list of verbs, ``description`` for the verb's own help.

    ``run`` raises SockregError if it fails, and imports only what it needs. ``takes_command``
    allows ``-- COMMAND``, which is run at the end. ``usage`` replaces argparse's list of the
    arguments.
    """

    name: str
    group: Group
    summary: str
    description: str
    run: Callable[[Registry, argparse.Namespace], None]
    add_arguments: Callable[[argparse.ArgumentParser], None] = no_arguments
    takes_command: bool = False
    usage: str | None = None

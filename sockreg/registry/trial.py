"""A change that reverts by itself unless it is confirmed.

The trial is the name of a directory in the registry, ``unconfirmed-6-123456789``: the generation to
return to, and the deadline in ms of CLOCK_BOOTTIME. Of several changes, the first one determines
the generation, the last one the deadline.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from sockreg.errors import UsageError

_PREFIX = "unconfirmed-"
_LONGEST = 60  # characters of a token
_LATE = 10.0  # s after the deadline, in which what ends the trial may still be at work


class Unconfirmed(NamedTuple):
    """``base`` is the number of the generation that was confirmed last."""

    base: int
    deadline: int

    @property
    def token(self) -> str:
        """The name of this trial, unique in the registry."""
        return f"{self.base}-{self.deadline}"

    @property
    def seconds_left(self) -> float:
        return self.deadline / 1000 - time.clock_gettime(time.CLOCK_BOOTTIME)

    @property
    def goes_on(self) -> str:
        """What happens to a change that somebody makes during the trial, as a sentence."""
        left = max(0, round(self.seconds_left))
        return (
            f"a trial goes on: generation {self.base} comes back in {left} s, without this change, "
            "unless you run 'sockreg confirm'"
        )


def after(seconds: float, base: int) -> Unconfirmed:
    """A trial that starts now and lasts this long."""
    return Unconfirmed(base, round((time.clock_gettime(time.CLOCK_BOOTTIME) + seconds) * 1000))


def read(registry: str) -> list[Unconfirmed]:
    """Waiting trials: none or one; two only if a change of the trial was interrupted."""
    return [parse_token(path.name.removeprefix(_PREFIX)) for path in _marks(registry)]


def running(registry: str) -> list[Unconfirmed]:
    """The same without those that nobody has ended at their deadline: what would have has died."""
    return [waiting for waiting in read(registry) if waiting.seconds_left > -_LATE]


def drop_dead(registry: str) -> None:
    """Forget trials that nobody has ended. Who changes rules now is not locked out."""
    waiting = running(registry)
    if len(waiting) < len(_marks(registry)):
        write(registry, waiting)


def parse_token(token: str) -> Unconfirmed:
    """Raises UsageError if the token is invalid."""
    base, _, deadline = token.partition("-")
    numbers = token.isascii() and base.isdecimal() and deadline.isdecimal()
    if not numbers or len(token) > _LONGEST:
        raise UsageError(f"{token!r} does not name a trial", "")
    return Unconfirmed(int(base), int(deadline))


def write(registry: str, waiting: list[Unconfirmed]) -> None:
    """Make these the only waiting trials."""
    wanted = {f"{_PREFIX}{change.token}" for change in waiting}
    for name in wanted:
        Path(registry, name).mkdir(mode=0o750, exist_ok=True)
    for path in _marks(registry):
        if path.name not in wanted:
            path.rmdir()


def _marks(registry: str) -> list[Path]:
    return list(Path(registry).glob(f"{_PREFIX}*"))

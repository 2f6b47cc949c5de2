"""Changes of units that can be undone, also after a death in the middle.

``sockreg enable`` notes the state before it changes anything, and drops the note when all is done
or undone. A note that is found with its lock free belongs to a command that died. The next enable
or disable undoes what that command did. The note is in /run: no unit is half started after a boot.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from sockreg.commands import tell
from sockreg.commands.apply import configuring, put_in_force
from sockreg.commands.change import Change
from sockreg.commands.load import unload
from sockreg.context import Context
from sockreg.errors import AccessError, SockregError, failure
from sockreg.host import files
from sockreg.printable import shell_words
from sockreg.registry import generations, registration
from sockreg.registry.locks import DirectoryLock, Lock
from sockreg.registry.units import drop_unit, read_units
from sockreg.systemd import unit_control, unitlinks
from sockreg.terms import LOADER

_DIRECTORY = "/run/sockreg/enable"
_NOTE = f"{_DIRECTORY}/unfinished"


@dataclass(frozen=True, kw_only=True)
class Before:
    """The state of some .socket units before a command changes it.

    ``units`` are those that the command is about. ``watched`` are the units that its links name,
    and ``links`` the links there were. ``dropins`` are files with their text, or None if they did
    not exist. ``inactive`` are units, of any type, that were not active. ``unregistered`` are
    .socket units without a socket in the registry, and ``uncounted`` those whose rules did not
    count. ``loaded`` is whether there was a registry.
    """

    when: str = field(default_factory=lambda: f"{datetime.now():%Y-%m-%d %H:%M:%S}")
    units: list[str]
    watched: list[str]
    links: list[str]
    dropins: dict[str, str | None]
    inactive: list[str]
    unregistered: list[str]
    uncounted: list[str]
    loaded: bool


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the lock of the commands that enable and disable units. Raises SockregError."""
    try:
        os.makedirs(_DIRECTORY, mode=0o755, exist_ok=True)
        os.chmod(_DIRECTORY, 0o700)
    except OSError as error:
        if os.geteuid() != 0:
            raise AccessError("only root may enable and disable units", "run it as root") from None
        raise failure(error, f"{_DIRECTORY}: {error.strerror}") from None
    with DirectoryLock(_DIRECTORY):
        yield


def note(before: Before) -> None:
    """Note the state, first of all. Raises SockregError."""
    try:
        files.replace(_NOTE, json.dumps(asdict(before)).encode(), 0o600)
    except OSError as error:
        raise failure(error, f"{_NOTE}: cannot be written: {error.strerror}") from None


def done() -> None:
    """Drop the note: there is nothing to undo any more."""
    files.remove(_NOTE)


def left() -> Before | None:
    """The note of a command that died, or None. Call it while locked()."""
    try:
        with open(_NOTE, encoding="utf-8") as file:
            return Before(**json.load(file))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError):
        raise SockregError(
            f"{_NOTE} is not a note of this version of sockreg",
            "remove the file; 'sockreg disable UNIT' takes out what is left of a unit",
        ) from None


def left_by_dead() -> Before | None:
    """The note, for those who only look: None if its command runs, or if this user may not know."""
    try:
        with DirectoryLock(_DIRECTORY, 0):
            return left()
    except SockregError:
        return None  # nothing was ever enabled, or it runs, or only root may know


def heal(context: Context) -> str:
    """Undo what a command did that died. Returns a sentence about it, or ''.

    Call it while locked(). Raises SockregError if it cannot be undone.
    """
    before = left()
    if before is None:
        return ""
    problems = undo(context, before)
    what = f"'sockreg enable {shell_words(*before.units)}' of {before.when} did not end"
    if problems:
        raise SockregError([f"{what}, and cannot be undone:", *problems])
    tell.notice(f"{what}: it is undone")
    return f"{what}: it is undone"


def undo(context: Context, before: Before) -> list[str]:
    """Bring the state back, and drop the note. Returns what could not be undone, in sentences.

    The rules go first, so that nobody is sent to a socket that is gone. What was done before the
    death of the command is undone as far as it was done.
    """
    problems: list[str] = []

    @contextlib.contextmanager
    def step(what: str) -> Iterator[None]:
        try:
            yield
        except SockregError as error:
            problems.append(f"{what}: {error.line}")
        except OSError as error:
            problems.append(f"{what}: {error.filename or ''}: {error.strerror}")

    with step("the links and files"):
        now = unitlinks.links_of(context.root, before.watched)
        unitlinks.remove_links(sorted(set(now) - set(before.links)))
        restore(before.dropins)
    with step("daemon-reload"):
        unit_control.run(["daemon-reload"])
    if before.loaded and context.is_loaded:
        with step("the rules"):
            withdraw(context, before.uncounted)
        for unit in before.unregistered:
            with step(f"the sockets of {unit}"):
                registration.unregister(context.registry, unit=unit)
    with step("the units"):
        stop(before.inactive)
    if not before.loaded and context.is_loaded:
        with step("the registry"):
            unload(context)
    if not problems:
        done()
    return problems


def restore(dropins: Mapping[str, str | None]) -> None:
    """Give files their earlier text; None is a file that did not exist. Raises OSError."""
    for path, text in dropins.items():
        if text is None:
            files.remove(path)
            unitlinks.remove_if_empty(os.path.dirname(path))
        else:
            files.replace(path, text.encode("utf-8", "surrogateescape"))


def withdraw(context: Context, units: Collection[str]) -> Change | None:
    """Have units no longer count. Returns the change of the rules in force, if it is one."""
    change = None
    with configuring(context, force=False) as writer:
        counting = read_units(writer.maps).keys() & set(units)
        if counting and generations.in_force(writer.registry) is not None:
            active = writer.active_units() - set(units)
            change = put_in_force(writer, active, {}, changes=units)
        with Lock(writer.registry):
            for unit in read_units(writer.maps).keys() & counting:
                drop_unit(writer.maps, unit)
    return change


def stop(units: Sequence[str]) -> None:
    """Make units inactive, also those that have failed. The loader goes last."""
    now = unit_control.states(units)
    up = [unit for unit in units if now[unit].active != "inactive"]
    others = [unit for unit in up if unit != LOADER]
    if others:
        unit_control.run(["stop", "--", *others])
    if LOADER in up:
        unit_control.run(["stop", LOADER])
    failed = [
        name for name, state in unit_control.states(units).items() if state.active == "failed"
    ]
    if failed:
        unit_control.run(["reset-failed", "--", *failed])

"""Conf files that came with a trial go back with its rules.

DIRECTORY/trial has what was in them before, and what the trial wrote. A file that somebody has
changed since stays as it is. The loader cannot write conf files: it only says at a boot which of
them have rules that nobody has confirmed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from sockreg import trust
from sockreg.config.bindfile import texts_of, write_files
from sockreg.config.conf import Overlay
from sockreg.context import Context
from sockreg.errors import SockregError, failure
from sockreg.host import files
from sockreg.registry import trial
from sockreg.registry.kept import DIRECTORY
from sockreg.systemd import journal

_FILE = "trial"
_BOOT = "/proc/sys/kernel/random/boot_id"


class _Note(NamedTuple):
    """``of`` is the registry of the trial. ``files`` are (path, text before, text of the trial)."""

    of: str
    files: list[tuple[str, str | None, str | None]]


def note(context: Context, registry: str, given: Overlay) -> bytes | None:
    """Note what is in these files, before a trial writes them.

    Of several changes in a row, the first one determines to what a file goes back. Returns what
    was noted before, for note_again(). Raises SockregError.
    """
    found = _read(context)
    earlier = json.dumps(found).encode() if found else None
    if not given:
        return earlier
    of = _name(registry)
    first = {path: before for path, before, _ in found.files} if found and found.of == of else {}
    written = {path: text for path, _, text in found.files} if first and found else {}
    before = texts_of(given)
    noted = [
        (path, first.get(path, before.get(path)), text)
        for path, text in {**written, **given}.items()
    ]
    try:
        files.replace(_path(context), json.dumps(_Note(of, noted)).encode(), mode=0o600)
    except OSError as error:
        raise failure(
            error,
            f"{_path(context)}: cannot be written: {error.strerror}",
            "what is in the files now could not come back with the rules",
        ) from error
    return earlier


def note_again(context: Context, earlier: bytes | None) -> None:
    """The change was refused: note what was noted before."""
    if earlier is None:
        forget(context)
        return
    try:
        files.replace(_path(context), earlier, mode=0o600)
    except OSError as error:
        _warn(context, error)


def forget(context: Context) -> None:
    """The trial has ended, and the files stay as they are."""
    try:
        files.remove(_path(context))
    except OSError as error:
        _warn(context, error)


def put_back(context: Context) -> list[str]:
    """Write what was in the files before the trial. Returns which ones.

    If that cannot be done, this only says so: the rules are those from before the trial.
    """
    found = _read(context)
    if found is None:
        return []
    try:
        now = texts_of({path: None for path, _, _ in found.files})
        back = {path: before for path, before, text in found.files if now[path] == text}
        write_files(back)
    except SockregError as error:
        journal.say(
            [f"the files of the trial stay as they are: {error.lines[0]}", *error.lines[1:]],
            priority=journal.WARNING,
        )
        return []
    forget(context)
    return list(back)


def settle(context: Context, registry: str) -> None:
    """Forget the files of a trial that does not wait any more."""
    found = _read(context)
    if found is None or (found.of == _name(registry) and trial.read(registry)):
        return
    if found.of != _name(registry):
        paths = ", ".join(path for path, _, _ in found.files)
        journal.say(
            f"nobody has confirmed the trial of what is in {paths}: it has ended with the boot or "
            "the registry, and the files stay",
            priority=journal.WARNING,
        )
    forget(context)


def _path(context: Context) -> str:
    return f"{context.root.rstrip('/')}{DIRECTORY}/{_FILE}"


def _name(registry: str) -> str:
    """A name of a registry, which a later registry does not get."""
    return f"{Path(_BOOT).read_text().strip()} {os.stat(registry).st_ino}"


def _read(context: Context) -> _Note | None:
    try:
        content = trust.read(context.root, _path(context))
        of, noted = json.loads(content)
        return _Note(str(of), [(str(path), before, text) for path, before, text in noted])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        _warn(context, error)
        return None


def _warn(context: Context, error: Exception) -> None:
    journal.say(
        f"{_path(context)}: {error}; the files of a trial may have to be corrected by hand",
        priority=journal.WARNING,
    )

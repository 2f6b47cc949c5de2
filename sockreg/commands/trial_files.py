"""Conf files that came with a trial go back with its rules.

DIRECTORY/trial has what was in them before, and what the trial wrote. A file that somebody has
changed since stays as it is. The loader cannot write conf files: it only says at a boot which of
them have rules that nobody has confirmed.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from sockreg import trust
from sockreg.config.bindfile import texts_of, write_files
from sockreg.config.conf import Overlay
from sockreg.context import Context
from sockreg.errors import SockregError, failure
from sockreg.host import files
from sockreg.registry import trial
from sockreg.registry.kept import DIRECTORY
from sockreg.registry.trial import Unconfirmed
from sockreg.systemd import journal

_FILE = "trial"


class _Note(NamedTuple):
    """``token`` names the trial. ``files`` are (path, text before, text of the trial)."""

    token: str
    files: list[tuple[str, str | None, str | None]]


def noted(context: Context) -> _Note | None:
    """What is noted now."""
    return _read(context)


def note(context: Context, waiting: Unconfirmed, given: Overlay) -> None:
    """Note what is in these files, before a trial writes them.

    Of several changes in a row, the first one determines to what a file goes back. Raises
    SockregError.
    """
    found = _read(context)
    if not given and found is None:
        return
    before: dict[str, str | None] = {path: text for path, text, _ in found.files} if found else {}
    written: dict[str, str | None] = {path: text for path, _, text in found.files} if found else {}
    before = {**texts_of(given), **before}
    of_all = {**written, **given}
    _write(context, _Note(waiting.token, [(it, before[it], of_all[it]) for it in of_all]))


def note_again(context: Context, earlier: _Note | None) -> None:
    """The change was refused: note what was noted before."""
    if earlier is None:
        forget(context)
        return
    try:
        _write(context, earlier)
    except SockregError as error:
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
    if found is None or found.token in {waiting.token for waiting in trial.read(registry)}:
        return
    paths = ", ".join(path for path, _, _ in found.files)
    journal.say(
        f"nobody has confirmed the trial of what is in {paths}: it has ended with the boot, with "
        "the registry or with what would have ended it, and the files stay",
        priority=journal.WARNING,
    )
    forget(context)


def _path(context: Context) -> str:
    return f"{context.root.rstrip('/')}{DIRECTORY}/{_FILE}"


def _write(context: Context, note: _Note) -> None:
    try:
        files.replace(_path(context), json.dumps(note).encode(), mode=0o600)
    except OSError as error:
        raise failure(
            error,
            f"{_path(context)}: cannot be written: {error.strerror}",
            "what is in the files now could not come back with the rules",
        ) from error


def _read(context: Context) -> _Note | None:
    try:
        content = trust.read(context.root, _path(context))
        token, found = json.loads(content)
        return _Note(str(token), [(str(path), before, text) for path, before, text in found])
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

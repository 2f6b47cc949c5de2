"""Conf files that come with a command, to be written in the same step as their rules."""

from __future__ import annotations

import os
from collections.abc import Iterable

from sockreg.config.conf import DIRECTORIES, Overlay
from sockreg.errors import ConfigError, UsageError, failure
from sockreg.systemd.keyfile import too_large


def given_files(root: str, put: Iterable[tuple[str, str]], removed: Iterable[str] = ()) -> Overlay:
    """The conf files to write: of each pair, the first one gets what is in the second one.

    Those in ``removed`` go. Raises UsageError for a path where no conf file is read, and
    SockregError if a given file cannot be read.
    """
    files: dict[str, str | None] = {}
    sources: list[tuple[str, str | None]] = [*put, *((path, None) for path in removed)]
    for path, source in sources:
        _require_conf_file(root, path)
        if path in files:
            raise UsageError(f"{path} is given twice", "")
        files[path] = None if source is None else _text(source)
    return files


def _require_conf_file(root: str, path: str) -> None:
    directory, name = os.path.split(path)
    known = [root.rstrip("/") + known for known in DIRECTORIES]
    if directory not in known or not name.endswith(".conf") or name.startswith("."):
        raise UsageError(
            f"no rules are read from {path}",
            f"name a file such as {known[0]}/web.conf; it may also be below "
            f"{', '.join(known[1:-1])} or {known[-1]}",
        )


def _text(source: str) -> str:
    try:
        with open(source, "rb") as file:
            content = file.read()
    except OSError as error:
        raise failure(error, f"{source}: cannot be read: {error.strerror}") from error
    if large := too_large(content):
        raise ConfigError(f"{source}: {large}")
    return content.decode(errors="surrogateescape")

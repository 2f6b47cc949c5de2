"""Rules of other programs as conf files."""

import os
import sys
from dataclasses import dataclass
from typing import BinaryIO

from sockreg.config.bindfile import write_files
from sockreg.errors import ConfigError, UsageError, failure
from sockreg.rules import tubular

STDIN = "-"
_SIZE_MAX = 64 << 20  # bytes: some hundred thousand bindings


@dataclass(frozen=True)
class Imported:
    """``text`` is a conf file with this many ``rules`` for this many ``labels``."""

    text: str
    rules: int
    labels: int
    remarks: list[str]


def import_tubular(path: str) -> Imported:
    """Read the bindings of tubular's JSON from a file, or from standard input for ``-``.

    Raises SockregError if it cannot be read, or if anything in it is wrong.
    """
    name = "standard input" if path == STDIN else path
    document = tubular.read_document(_content(path), name)
    header = f"# Imported from tubular's bindings in {name!a}.\n\n"
    text = header + tubular.conf_text(document.entries)
    labels = {entry.label for entry in document.entries}
    return Imported(text, 2 * len(document.entries), len(labels), document.remarks)


def write(path: str, text: str, *, replace: bool) -> None:
    """Write a whole file, creating its directory. Raises SockregError if it cannot be written.

    An existing file is only replaced if ``replace`` is true.
    """
    if os.path.lexists(path) and not replace:
        raise UsageError(
            f"{path} already exists", "give another name, or use --force to replace it"
        )
    write_files({os.path.abspath(path): text})


def _limited(file: BinaryIO, name: str) -> bytes:
    content = file.read(_SIZE_MAX + 1)
    if len(content) > _SIZE_MAX:
        raise ConfigError(f"{name}: longer than {_SIZE_MAX >> 20} MiB", "nothing was imported")
    return content


def _content(path: str) -> bytes:
    if path == STDIN:
        if sys.stdin is None:
            raise UsageError("standard input is closed", "nothing was imported")
        return _limited(sys.stdin.buffer, "standard input")
    try:
        with open(path, "rb") as file:
            return _limited(file, path)
    except OSError as error:
        raise failure(error, f"{path}: cannot be read: {error.strerror}") from error

"""Where ssh was last known to listen, kept on disk for the next boot.

    DIRECTORY/ssh       JSON, see Kept

It is written with the rules that are kept there, and is a help as they are: everything works
without it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from sockreg import trust
from sockreg.host import files

_FILE = "ssh"
_VERSION = 1


@dataclass(frozen=True)
class Kept:
    """``ports`` are (address, or None for all, port, families). ``addresses`` are the host's.

    ``labels`` are those by which rules lead to ssh's own sockets.
    """

    ports: list[tuple[str | None, int, tuple[int, ...]]]
    addresses: list[str]
    labels: list[str]


def write(directory: str, kept: Kept) -> None:
    """Keep this, unless it is kept already. Raises OSError."""
    text = json.dumps({"version": _VERSION, **asdict(kept)}) + "\n"
    path = path_in(directory)
    try:
        if trust.read("/", path) == text.encode():
            return
    except (FileNotFoundError, ValueError):
        pass  # the first time, or it is damaged
    files.replace(path, text.encode(), mode=0o600)


def read(directory: str) -> Kept | None:
    """What was kept, or None. Raises OSError, and ValueError if the file is damaged."""
    try:
        text = trust.read("/", path_in(directory))
    except FileNotFoundError:
        return None
    try:
        content = json.loads(text)
        if content["version"] != _VERSION:
            raise ValueError("it is of another version of sockreg")
        ports = [
            (None if address is None else str(address), int(port), tuple(map(int, families)))
            for address, port, families in content["ports"]
        ]
        return Kept(ports, list(map(str, content["addresses"])), list(map(str, content["labels"])))
    except (KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"it is damaged: {error}") from None


def both(one: Kept, other: Kept) -> Kept:
    return Kept(
        sorted({*one.ports, *other.ports}, key=repr),
        sorted({*one.addresses, *other.addresses}),
        sorted({*one.labels, *other.labels}),
    )


def path_in(directory: str) -> str:
    """The file in which this is kept."""
    return f"{directory}/{_FILE}"

"""Journal entries: the latest of sockreg, with systemd-python, and complaints about units."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sockreg.systemd.journal import ERR, OF_UNIT, WARNING

if TYPE_CHECKING:
    from systemd._reader import _Reader

_LOCAL_ONLY = 1  # SD_JOURNAL_LOCAL_ONLY, sd_journal_open(3)
_ABOUT = ("UNIT", "_SYSTEMD_UNIT", OF_UNIT)  # fields that name the unit that an entry is about
_FIELDS = (*_ABOUT, "MESSAGE", "MESSAGE_ID", "PRIORITY", "_TRANSPORT")


def latest(count: int) -> list[str]:
    """Up to ``count`` lines, oldest first; none without a journal or permission to read it."""
    # The module around this one, systemd.journal, takes as long to import as two interpreters to
    # start, most of it for logging, which is not needed to read.
    from systemd import _reader

    reader = _reader._Reader(_LOCAL_ONLY)
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as boot:
        reader.add_match(f"_BOOT_ID={boot.read().strip().replace('-', '')}")
    reader.add_match("SYSLOG_IDENTIFIER=sockreg")
    reader.seek_tail()
    return [*_backwards(reader, count)][::-1]


def _backwards(reader: _Reader, count: int) -> Iterator[str]:
    for _ in range(count):
        if not reader._previous():
            return
        message = reader._get_all().get("MESSAGE", b"")
        if isinstance(message, list):
            message = message[0]
        when = datetime.fromtimestamp(reader._get_realtime() / 1_000_000)
        yield f"{when:%b %d %H:%M:%S} {message.decode('utf-8', 'backslashreplace')}"


def end() -> str | None:
    """The cursor of the last entry there is, for complaints(); None if there is none."""
    entries = list(_entries(["--lines=1"]))
    return str(entries[-1]["__CURSOR"]) if entries else None


def complaints(
    units: Collection[str], after: str | None, *, kind: str | None = None
) -> dict[str, list[str]]:
    """What was said about each unit after a cursor: warnings and worse, and what the unit printed.

    ``kind`` is the MESSAGE_ID= of the only entries that count; None counts all. Each sentence
    appears once. Without permission to read the journal, there is none.
    """
    # journald writes in its own time.
    subprocess.run(["journalctl", "--sync"], capture_output=True, check=False)
    # --after-cursor= also skips the first match if the entry at the cursor is no match.
    where = ["--boot"] if after is None else [f"--cursor={after}"]
    for field in _ABOUT:
        where += [*(f"{field}={unit}" for unit in units), "+"]
    found: dict[str, dict[str, None]] = {unit: {} for unit in units}
    for entry in _entries(where[:-1]):
        if entry["__CURSOR"] == after:
            continue
        if kind is not None and entry.get("MESSAGE_ID") != kind:
            continue
        if int(_text(entry, "PRIORITY") or ERR) > WARNING and entry.get("_TRANSPORT") != "stdout":
            continue
        for unit in found.keys() & {name for field in _ABOUT for name in _values(entry, field)}:
            found[unit][_text(entry, "MESSAGE")] = None
    return {unit: list(sentences) for unit, sentences in found.items()}


def _entries(arguments: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Entries in the JSON of journalctl(1), which also those have who lack systemd-python."""
    options = ["--quiet", "--all", "--output=json", f"--output-fields={','.join(_FIELDS)}"]
    done = subprocess.run(
        ["journalctl", *options, *arguments], capture_output=True, encoding="utf-8", check=False
    )
    for line in done.stdout.splitlines():
        yield json.loads(line)


def _values(entry: dict[str, Any], field: str) -> list[str]:
    """The values of a field, which may have several."""
    value = entry.get(field, [])
    return value if isinstance(value, list) else [value]


def _text(entry: dict[str, Any], field: str) -> str:
    """The first value. One that is no text is a list of bytes."""
    value = entry.get(field)
    if isinstance(value, list):
        if value and all(isinstance(byte, int) for byte in value):
            return bytes(value).decode("utf-8", "backslashreplace")
        value = value[0] if value else ""
    return str(value or "")

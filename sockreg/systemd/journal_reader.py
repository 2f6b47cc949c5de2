"""The latest journal entries of sockreg, read with systemd-python."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from sockreg.systemd.journal import ERR, OF_UNIT, WARNING

if TYPE_CHECKING:
    from systemd._reader import _Reader

_LOCAL_ONLY = 1  # SD_JOURNAL_LOCAL_ONLY, sd_journal_open(3)


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
    from systemd import journal

    reader = journal.Reader()
    reader.seek_tail()
    entry = reader.get_previous()
    return str(entry["__CURSOR"]) if entry else None


def complaints(
    units: Collection[str], after: str | None, *, kind: str | None = None
) -> dict[str, list[str]]:
    """What was said about each unit after a cursor: warnings and worse, and what the unit printed.

    ``kind`` is the MESSAGE_ID= of the only entries that count; None counts all. Each sentence
    appears once. Without permission to read the journal, there is none.
    """
    import subprocess
    import uuid

    from systemd import journal

    # journald writes in its own time.
    subprocess.run(["journalctl", "--sync"], capture_output=True, check=False)
    reader = journal.Reader()
    reader.this_boot()
    for field in ("UNIT", "_SYSTEMD_UNIT", OF_UNIT):
        for unit in units:
            reader.add_match(**{field: unit})
        reader.add_disjunction()
    if after is None:
        reader.seek_head()
    else:
        reader.seek_cursor(after)
    found: dict[str, dict[str, None]] = {unit: {} for unit in units}
    for entry in reader:
        if entry["__CURSOR"] == after:
            continue
        if kind is not None and entry.get("MESSAGE_ID") != uuid.UUID(kind):
            continue
        if entry.get("PRIORITY", ERR) > WARNING and entry.get("_TRANSPORT") != "stdout":
            continue
        about = {entry.get(field) for field in ("UNIT", "_SYSTEMD_UNIT")}
        of = entry.get(OF_UNIT)
        about |= set(of) if isinstance(of, list) else {of}
        for unit in about & found.keys():
            found[unit][str(entry.get("MESSAGE", ""))] = None
    return {unit: list(sentences) for unit, sentences in found.items()}

"""The latest journal entries of sockreg, read with systemd-python."""

import datetime
from collections.abc import Iterator

from systemd import journal


def latest(count: int) -> list[str]:
    """Up to ``count`` lines, oldest first; none without a journal or permission to read it."""
    reader = journal.Reader()
    reader.this_boot()
    reader.add_match(SYSLOG_IDENTIFIER="sockreg")
    reader.seek_tail()
    return [_line(entry) for entry in reversed(list(_backwards(reader, count)))]


def _backwards(reader: journal.Reader, count: int) -> Iterator[dict[str, object]]:
    for _ in range(count):
        entry = reader.get_previous()
        if not entry:
            return
        yield entry


def _line(entry: dict[str, object]) -> str:
    when = entry["__REALTIME_TIMESTAMP"]
    stamp = when.strftime("%b %d %H:%M:%S") if isinstance(when, datetime.datetime) else ""
    return f"{stamp} {entry.get('MESSAGE', '')}"

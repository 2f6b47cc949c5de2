"""The latest journal entries of sockreg, read with systemd-python."""

from collections.abc import Collection, Iterator

from systemd import journal

from sockreg.systemd.journal import ERR, OF_UNIT, WARNING


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
    stamp = f"{when:%b %d %H:%M:%S}" if when else ""
    return f"{stamp} {entry.get('MESSAGE', '')}"


def end() -> str | None:
    """The cursor of the last entry there is, for complaints(); None if there is none."""
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

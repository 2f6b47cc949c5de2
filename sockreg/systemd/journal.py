"""What happened, as journal entries with fields, and as lines for whoever looks.

One native datagram an entry (systemd.io/JOURNAL_NATIVE_PROTOCOL): the journal module of
systemd-python would cost the companion more time than everything else it does. The
texts behind the message ids are in units/sockreg.catalog.
On the companion's start-up path.
"""

import _socket
import posix
import sys

from sockreg.terms import companion

SOCKET = "/run/systemd/journal/socket"
_PATIENCE = 1.0  # s
_OF_UNIT = "OBJECT_SYSTEMD_UNIT"  # what journalctl -u looks for beside the sender's own unit

# MESSAGE_ID= of each kind of entry.
REGISTERED = "5be0ba1c1e0a4ac38c2f4d0b5ff2c1a1"
REPLACED = "0a8c8a6b2f6247e1a7d3a9a3c1b54b02"
UNREGISTERED = "f3b7c5de2a4f4c0e9d1766a1ff0e6c03"
SKIPPED = "9d0f6e4b7c3f4f8aa5b2f9a86c7d3e04"
REFUSED = "2c6d1b0f9e8a4d75b4c3e2f1a0918705"
LOADED = "c47e5a3d1f2b4e6c8a9d0b1c2d3e4f06"
APPLIED = "7e1d2c3b4a5f4d6e8f90a1b2c3d4e507"
APPLY_REFUSED = "b8a7968574634251a0f1e2d3c4b5a608"
UNLOADED = "6f5e4d3c2b1a4f0e9d8c7b6a59483709"
WEIGHED = "3a4b5c6d7e8f49a0b1c2d3e4f5061708"
WENT_BACK = "e7a4c1f0d29b4e3c8f5e6d7a8b9c0d0b"
NOTICE = "d1c2b3a495864e7f8a9bacbdcedfe00a"

ERR, WARNING, INFO = 3, 4, 6  # syslog priorities

Fields = dict[str, str | list[str]]  # a field may have several values


def say(
    message: str, message_id: str = NOTICE, priority: int = INFO, fields: Fields | None = None
) -> None:
    """Log one line with fields, and show it to whoever runs this.

    The line goes to stderr too, unless that is the
    journal already (JOURNAL_STREAM, systemd.exec(5)). Without a journal, stderr has it.
    """
    if not (record(message, message_id, priority, fields) and under_systemd()):
        print(message, file=sys.stderr)


def under_systemd() -> bool:
    """Whether stderr is the journal."""
    return b"JOURNAL_STREAM" in posix.environ


def record(
    message: str, message_id: str = NOTICE, priority: int = INFO, fields: Fields | None = None
) -> bool:
    """Log one line with fields; False if there is no journal here."""
    return _send(message, message_id, priority, fields or {})


def _send(message: str, message_id: str, priority: int, fields: Fields) -> bool:
    entry = bytearray()
    everything: Fields = {
        "MESSAGE": message,
        "MESSAGE_ID": message_id,
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "sockreg",
        **fields,
    }
    if under_systemd() and _OF_UNIT not in fields:
        # The journal asks /proc which unit a sender is of: too late for one that has ended.
        from sockreg.systemd.unit_of import unit_of_this_process

        everything[_OF_UNIT] = unit_of_this_process()
    for name, values in everything.items():
        for value in values if isinstance(values, list) else [values]:
            data = value.encode("utf-8", "backslashreplace")
            if b"\n" in data:
                entry += b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
            else:
                entry += b"%s=%s\n" % (name.encode(), data)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    # A journal that is stuck must not hold up a socket's companion.
    sock.settimeout(_PATIENCE)
    try:
        sock.sendto(entry, SOCKET)
    except OSError:
        return False  # no journal here, or an entry too long for it: stderr has the line
    finally:
        sock.close()
    return True


def unit_fields(unit: str) -> Fields:
    """Fields that make an entry show up under ``journalctl -u`` of the units concerned.

    OBJECT_SYSTEMD_UNIT= is what journalctl(1) looks for beside the sender's own unit.
    """
    if not unit.endswith(".socket"):
        return {}
    return {"SOCKREG_UNIT": unit, _OF_UNIT: [unit, companion(unit)]}

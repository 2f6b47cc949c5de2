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

# MESSAGE_ID= of each kind of entry, made by systemd-id128(1).
REGISTERED = "84e1825ebc704b10955afccb6960c51c"
REPLACED = "fc94bc2541cb47ce8d0050d8c94095e5"
UNREGISTERED = "03d027fd8b944752b37c5a033c4be26b"
SKIPPED = "5f2e80954104484095c8fb7c74554af3"
REFUSED = "cc7e978316344bdda44041e8003d377d"
LOADED = "2d68de4aceb145c380225a6d208b5903"
APPLIED = "dc226893b15e40f0a5a06f42bc3e742d"
APPLY_REFUSED = "41490820d18b4bd6b3f6a906ea599bd0"
UNLOADED = "92bd880591674658ac697c761b1b3780"
WEIGHED = "e57d1c7fe4a04e6f85098ed99a6125a8"
WENT_BACK = "a8192c4b332943e1b7ca1c7086efcdb1"
NOTICE = "aae01ab9781b4873bbd9625c68e521e5"

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

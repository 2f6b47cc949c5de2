"""Events as journal entries with fields, and as lines on stderr.

Each entry is one native datagram (systemd.io/JOURNAL_NATIVE_PROTOCOL): the journal module of
systemd-python would take more time than everything else the companion does. units/sockreg.catalog
has the texts for the message IDs.

On the companion's start-up path.
"""

import _socket
import posix

from sockreg import streams
from sockreg.printable import message as printable_message
from sockreg.printable import printable
from sockreg.terms import APPLYING_PREFIX, COMPANION_PREFIX, companion

SOCKET = "/run/systemd/journal/socket"
_PATIENCE = 1.0  # s
_STREAM = b"JOURNAL_STREAM"  # systemd sets it for the processes of a unit
# journalctl -u looks for this field beside the sender's own unit.
OF_UNIT = "OBJECT_SYSTEMD_UNIT"

# MESSAGE_ID= of each kind of entry, made by systemd-id128(1).
REGISTERED = "84e1825ebc704b10955afccb6960c51c"
REPLACED = "fc94bc2541cb47ce8d0050d8c94095e5"
UNREGISTERED = "03d027fd8b944752b37c5a033c4be26b"
SKIPPED = "5f2e80954104484095c8fb7c74554af3"
REFUSED = "cc7e978316344bdda44041e8003d377d"
LOADED = "2d68de4aceb145c380225a6d208b5903"
APPLIED = "dc226893b15e40f0a5a06f42bc3e742d"
APPLY_REFUSED = "41490820d18b4bd6b3f6a906ea599bd0"
PENDING = "db5791bed0db4967949517ffd9197cac"
CAME = "9898f20c75754b07a6501530573c3cec"
WENT = "74b9abae505543638086a4d8ee6e4afe"
LEFT_OUT = "111939bed1a04b04bc01dece9a7f097a"
UNLOADED = "92bd880591674658ac697c761b1b3780"
WEIGHED = "e57d1c7fe4a04e6f85098ed99a6125a8"
WENT_BACK = "a8192c4b332943e1b7ca1c7086efcdb1"
STALLED = "f14316cacc0943c1bc12e9c25086e8d8"
ACCEPTS = "b51b713bb7a04306b4cc1ca002e829f7"
ENDED = "95055ad656034c6da48b54fdfb2abe46"
NOTICE = "aae01ab9781b4873bbd9625c68e521e5"

ERR, WARNING, NOTABLE, INFO = 3, 4, 5, 6  # syslog priorities

Fields = dict[str, str | list[str]]  # a field may have several values


def say(
    message: str | list[str],
    message_id: str = NOTICE,
    priority: int = INFO,
    fields: Fields | None = None,
) -> None:
    """Log one line with fields, or a list of lines, and print it on stderr.

    The line is not printed if stderr is the journal already (JOURNAL_STREAM, systemd.exec(5)).
    Without a journal, it is only printed.
    """
    if not (record(message, message_id, priority, fields) and under_systemd()):
        for line in [message] if isinstance(message, str) else message:
            streams.err(line)


def under_systemd() -> bool:
    """Whether stderr is the journal: JOURNAL_STREAM is its device and inode (systemd.exec(5)).

    A process whose stderr leads elsewhere may have inherited the variable.
    """
    stream = posix.environ.get(_STREAM)
    if stream is None:
        return False
    try:
        status = posix.fstat(2)
    except OSError:
        return False  # stderr is closed
    return stream == b"%d:%d" % (status.st_dev, status.st_ino)


def record(
    message: str | list[str],
    message_id: str = NOTICE,
    priority: int = INFO,
    fields: Fields | None = None,
) -> bool:
    """Log one line with fields, or a list of lines; False if there is no journal here."""
    return _send(message, message_id, priority, fields or {})


def _send(message: str | list[str], message_id: str, priority: int, fields: Fields) -> bool:
    entry = bytearray()
    lines = [message] if isinstance(message, str) else message
    # What is shown is printable here, and what is searched for, too: journalctl(1) shows a field
    # with anything else as a number of bytes.
    everything: Fields = {
        "MESSAGE": "\n".join(map(printable_message, lines)),
        "MESSAGE_ID": message_id,
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "sockreg",
        **fields,
    }
    if _STREAM in posix.environ and OF_UNIT not in fields:
        # The journal reads the sender's unit from /proc, too late for a process that has ended.
        from sockreg.systemd.unit_of import unit_of_this_process

        own = unit_of_this_process()
        # An operator starts sockreg@web.service, which has no process.
        instance = own.removeprefix(APPLYING_PREFIX)
        everything[OF_UNIT] = own if instance == own else [own, f"{COMPANION_PREFIX}{instance}"]
    for name, values in everything.items():
        for value in values if isinstance(values, list) else [values]:
            data = (value if name == "MESSAGE" else printable(value)).encode()
            if b"\n" in data:
                entry += b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
            else:
                entry += b"%s=%s\n" % (name.encode(), data)
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    # A stuck journal must not delay the companion of a socket.
    sock.settimeout(_PATIENCE)
    try:
        sock.sendto(entry, SOCKET)
    except OSError:
        return False  # no journal here, or an entry too long for it: stderr has the line
    finally:
        sock.close()
    return True


def unit_fields(unit: str) -> Fields:
    """Fields that make ``journalctl -u`` show an entry for these units.

    journalctl(1) looks for OBJECT_SYSTEMD_UNIT= beside the sender's own unit.
    """
    if not unit.endswith(".socket"):
        return {}
    return {"SOCKREG_UNIT": unit, OF_UNIT: [unit, companion(unit)]}

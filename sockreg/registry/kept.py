"""The rules that were last in force, kept on disk for the next boot.

    DIRECTORY/rules     magic     8 bytes   b"sockkpt1"
                        digest    32 bytes  SHA-256 of the rest
                        meaning   32 bytes  SHA-256 of the rules, which the record has with times
                        record    see generation_record.py

Each network namespace has a directory of its own. The file is replaced as a whole. It is only
read when a file has become wrong, and everything works without it.
"""

import contextlib
import hashlib
import json
import struct
import zlib

from sockreg import trust
from sockreg.host import files
from sockreg.registry import generation_record
from sockreg.registry.generation_record import Header, Packed

DIRECTORY = "/var/lib/sockreg"
_FILE = "rules"
_MAGIC = b"sockkpt1"
_DIGEST = 32
_HEAD = len(_MAGIC) + 2 * _DIGEST


def write(directory: str, header: Header, records: bytes) -> None:
    """Keep these rules, unless they are kept already. Raises OSError."""
    path = path_in(directory)
    meaning = _meaning(header, records)
    with contextlib.suppress(FileNotFoundError, ValueError):
        if _content(path)[len(_MAGIC) + _DIGEST : _HEAD] == meaning:
            return
    rest = meaning + generation_record.encode(header, records)
    digest = hashlib.sha256(rest).digest()
    files.replace(path, _MAGIC + digest + rest, mode=0o600)


def read(directory: str) -> tuple[Header, Packed] | None:
    """The rules that were last in force, or None if none are kept.

    Raises OSError, and ValueError if the file is damaged or of another version.
    """
    try:
        record = _content(path_in(directory))[_HEAD:]
    except FileNotFoundError:
        return None
    try:
        return generation_record.decode_header(record), generation_record.decode(record)
    except (ValueError, TypeError, LookupError, struct.error, zlib.error) as error:
        raise ValueError(f"it is of another version of sockreg: {error}") from None


def path_in(directory: str) -> str:
    """The file in which rules are kept."""
    return f"{directory}/{_FILE}"


def _content(path: str) -> bytes:
    """The file as it was written. Raises OSError and ValueError."""
    content = trust.read("/", path)
    if not content.startswith(_MAGIC):
        raise ValueError("it is of another version of sockreg")
    start = len(_MAGIC) + _DIGEST
    if hashlib.sha256(content[start:]).digest() != content[len(_MAGIC) : start]:
        raise ValueError("it is damaged")
    return content


def _meaning(header: Header, records: bytes) -> bytes:
    digest = hashlib.sha256(records)
    told = [header.parts, header.labels, header.paths, header.interfaces, header.version]
    told.append(header.ends)
    digest.update(json.dumps(told).encode())
    return digest.digest()

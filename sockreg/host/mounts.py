"""The mounts of this process's mount namespace (proc_pid_mountinfo(5))."""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

_ESCAPED = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """``device`` is MAJOR:MINOR. ``path`` is as os.fsdecode() makes it."""

    device: str
    path: str
    kind: str


def mounts() -> Iterator[Mount]:
    """All of them, in the order of the kernel.

    Only line feeds end a line and only spaces separate fields. The kernel escapes both in names,
    and no other separator that there is in Unicode.
    """
    with open("/proc/self/mountinfo", "rb") as lines:
        for line in lines.read().split(b"\n"):
            fields = line.split(b" ")
            if len(fields) > 4 and b"-" in fields[6:]:
                path = _ESCAPED.sub(lambda octal: bytes([int(octal[1], 8)]), fields[4])
                kind = fields[fields.index(b"-", 6) + 1]
                yield Mount(fields[2].decode(), os.fsdecode(path), os.fsdecode(kind))

"""A flood of connections to the receiver, under which a test does something."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.sandbox import Sandbox

_FLOOD = """
import grp, os, socket, sys
group, connections = sys.argv[1], int(sys.argv[2])
os.setgroups([])
os.setgid(grp.getgrnam(group).gr_gid)
os.setuid(1)
while connections:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect("/run/sockreg/receive.sock")
    connections -= 1
    if connections % 1000 == 0:
        print("going on", flush=True)
"""


@contextmanager
def flooding(box: Sandbox, group: str, connections: int = -1) -> Iterator[subprocess.Popen[str]]:
    """Have another user connect to sockreg-receive.socket one time after the other.

    The block starts once the flood is on; it is ended with the block unless it ended before,
    after that many ``connections``.
    """
    command = ["python3", "-c", _FLOOD, group, str(connections)]
    with box.spawn(command) as flood:
        try:
            assert flood.stdout is not None
            assert flood.stdout.readline() == "going on\n"
            yield flood
        finally:
            flood.kill()

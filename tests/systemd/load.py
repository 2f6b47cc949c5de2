"""What a test does something under: clients that keep asking, and floods."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.sandbox import Sandbox


@contextmanager
def asking(box: Sandbox, address: str, port: int, clients: int = 2) -> Iterator[Counter[str]]:
    """Have clients ask one question after the other; yields how often each answer came.

    The block starts once the first answer is there. What goes wrong counts as an answer:
    see Namespace.ask().
    """
    answers: Counter[str] = Counter()
    failures: list[BaseException] = []
    counting = threading.Lock()
    ended = threading.Event()

    def ask() -> None:
        try:
            while not ended.is_set():
                answer = box.ask(address, port)
                with counting:
                    answers[answer] += 1
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, name=f"client {n}") for n in range(clients)]
    try:
        for thread in threads:
            thread.start()
        box.wait(lambda: answers or failures, "the first answer")
        yield answers
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not failures, failures


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

"""Clients that keep asking while a test does something."""

from __future__ import annotations

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

"""Clients that ask one question after the other while a test does something."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def asking(ask: Callable[[], str], clients: int = 2) -> Iterator[Counter[str]]:
    """Have clients ``ask`` without a pause; yields how often each answer came.

    The block starts once there is an answer. What goes wrong counts as an answer: see
    Namespace.ask().
    """
    answers: Counter[str] = Counter()
    failures: list[BaseException] = []
    counting, started, ended = threading.Lock(), threading.Event(), threading.Event()

    def keep_asking() -> None:
        try:
            while not ended.is_set():
                answer = ask()
                with counting:
                    answers[answer] += 1
                started.set()
        except OSError as error:
            failures.append(error)
            started.set()

    threads = [threading.Thread(target=keep_asking, name=f"client {n}") for n in range(clients)]
    try:
        for thread in threads:
            thread.start()
        assert started.wait(30), "no answer came"
        yield answers
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not failures, failures

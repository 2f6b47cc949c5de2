"""What a terminal shows of a command that takes long."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest

from sockreg.cli import progress


class Terminal:
    """A pseudo terminal: ``file`` to write to, and what it was told."""

    def __init__(self) -> None:
        self._screen, fd = os.openpty()
        self.file: TextIO = os.fdopen(fd, "w")

    def shows(self) -> str:
        """What is written next; waits for it."""
        assert select.select([self._screen], [], [], 10)[0], "the terminal stays empty"
        return os.read(self._screen, 4096).decode()

    def is_empty(self) -> bool:
        return not select.select([self._screen], [], [], 0)[0]

    def close(self) -> None:
        self.file.close()
        os.close(self._screen)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    fresh = Terminal()
    try:
        yield fresh
    finally:
        fresh.close()


def test_after_a_while_the_steps_are_shown_and_in_the_end_erased(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "QUIET", 0.01)
    monkeypatch.setattr(sys, "stderr", terminal.file)
    step = progress.steps()
    step("reading rules")
    assert terminal.shows() == "\r\033[Ksockreg: reading rules ..."
    step("compiling 9 rules")
    assert terminal.shows() == "\r\033[Ksockreg: compiling 9 rules ..."
    step("")
    assert terminal.shows() == "\r\033[K"
    step("reading rules")
    assert terminal.shows() == "\r\033[Ksockreg: reading rules ..."
    step("")


def test_a_short_command_shows_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal.file)
    step = progress.steps()
    step("reading rules")
    step("")
    step("")
    assert terminal.is_empty()


def test_a_pipe_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET", 0.0)
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        step = progress.steps()
        step("reading rules")
        step("compiling 9 rules")
        step("")
    with os.fdopen(reader) as end:
        assert end.read() == ""

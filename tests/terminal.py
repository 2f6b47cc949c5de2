"""Commands on a terminal: what a person sees, and keys."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyte  # type: ignore[import-untyped]

_DEADLINE = 15.0


class Terminal:
    """A terminal with a command on it."""

    def __init__(self, master: int, process: subprocess.Popen[bytes], rows: int, columns: int):
        self._master = master
        self._process = process
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        """What the screen shows, without what is blank at the ends."""
        return [line.rstrip() for line in self._screen.display]

    def colour(self, row: int, column: int) -> str:
        """The colour of a character's foreground."""
        return str(self._screen.buffer[row][column].fg)

    def wait(self, predicate: Callable[[list[str]], object]) -> list[str]:
        """Wait until the screen is as wanted; returns its lines."""
        end = time.monotonic() + _DEADLINE
        while not predicate(self.lines):
            if time.monotonic() > end:
                raise AssertionError("not seen; the screen shows\n" + "\n".join(self.lines))
            self._read(0.1)
        return self.lines

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Make it larger or smaller, as a person does with a window."""
        self._screen.resize(rows, columns)
        _set_size(self._master, rows, columns)

    def ended(self) -> int:
        """Wait for the command's end; returns its exit status."""
        end = time.monotonic() + _DEADLINE
        while self._process.poll() is None:
            self._read(0.05)
            assert time.monotonic() < end, "it does not end:\n" + "\n".join(self.lines)
        for _ in range(16):
            self._read(0.0)  # what it has left
        return self._process.returncode

    def _read(self, patience: float) -> None:
        if select.select([self._master], [], [], patience)[0]:
            try:
                self._stream.feed(os.read(self._master, 1 << 16))
            except OSError:
                time.sleep(patience)  # EIO: nobody has the other end open any more


def _set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextmanager
def on_terminal(
    command: Sequence[str],
    *,
    rows: int = 24,
    columns: int = 100,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Terminal]:
    """A command on a terminal of its own; killed at the end if it still runs."""
    ours = {k: v for k, v in os.environ.items() if k not in {"NO_COLOR", "SYSTEMD_COLORS"}}
    master, slave = pty.openpty()
    try:
        _set_size(slave, rows, columns)
        # Of a session of its own, or keys make no signals (credentials(7)).
        process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env={**ours, "TERM": "linux", "LINES": "", "COLUMNS": "", **(env or {})},
        )
        os.close(slave)
        try:
            yield Terminal(master, process, rows, columns)
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(master)

"""Names that others choose reach the terminal as text, never as commands for it."""

from __future__ import annotations

import ctypes
import os
import threading

import pytest

from sockreg.host import links, processes
from sockreg.printable import printable

_PR_SET_NAME = 15  # linux/prctl.h


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("nginx: worker", "nginx: worker"),
        ("größe", "größe"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\r", r"a\nb\r"),
        ("\u202eevil", r"\u202eevil"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_cannot_be_shown_is_escaped(name: str, shown: str) -> None:
    assert printable(name) == shown


def test_the_name_of_a_process() -> None:
    """Anybody may give a process a name that is a command for the terminal of root."""
    seen: list[str] = []

    def look() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, b"\x1b[2J\nroot\xff", 0, 0, 0)
        seen.append(processes.named(threading.get_native_id()).name)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [r"\x1b[2J\nroot\xff"]
    assert processes.named(os.getpid()).name.isprintable()


def test_the_name_of_an_interface() -> None:
    assert links._text(b"br\x1b0\xff\0") == r"br\x1b0\udcff"

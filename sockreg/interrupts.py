"""Ctrl-C at a bad moment.

Python raises KeyboardInterrupt between any two instructions. Where a half-done change is worse than
a command that ends a moment later, it must wait.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def dropped() -> Iterator[None]:
    """Ignore Ctrl-C until the end of the block: what is begun there comes to its end."""
    with _noted():
        yield


@contextlib.contextmanager
def delayed() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end of the block instead of inside."""
    with _noted() as seen:
        yield
    if seen:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _noted() -> Iterator[list[int]]:
    seen: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        seen.append(number)

    # Where they are ignored already, they stay so.
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield seen
        return
    try:
        signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread, which gets them
        yield seen
        return
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)

"""On a terminal, show what a command is doing if it takes more than a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sockreg import streams

if TYPE_CHECKING:
    import threading

QUIET = 1.0  # seconds before anything is shown


def steps() -> Callable[[str], None]:
    """The ``step`` of a Context: names the next step, with '' for the end.

    After the first second, the last line of standard error shows the step, and at the end this line
    is erased. Nothing is written if it is not a terminal.
    """
    return _Line().step if streams.err_is_terminal() else _unseen


def _unseen(_: str) -> None:
    pass


class _Line:
    """First drawn by a timer in a separate thread, and from then on by the steps."""

    def __init__(self) -> None:
        import threading

        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._what = ""
        self._drawn = False

    def step(self, what: str) -> None:
        with self._lock:
            self._what = what
            if self._drawn:
                self._draw()
            elif self._timer is None and what:
                import threading

                self._timer = threading.Timer(QUIET, self._begin)
                self._timer.daemon = True
                self._timer.start()
            if not what and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _begin(self) -> None:
        with self._lock:
            if self._what and not self._drawn:
                self._draw()

    def _draw(self) -> None:
        # ECMA-48: EL, erase to the end of the line
        streams.err_draw("\r\033[K", f"sockreg: {self._what} ..." if self._what else "")
        self._drawn = bool(self._what)

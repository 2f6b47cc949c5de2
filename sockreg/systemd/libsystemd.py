"""libsystemd itself, for a Python without systemd-python.

PyPI has systemd-python only as C sources, so that pip needs a compiler for it. Every system with
systemd has the library, but importing ctypes takes longer than the companion should: systemd-python
comes first where it is installed.
"""

import ctypes
import os

from sockreg.errors import MissingError

LIBRARY = "libsystemd.so.0"


def listen_fds() -> int:
    """The number of sockets that systemd passed to this process, made CLOEXEC: sd_listen_fds(3).

    Raises OSError with the library's errno, and MissingError without it.
    """
    return _checked(_library().sd_listen_fds(0))


def notify(state: str) -> None:
    """Tell systemd about this process: sd_notify(3).

    Raises OSError with the library's errno, and MissingError without it.
    """
    _checked(_library().sd_notify(0, state.encode("utf-8", "backslashreplace")))


def _library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise MissingError(
            f"neither the Python package systemd-python nor {LIBRARY} can be used: {error}",
            "install one: 'apt install python3-systemd' or 'apt install libsystemd0'",
        ) from None


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result

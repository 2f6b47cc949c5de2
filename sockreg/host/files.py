"""Files that are written as a whole: a reader sees the old content or the new."""

import contextlib
import os
import tempfile


def replace(path: str, content: bytes, mode: int = 0o644) -> None:
    """Write a file through to the disk, making its directory if need be. OSError.

    What is there is replaced, also a symbolic link.
    """
    directory, name = os.path.split(path)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    # Hidden, and with a suffix that nobody looks for: no program reads it half-written.
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
    _sync(directory)


def remove(path: str) -> None:
    """Remove a file if it is there, through to the disk. OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        _sync(os.path.dirname(path))


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files that are replaced as a whole: a reader sees the old content or the new one."""

import contextlib
import errno
import os
import tempfile


def replace(path: str, content: bytes, mode: int = 0o644, *, create_directory: bool = True) -> None:
    """Write a file and flush it to disk, creating its directory if necessary. Raises OSError.

    An existing file is replaced, even if it is a symbolic link. Without ``create_directory``, the
    directory must exist.
    """
    directory, name = os.path.split(os.path.abspath(path))
    if create_directory:
        _make_directory(directory)
    # Hidden, and with an unknown suffix, so that no program reads it half-written.
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


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, mode=0o755, exist_ok=True)
    except (FileExistsError, FileNotFoundError):
        # The words of the kernel name no link that leads to nowhere.
        at = path
        while at != os.path.dirname(at):
            if os.path.islink(at) and not os.path.exists(at):
                what = f"{at} is a symbolic link to {os.readlink(at)}, which does not exist"
                raise FileNotFoundError(errno.ENOENT, what, at) from None
            at = os.path.dirname(at)
        raise


def remove(path: str) -> None:
    """Remove a file if it exists, and flush the directory to disk. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        _sync(os.path.dirname(path))


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

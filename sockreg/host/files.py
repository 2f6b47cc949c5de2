"""Files that are replaced as a whole: a reader sees the old content or the new one."""

import contextlib
import errno
import os

_UNFINISHED = ".new-"  # and the process that writes it


def replace(path: str, content: bytes, mode: int = 0o644, *, create_directory: bool = True) -> None:
    """Write a file and flush it to disk, creating its directory if necessary. Raises OSError.

    An existing file is replaced, even if it is a symbolic link. Without ``create_directory``, the
    directory must exist.
    """
    directory, name = os.path.split(os.path.abspath(path))
    if create_directory:
        _make_directory(directory)
    _remove_unfinished(directory, name)
    # Hidden, and not with the suffix of the file, so that no program reads it half-written.
    unfinished = os.path.join(directory, f".{name}{_UNFINISHED}{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
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


def _remove_unfinished(directory: str, name: str) -> None:
    """Remove what processes left that died while they replaced this file."""
    with contextlib.suppress(OSError):
        for found in os.listdir(directory):
            stem, mark, pid = found.rpartition(_UNFINISHED)
            if mark and stem == f".{name}" and pid.isdecimal():
                own = int(pid) == os.getpid()
                if own or not os.path.exists(f"/proc/{pid}"):
                    os.unlink(os.path.join(directory, found))


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

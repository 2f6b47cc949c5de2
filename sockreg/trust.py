"""Files that decide: who could have written them, and what they are.

Root does what these files say, so nobody else may own or write them, a directory on the way to
them, or a link. The user of this process counts as root: he could do the same by himself. A file
is read only if it is a file: a FIFO would block, and opening a device may do something.

A link may lead anywhere to such a file, if everybody may read that: messages name wrong lines, and
must not show those of a file that is not for everybody. /dev/null is an empty file.

On the companion's start-up path.
"""

import errno
import posix

from sockreg.printable import shell

SIZE_MAX = 64 << 20  # bytes of a file that are read: more than all rules that were ever measured

_NULL = "/dev/null"
_LINKS_MAX = 40  # as many as the kernel follows
# Of st_mode: inode(7).
_KIND, _FILE, _DIRECTORY, _LINK = 0o170000, 0o100000, 0o040000, 0o120000
_KINDS = {0o010000: "a FIFO", 0o020000: "a device", 0o060000: "a device", 0o140000: "a socket"}
_STICKY, _BY_GROUP, _BY_OTHERS, _READ_BY_OTHERS = 0o1000, 0o020, 0o002, 0o004
_FLAGS = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY
_ACL = "system.posix_acl_access"


class UntrustedError(OSError):
    """A file or directory is not one that root would follow. ``strerror`` is a predicate."""

    def __init__(self, text: str, path: str) -> None:
        super().__init__(errno.EINVAL, text, path)


def read(root: str, path: str) -> bytes:
    """What a file says. Nothing above ``root`` is looked at; absolute links are relative to it.

    Raises OSError, and UntrustedError, before anything is read.
    """
    where = _followed(root, path)
    if where == _NULL:
        return b""
    is_linked = where != path
    _require_file(path, where, posix.stat(where), is_linked)
    _require_own(where, posix.stat(where))
    fd = posix.open(where, _FLAGS | posix.O_NOFOLLOW)
    try:
        status = posix.fstat(fd)
        _require_file(path, where, status, is_linked)
        _require_own(where, status)
        return _content(fd)
    finally:
        posix.close(fd)


def read_file(path: str) -> bytes:
    """What a file says, whatever its owner: for files by which others decide. Raises OSError."""
    _require_kind(path, posix.stat(path))
    fd = posix.open(path, _FLAGS)
    try:
        _require_kind(path, posix.fstat(fd))
        return _content(fd)
    finally:
        posix.close(fd)


def _content(fd: int) -> bytes:
    """Up to one byte more than SIZE_MAX: systemd/keyfile.py refuses what is so large."""
    chunks = []
    left = SIZE_MAX + 1
    while left and (chunk := posix.read(fd, min(left, 1 << 16))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def require_directory(root: str, path: str) -> None:
    """Raise UntrustedError if others may add files to a directory, or could have made it.

    OSError if it is not there.
    """
    where = _followed(root, path)
    _require_own(where, posix.stat(where))


def _followed(root: str, path: str) -> str:
    """Where a path leads, link by link. Every directory on the way is looked at."""
    top = root.rstrip("/")
    at = top
    names = path[len(top) :].split("/")[::-1]
    _require_on_the_way(top or "/", posix.stat(top or "/"))
    links = 0
    while names:
        name = names.pop()
        if name == "..":
            at = at.rpartition("/")[0] if at != top else top
        if name in ("", ".", ".."):
            continue
        here = f"{at}/{name}"
        status = posix.lstat(here)
        kind = status.st_mode & _KIND
        if kind == _LINK:
            links += 1
            target = posix.readlink(here)
            if links > _LINKS_MAX:
                raise OSError(errno.ELOOP, posix.strerror(errno.ELOOP), path)
            if target == _NULL:
                return _NULL
            _require_owner(here, status)
            if target.startswith("/"):
                at = top
            names += target.split("/")[::-1]
            continue
        at = here
        if kind == _DIRECTORY:
            _require_on_the_way(here, status)
    return at or "/"


def _require_file(path: str, where: str, status: posix.stat_result, is_linked: bool) -> None:
    link = f"is a link to {where}, which " if is_linked else ""
    _require_kind(path, status, link)
    if is_linked and not status.st_mode & _READ_BY_OTHERS:
        raise UntrustedError(f"{link}not everybody may read", path)


def _require_kind(path: str, status: posix.stat_result, link: str = "") -> None:
    kind = status.st_mode & _KIND
    if kind == _DIRECTORY:
        raise IsADirectoryError(errno.EISDIR, posix.strerror(errno.EISDIR), path)
    if kind != _FILE:
        raise UntrustedError(f"{link}is {_KINDS.get(kind, 'something')}, not a file", path)


def _require_on_the_way(path: str, status: posix.stat_result) -> None:
    """In a sticky directory, others replace only what is theirs, and that is looked at next."""
    if status.st_mode & _STICKY:
        _require_owner(path, status)
    else:
        _require_own(path, status)


def _require_own(path: str, status: posix.stat_result) -> None:
    _require_owner(path, status)
    by_group = status.st_mode & _BY_GROUP and not _is_own_group(path, status)
    if by_group or status.st_mode & _BY_OTHERS:
        who = f"group {status.st_gid}" if by_group else "everybody"
        raise UntrustedError(f"can be written by {who}: 'chmod go-w {shell(path)}'", path)


def _require_owner(path: str, status: posix.stat_result) -> None:
    if status.st_uid not in (0, posix.geteuid()):
        raise UntrustedError(f"belongs to user {status.st_uid}: 'chown root {shell(path)}'", path)


def _is_own_group(path: str, status: posix.stat_result) -> bool:
    """Whether the permissions of the group are those of root's or one's own, and of nobody else."""
    if status.st_gid not in (0, posix.getegid()):
        return False
    try:
        return _ACL not in posix.listxattr(path)
    except OSError:
        return True  # a file system without access lists

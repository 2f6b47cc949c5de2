"""The sockets that systemd passes to a process it starts: sd_listen_fds(3).

libsystemd gives their number. The names are read here, because libsystemd takes the backslash of an
escaped unit name (``a\\x2db.socket``) for a quote and drops it, but a label must arrive unchanged.
tests/pure/test_listen_fds.py compares both with sd_listen_fds_with_names(3).

On the companion's start-up path: of systemd-python, this imports only the C module, which takes a
millisecond. systemd.daemon, the module around it, takes eight, most of them for socket.
"""

import errno
import posix
import sys

from sockreg.errors import UsageError

FIRST_FD = 3  # SD_LISTEN_FDS_START
UNNAMED = "unknown"  # the name that sd_listen_fds_with_names(3) gives to a socket without one

_HINT = "run it from a unit with Sockets=, or under systemd-socket-activate(1)"


def received() -> list[tuple[int, str]]:
    """The sockets passed to this process as (descriptor, name) in order, made CLOEXEC.

    The environment is not changed. Raises UsageError if there are no sockets or the variables
    contradict each other, and MissingError without libsystemd.
    """
    try:
        count = _sd_listen_fds()
    except OSError as error:
        raise _refusal(error.errno) from None
    if count == 0:
        raise _refusal(None)
    names_text = posix.environ.get(b"LISTEN_FDNAMES")
    if names_text is None:
        names = [UNNAMED] * count
    else:
        names = names_text.decode("ascii", "surrogateescape").split(":")
    if len(names) != count:
        raise UsageError(f"LISTEN_FDNAMES has {len(names)} names for {count} sockets", _HINT)
    return list(zip(range(FIRST_FD, FIRST_FD + count), names, strict=True))


def _sd_listen_fds() -> int:
    """The number of passed sockets. Raises OSError with libsystemd's errno, and MissingError."""
    try:
        from systemd import _daemon
    except ImportError:
        if sys.flags.no_site and "site" not in sys.modules:
            # Python was started with -S, and systemd-python is not where sockreg is: in a virtual
            # environment with --system-site-packages. Look where Python looks without -S.
            import site

            site.main()
            return _sd_listen_fds()
        from sockreg.systemd import libsystemd

        return libsystemd.listen_fds()
    count: int = _daemon._listen_fds(False)
    return count


def _refusal(number: int | None) -> UsageError:
    """Why libsystemd found no sockets. ``number`` is its errno; None if it found none."""
    count = posix.environ.get(b"LISTEN_FDS", b"")
    if not count:
        return UsageError("no sockets were passed: LISTEN_FDS is not set", _HINT)
    pid = posix.environ.get(b"LISTEN_PID", b"")
    if pid != b"%d" % posix.getpid():
        return UsageError(
            f"the passed sockets are for process {_shown(pid)} (LISTEN_PID), not for this one, "
            f"{posix.getpid()}",
            _HINT,
        )
    # systemd 258 and later: the inode number of the process's pidfd, unique until the next boot.
    pidfd_id = posix.environ.get(b"LISTEN_PIDFDID", b"")
    if number is None:
        return UsageError(
            f"the passed sockets are for another process, which had the number {_shown(pid)} "
            f"before this one (LISTEN_PIDFDID={_shown(pidfd_id)})",
            _HINT,
        )
    if number == errno.EBADF:
        return UsageError(
            f"LISTEN_FDS={_shown(count)}, but descriptor {_first_closed()} is not open", _HINT
        )
    if pidfd_id and not pidfd_id.isdigit():
        return UsageError(f"LISTEN_PIDFDID={_shown(pidfd_id)} is not a number", _HINT)
    return UsageError(f"LISTEN_FDS={_shown(count)} is not a number of sockets", _HINT)


def _first_closed() -> int:
    fd = FIRST_FD
    while True:
        try:
            posix.fstat(fd)
        except OSError:
            return fd
        fd += 1


def _shown(text: bytes) -> str:
    return text.decode("ascii", "backslashreplace") or "(empty)"

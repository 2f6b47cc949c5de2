"""The LISTEN_FDS protocol: the sockets that systemd hands to a process it starts.

sd_listen_fds(3). The environment is read here and not by libsystemd, which turns the
backslashes of an escaped unit name (``a\\x2db.socket``) into something else; labels must
arrive as they are. On the companion's start-up path.
"""

import fcntl
import posix

from sockreg.errors import UsageError

FIRST_FD = 3  # SD_LISTEN_FDS_START
UNNAMED = "unknown"  # what sd_listen_fds_with_names(3) calls a socket without a name

_HINT = "run it from a unit with Sockets=, or under systemd-socket-activate(1)"


def received() -> list[tuple[int, str]]:
    """The sockets passed to this process, (descriptor, name) in their order, made CLOEXEC.

    SockregError (EXIT_USAGE) if there are none or the variables contradict each other.
    """
    environ = posix.environ
    count_text = environ.get(b"LISTEN_FDS", b"")
    if not count_text:
        raise UsageError("no sockets were passed: LISTEN_FDS is not set", _HINT)
    pid = environ.get(b"LISTEN_PID", b"")
    if pid != b"%d" % posix.getpid():
        raise UsageError(
            f"the sockets passed are for process {_shown(pid)} (LISTEN_PID), "
            f"not for this one, {posix.getpid()}",
            _HINT,
        )
    if not count_text.isdigit() or len(count_text) > 9 or int(count_text) == 0:
        raise UsageError(f"LISTEN_FDS={_shown(count_text)} is not a number of sockets", _HINT)
    fds = range(FIRST_FD, FIRST_FD + int(count_text))
    for fd in fds:
        try:
            fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        except OSError:
            raise UsageError(
                f"LISTEN_FDS={_shown(count_text)}, but descriptor {fd} is not open",
                _HINT,
            ) from None
    names_text = environ.get(b"LISTEN_FDNAMES")
    if names_text is None:
        names = [UNNAMED] * len(fds)
    else:
        names = names_text.decode("ascii", "surrogateescape").split(":")
    if len(names) != len(fds):
        raise UsageError(f"LISTEN_FDNAMES has {len(names)} names for {len(fds)} sockets", _HINT)
    return list(zip(fds, names, strict=True))


def _shown(text: bytes) -> str:
    return text.decode("ascii", "backslashreplace") or "(empty)"

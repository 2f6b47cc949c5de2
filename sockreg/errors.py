"""The errors that operators see, and the exit statuses of every command.

This module is on the companion's start-up path: it imports nothing.
"""

# Exit statuses (documented in sockreg(8), asserted by the tests).
EXIT_OK = 0
EXIT_FAILURE = 1  # the kernel or the system refused; the message says what
EXIT_USAGE = 2  # the command line is wrong
EXIT_CONFIG = 3  # a rule or unit file is wrong; what was in force stays in force
EXIT_PERMISSION = 4  # a capability or a file permission is missing
EXIT_NOT_LOADED = 5  # this network namespace has no registry
EXIT_REFUSED = 6  # a socket or a program was refused (wrong kind, clash, foreign)
EXIT_BUSY = 75  # another sockreg holds the lock (EX_TEMPFAIL of sysexits.h)
EXIT_INTERRUPTED = 130  # by Ctrl-C; what shells report of a process that died of SIGINT


class SockregError(Exception):
    """A failure told to the operator: what failed and why, and what to do next.

    ``message`` is one line naming the unit, label, rule or file:line concerned; ``hint`` is
    one line saying what to do, or empty. Each kind that code or scripts tell apart is a
    subclass with an exit ``status`` of its own; this one is for what the kernel or the
    system refused.
    """

    status = EXIT_FAILURE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SockregError):
    """The command line is wrong."""

    status = EXIT_USAGE


class ConfigError(SockregError):
    """A rule or a unit file is wrong; what was in force stays in force."""

    status = EXIT_CONFIG


class AccessError(SockregError):
    """A capability or a file permission is missing."""

    status = EXIT_PERMISSION


class NotLoadedError(SockregError):
    """This network namespace has no registry."""

    status = EXIT_NOT_LOADED


class RefusedError(SockregError):
    """A socket or a program was refused: wrong kind, clash, foreign."""

    status = EXIT_REFUSED


class BusyError(SockregError):
    """Another sockreg holds the lock."""

    status = EXIT_BUSY


class MissingError(SockregError):
    """A package that the command needs is not installed, or cannot be loaded."""


# What sockreg imports from elsewhere, by the name of the module: Debian's package, PyPI's.
_PACKAGES = {
    "elftools": ("python3-pyelftools", "pyelftools"),
    "numpy": ("python3-numpy", "numpy"),
    "prometheus_client": ("python3-prometheus-client", "prometheus-client"),
    "systemd": ("python3-systemd", "systemd-python"),
}


def missing(error: ImportError) -> MissingError:
    """The MissingError that says what to install. Raises ``error`` again if that is unknown."""
    module = (error.name or "").partition(".")[0]
    if module not in _PACKAGES:
        raise error
    debian, pypi = _PACKAGES[module]
    return MissingError(
        f"the Python package {pypi} is missing or broken: {error}",
        f"install it: 'apt install {debian}' or 'pip install {pypi}'",
    )


def failure(error: OSError, message: str, hint: str = "") -> SockregError:
    """What the kernel refused: an AccessError if a right was missing."""
    kind = AccessError if isinstance(error, PermissionError) else SockregError
    return kind(message, hint)

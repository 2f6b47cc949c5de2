"""The errors that operators see, and the exit statuses of every command.

This module is on the companion's start-up path: it imports nothing.
"""

# Exit statuses (documented in sockreg(8), asserted by the tests). systemctl shows a name beside
# some numbers, such as status=7/NOTRUNNING (systemd.exec(5)). What has a name there means that.
EXIT_OK = 0
EXIT_FAILURE = 1  # the kernel or the system refused; the message says what
EXIT_USAGE = 2  # INVALIDARGUMENT: the command line is wrong
EXIT_PERMISSION = 4  # NOPERMISSION: a capability or a file permission is missing
EXIT_NOT_LOADED = 7  # NOTRUNNING: this network namespace has no registry
EXIT_PARTLY = 8  # done in part: the messages say what was left out
EXIT_REFUSED = 9  # a socket or a program was refused (wrong kind, conflict, foreign)
EXIT_KEPT = 10  # the loader failed to start again, and the rules in force stay
EXIT_BUSY = 75  # TEMPFAIL: another sockreg process holds the lock
EXIT_CONFIG = 78  # CONFIG: a rule or unit file is wrong; the rules in force stay in force
EXIT_INTERRUPTED = 130  # Ctrl-C; shells report this status for a process that SIGINT ended


class SockregError(Exception):
    """A failure reported to the operator: what failed, why, and what to do next.

    ``message`` is one line that names the unit, label, rule or file:line, or a list of such
    ``lines``. A line end inside a line, such as in the name of a file, is shown and ends no line.
    ``hint`` is one line that says what to do, or empty. Each kind of failure that code or scripts
    tell apart is a subclass with its own exit ``status``. This class is for refusals by the kernel
    or the system.
    """

    status = EXIT_FAILURE

    def __init__(self, message: str | list[str], hint: str = "") -> None:
        given = [message] if isinstance(message, str) else message
        self.lines = [line.replace("\n", "\\n") for line in given]
        self.hint = hint.replace("\n", "\\n")
        super().__init__(self.message)

    @property
    def message(self) -> str:
        return "\n".join(self.lines)

    @property
    def line(self) -> str:
        """The message with the hint in parentheses."""
        return f"{self.message} ({self.hint})" if self.hint else self.message

    @property
    def entry(self) -> list[str]:
        """The lines of the message with the hint in parentheses, as the journal has them."""
        return self.line.split("\n")


class UsageError(SockregError):
    """The command line is wrong."""

    status = EXIT_USAGE


class ConfigError(SockregError):
    """A rule or a unit file is wrong; the rules in force stay in force."""

    status = EXIT_CONFIG


class AccessError(SockregError):
    """A capability or a file permission is missing."""

    status = EXIT_PERMISSION


class NotLoadedError(SockregError):
    """This network namespace has no registry."""

    status = EXIT_NOT_LOADED


class RefusedError(SockregError):
    """A socket or a program was refused: wrong kind, conflict, foreign."""

    status = EXIT_REFUSED


class KeptError(SockregError):
    """The loader failed to start again. Everything that was in force still is."""

    status = EXIT_KEPT


class PartlyError(SockregError):
    """The command did what it could, and left out what the lines above it say."""

    status = EXIT_PARTLY


class BusyError(SockregError):
    """Another sockreg process holds the lock."""

    status = EXIT_BUSY


class MissingError(SockregError):
    """A package that the command needs is not installed, or cannot be loaded."""


# Packages of others by module name: Debian's package, PyPI's package.
_PACKAGES = {
    "elftools": ("python3-pyelftools", "pyelftools"),
    "numpy": ("python3-numpy", "numpy"),
    "prometheus_client": ("python3-prometheus-client", "prometheus-client"),
    "systemd": ("python3-systemd", "systemd-python"),
}


def missing(error: ImportError) -> MissingError:
    """The MissingError that names the package to install.

    Raises ``error`` again if its module is unknown.
    """
    module = (error.name or "").partition(".")[0]
    if module not in _PACKAGES:
        raise error
    debian, pypi = _PACKAGES[module]
    return MissingError(
        f"the Python package {pypi} is missing or broken: {error}",
        f"install it: 'apt install {debian}' or 'pip install {pypi}'",
    )


def failure(error: OSError, message: str | list[str], hint: str = "") -> SockregError:
    """A refusal by the kernel: an AccessError if a right was missing."""
    kind = AccessError if isinstance(error, PermissionError) else SockregError
    return kind(message, hint)

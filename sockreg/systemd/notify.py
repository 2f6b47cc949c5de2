"""Status of a process for the systemd that started it: sd_notify(3)."""

import os

from sockreg.errors import missing
from sockreg.systemd import journal


def status(text: str) -> None:
    """Set the line that 'systemctl status' shows under Status:, if systemd listens.

    Without systemd-python, this only prints a notice: the caller must not fail.
    """
    if "NOTIFY_SOCKET" not in os.environ:
        return
    try:
        from systemd import daemon
    except ImportError as error:
        journal.say(missing(error).entry, priority=journal.WARNING)
        return
    # A line ends the assignment.
    daemon.notify(f"STATUS={'; '.join(text.splitlines())}")

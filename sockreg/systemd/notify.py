"""Status of a process for the systemd that started it: sd_notify(3)."""

import os

from sockreg.errors import SockregError
from sockreg.systemd import journal, libsystemd


def status(text: str) -> None:
    """Set the line that 'systemctl status' shows under Status:, if systemd listens.

    If that is not possible, this only prints a notice: the caller must not fail.
    """
    if "NOTIFY_SOCKET" not in os.environ:
        return
    try:
        # A line ends the assignment.
        libsystemd.notify(f"STATUS={'; '.join(text.splitlines())}")
    except SockregError as error:
        journal.say(error.entry, priority=journal.WARNING)
    except OSError as error:
        notice = f"cannot tell systemd the state: {error.strerror}"
        journal.say(notice, priority=journal.WARNING)

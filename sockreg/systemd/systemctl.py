"""Asking systemd, and telling it, by systemctl(1).

On the start-up path of sockreg@.service: imports nothing costly.
"""

import posix

from sockreg.errors import SockregError
from sockreg.printable import shell

_SYSTEMCTL = "/usr/bin/systemctl"


def run(*arguments: str) -> tuple[int, str]:
    """Run systemctl. Returns its exit status and what it printed; its errors go to our stderr."""
    reader, writer = posix.pipe()
    pid = posix.posix_spawn(
        _SYSTEMCTL,
        [_SYSTEMCTL, *arguments],
        posix.environ,
        file_actions=[
            (posix.POSIX_SPAWN_DUP2, writer, 1),
            (posix.POSIX_SPAWN_CLOSE, reader),
        ],
    )
    posix.close(writer)
    output = b""
    while chunk := posix.read(reader, 4096):
        output += chunk
    posix.close(reader)
    _, status = posix.waitpid(pid, 0)
    return posix.waitstatus_to_exitcode(status), output.decode("utf-8", "surrogateescape")


def jobs(*names: str) -> dict[str, str]:
    """The job type of each of these units that has a job (job.h).

    Raises SockregError if systemd cannot be asked.
    """
    status, output = run("list-jobs", "--no-legend", "--plain", *names)
    if status:
        raise SockregError(
            f"systemd does not say why {names[0]} stops: 'systemctl list-jobs' ended with status "
            f"{status}",
            f"its state stays as it is: run "
            f"'systemctl restart {shell(names[0])}', or stop it again",
        )
    # JOB UNIT TYPE STATE; escaped names may contain backslashes but no spaces.
    lines = [line.split() for line in output.split("\n")]
    return {words[1]: words[2] for words in lines if len(words) >= 3}


def states(*patterns: str) -> dict[str, str]:
    """ActiveState of each unit in systemd's memory that matches a pattern.

    Raises SockregError if systemd cannot be asked.
    """
    options = ("--all", "--full", "--plain", "--no-legend", "--no-pager")
    status, output = run("list-units", *options, *patterns)
    if status:
        raise SockregError(
            "systemd does not say what is active: 'systemctl list-units' ended with status "
            f"{status}",
            "sockets of units may be missing: 'sockreg status' shows those that are registered",
        )
    # UNIT LOAD ACTIVE SUB DESCRIPTION
    lines = [line.split(None, 3) for line in output.split("\n")]
    return {words[0]: words[2] for words in lines if len(words) == 4}

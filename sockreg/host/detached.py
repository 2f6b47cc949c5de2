"""Processes that outlive the one that starts them."""

import os


def run(command: list[str], keep: int | None = None) -> None:
    """Run a command in its own session, without a parent.

    It has the network namespace of the calling thread, and no open descriptors but ``keep``.
    """
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            # A second time: a process that does not lead its session never gets a terminal.
            if os.fork() == 0:
                os.chdir("/")
                nothing = os.open(os.devnull, os.O_RDWR)
                for fd in (0, 1, 2):
                    os.dup2(nothing, fd)
                if keep is not None:
                    os.set_inheritable(keep, True)
                os.execv(command[0], command)
        finally:
            os._exit(0)
    os.waitpid(child, 0)

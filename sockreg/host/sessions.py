"""Login sessions that came over the network, as systemd-logind(8) notes them.

Its files are for libsystemd (sd_session_get_remote_host(3)), which reads them as this does.
"""

import os

_DIRECTORY = "/run/systemd/sessions"


def remote_hosts(services: frozenset[str]) -> set[str]:
    """The hosts from which sessions of these PAM services have come; empty without logind."""
    hosts = set()
    try:
        names = os.listdir(_DIRECTORY)
    except OSError:
        return set()
    for name in names:
        if "." in name:
            continue  # a FIFO that keeps a session, or a file that is not complete
        try:
            with open(f"{_DIRECTORY}/{name}", encoding="utf-8", errors="replace") as file:
                session = dict(line.rstrip("\n").partition("=")[::2] for line in file)
        except OSError:
            continue  # it has just ended
        if session.get("SERVICE") in services and session.get("REMOTE_HOST"):
            hosts.add(session["REMOTE_HOST"])
    return hosts

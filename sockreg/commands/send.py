"""Passing inherited sockets to a receiver of the registry: registration without privileges."""

from collections.abc import Sequence

from sockreg.commands import inherit
from sockreg.commands.names import check_label
from sockreg.receive import protocol
from sockreg.systemd import listen_fds

RECEIVER = protocol.SOCKET  # where sockreg-receive.socket listens
_TIMEOUT = 5.0  # s; the receiver is started on demand


def send(path: str, label: str | None, *, command: Sequence[str] | None = None) -> list[str]:
    """Pass the sockets of this process to ``path``, all under ``label`` or each under its name.

    Returns the labels. Raises SockregError if one is refused; those before it are registered.
    ``command`` is the command that will be run with them; SockregError before anything is passed if
    there is no such program.
    """
    if command:
        inherit.check_command(command)
    sockets: dict[str, list[int]] = {}
    for fd, name in listen_fds.received():
        sockets.setdefault(name if label is None else label, []).append(fd)
    for own in sockets:
        check_label(own)
    for own, fds in sockets.items():
        protocol.send(path, own, fds, _TIMEOUT)
    return list(sockets)

"""Passing inherited sockets to a receiver of the registry: registration without privileges."""

from collections.abc import Iterator, Sequence

from sockreg.commands import inherit
from sockreg.commands.names import check_label
from sockreg.errors import SockregError, UsageError
from sockreg.receive import protocol
from sockreg.systemd import listen_fds

RECEIVER = protocol.SOCKET  # where sockreg-receive.socket listens
_TIMEOUT = 5.0  # s; the receiver is started on demand


def send(path: str, label: str | None, *, command: Sequence[str] | None = None) -> Iterator[str]:
    """Pass the sockets of this process to ``path``, all under ``label`` or each under its name.

    Yields each label when its sockets are registered. Raises SockregError if one is refused; those
    before it stay registered, and those after it are not passed, which the error says. ``command``
    is the command that will be run with them; SockregError before anything is passed if there is no
    such program, or if a name or ``path`` is wrong.
    """
    if path in ("", "@"):
        raise UsageError(f"{path!r} is no address", "give a path, or @NAME for an abstract address")
    if command:
        inherit.check_command(command)
    sockets: dict[str, list[int]] = {}
    for fd, name in listen_fds.received():
        sockets.setdefault(name if label is None else label, []).append(fd)
    for own in sockets:
        check_label(own)
    left = list(sockets)
    for own, fds in sockets.items():
        left.remove(own)
        try:
            protocol.send(path, own, fds, _TIMEOUT)
        except SockregError as error:
            if left:
                error.lines[-1] += f"; not passed after that: label {' and '.join(left)}"
            raise
        yield own

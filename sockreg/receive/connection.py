"""One connection to sockreg-receive.socket: the peer and the sockets that it passes.

Receives sockets from the peer (see sockreg/receive/protocol.py) and registers them under the label
that it names: all of them or none. Root may do so under any label, others where a ``Register=``
line lets them. SOCKREG_BPFFS= names another bpffs than /sys/fs/bpf. Each connection has one
short-lived process. The peer waits for it, so it imports little.
"""

import _socket

from sockreg.receive.peer import Peer

_PATIENCE = 0.8  # s; peers wait for one


def serve(connection: _socket.socket, bpffs: str, root: str = "/") -> int:
    """Handle one request and answer it. Returns the exit status. Grants are below ``root``."""
    from sockreg.receive import protocol
    from sockreg.systemd import journal

    peer = Peer(connection)
    answer, status = _answer(connection, peer, bpffs, root)
    protocol.drain(connection)
    try:
        connection.send(answer.encode("utf-8", "backslashreplace"), _socket.MSG_NOSIGNAL)
    except OSError as error:
        journal.say(
            f"the answer {answer!r} did not reach {peer}: {error.strerror}",
            priority=journal.WARNING,
        )
    return status


def _answer(connection: _socket.socket, peer: Peer, bpffs: str, root: str) -> tuple[str, int]:
    """Register what the request passes. Returns the answer and the exit status."""
    from sockreg.errors import EXIT_FAILURE, EXIT_OK, SockregError
    from sockreg.receive import granted, protocol

    request = protocol.Request()
    try:
        with request:  # closed again before anything is logged, which takes a descriptor
            request.receive(connection, _PATIENCE)
            members = granted.require(peer, request.label, root)
            _register(request.label, request.fds, peer.registrant, bpffs, members)
    except SockregError as error:
        _log_refusal(error.line, request.label, peer)
        return error.message, error.status
    except OSError as error:
        _log_refusal(str(error), request.label, peer)
        return str(error), EXIT_FAILURE
    return protocol.OK.decode(), EXIT_OK


def _log_refusal(message: str, label: str, peer: Peer) -> None:
    from sockreg.systemd import journal

    under = f" under label {label}" if label else ""
    journal.say(
        f"refused what {peer.registrant} ({peer}) passed{under}: {message}",
        journal.REFUSED,
        journal.ERR,
        _fields(label, peer),
    )


def _fields(label: str, peer: Peer) -> dict[str, str | list[str]]:
    from sockreg.systemd import journal

    fields: dict[str, str | list[str]] = {
        "SOCKREG_UNIT": peer.registrant,
        "SOCKREG_PEER_PID": str(peer.pid),
        "SOCKREG_PEER_UID": str(peer.uid),
    }
    if label:
        fields["SOCKREG_LABEL"] = label
    if not peer.registrant.startswith("uid:"):
        fields[journal.OF_UNIT] = peer.registrant
    return fields


def _register(label: str, fds: list[int], registrant: str, bpffs: str, members: int | None) -> None:
    """Register all sockets under one label, or none. SockregError names the wrong one."""
    from sockreg.errors import RefusedError
    from sockreg.host.listener import UnfitError, address_text, inspect
    from sockreg.registry import registration

    chosen: dict[tuple[int, int], tuple[str, int]] = {}  # by family and protocol
    for number, fd in enumerate(fds, 1):
        which = f"socket {number} of {len(fds)}"
        try:
            listener = inspect(fd)
        except UnfitError as error:
            raise error.about(which) from None
        where = address_text(listener.family, listener.address, listener.port)
        first = chosen.setdefault((listener.family, listener.protocol), (where, listener.netns))
        # Sockets of one address are a reuseport group.
        if first[0] != where:
            raise RefusedError(
                f"{which} is bound to {where}, but another one of the same kind to {first[0]}",
                "a label takes one address per family and protocol: use one label for each address",
            )
        if listener.netns != next(iter(chosen.values()))[1]:
            raise RefusedError(
                f"{which} is of another network namespace than the first",
                "pass the sockets of each namespace separately",
            )
    registration.register([(fd, label) for fd in fds], registrant, bpffs, members=members)


def main() -> int:
    from sockreg.registry.directory import named_bpffs
    from sockreg.systemd.listen_fds import FIRST_FD

    return serve(_socket.socket(fileno=FIRST_FD), named_bpffs())

"""Passing sockets over a UNIX socket: the protocol between senders and sockreg-receive@.

    sender      one or several messages (SOCK_SEQPACKET); their texts together are the label
                and a final '#', without a NUL; 1 to 253 descriptors come with them (SCM_RIGHTS
                of unix(7)), usually in one message
    receiver    the two bytes OK, or another text: one line that says what is wrong

Descriptors are shared as by dup(2), so nothing of the sender's socket changes.

On the receiver's start-up path.
"""

import _socket
import sys
import time

from sockreg.errors import (
    AccessError,
    RefusedError,
    SockregError,
)
from sockreg.terms import LABEL_MAX, label_problem

SOCKET = "/run/sockreg/receive.sock"
OK = b"OK"
END = b"#"
FDS_MAX = 253  # of one message: SCM_MAX_FD, include/net/scm.h

_FD_SIZE = 4
_ANCILLARY_SIZE = _socket.CMSG_SPACE(FDS_MAX * _FD_SIZE)
_TEXT_SIZE = LABEL_MAX + len(END)
_ANSWER_SIZE = 4096
# Errors of connecting and sending if too many processes connect at once: the queue is full, or
# systemd has closed the connection (MaxConnections= of systemd.socket(5)).
_TURNED_AWAY = (BlockingIOError, ConnectionResetError, BrokenPipeError)
_PAUSE = 0.05  # s; before the next attempt


class Request:
    """What one peer passes: a label, and descriptors that are closed with the block.

    ``label`` is empty, and ``fds`` may be, until receive() returns.
    """

    def __init__(self) -> None:
        self.label = ""
        self.fds: list[int] = []  # CLOEXEC

    def __enter__(self) -> "Request":
        return self

    def __exit__(self, *_: object) -> None:
        _close(self.fds)

    def receive(self, connection: _socket.socket, timeout: float) -> None:
        """Receive all of it. RefusedError if it is wrong, or incomplete after ``timeout`` s."""
        deadline = time.monotonic() + timeout
        text = b""
        while not text.endswith(END):
            text += _message(connection, deadline, self.fds)
            if len(self.fds) > FDS_MAX:
                raise _wrong(f"more than {FDS_MAX} descriptors were passed")
            if len(text) > _TEXT_SIZE:
                raise _wrong(f"the label is longer than {LABEL_MAX} characters")
        label = text[: -len(END)].decode("latin-1")  # every byte is one character
        problem = label_problem(label)
        if problem:
            raise _wrong(f"the label {problem}")
        if not self.fds:
            raise _wrong(f"no socket was passed with label {label}")
        self.label = label


def _message(connection: _socket.socket, deadline: float, fds: list[int]) -> bytes:
    """The text of the next message; its descriptors are added to ``fds``."""
    connection.settimeout(max(0.001, deadline - time.monotonic()))
    try:
        text, ancillary, flags, _ = connection.recvmsg(
            _TEXT_SIZE + 1, _ANCILLARY_SIZE, _socket.MSG_CMSG_CLOEXEC
        )
    except TimeoutError:
        raise _wrong("no message that ends in '#' arrived in time") from None
    except OSError as error:
        raise _wrong(f"the connection failed: {error.strerror}") from None
    for level, kind, data in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            fds += _descriptors(data)
    if flags & _socket.MSG_CTRUNC:
        # The kernel has closed those that did not fit (unix(7)).
        raise _wrong(
            f"not all descriptors could be received: {len(fds)} arrived; {FDS_MAX} is the limit "
            "of a message, and RLIMIT_NOFILE that of this process"
        )
    if flags & _socket.MSG_TRUNC:
        raise _wrong(f"the label is longer than {LABEL_MAX} characters")
    if not text and not ancillary:
        raise _wrong("the connection was closed before a message that ends in '#'")
    return text


def _descriptors(data: bytes) -> list[int]:
    whole = len(data) - len(data) % _FD_SIZE
    return [
        int.from_bytes(data[at : at + _FD_SIZE], sys.byteorder) for at in range(0, whole, _FD_SIZE)
    ]


def _wrong(message: str) -> SockregError:
    return RefusedError(message, "")


def drain(connection: _socket.socket) -> None:
    """Read and drop everything else that was sent.

    Closing a connection with unread messages would be an error at the other end and hide the answer
    there (unix_release_sock() in net/unix/af_unix.c).
    """
    connection.setblocking(False)
    try:
        while True:
            fds: list[int] = []
            text, ancillary, _, _ = connection.recvmsg(1, _ANCILLARY_SIZE, _socket.MSG_CMSG_CLOEXEC)
            for _, _, data in ancillary:
                fds += _descriptors(data)
            _close(fds)
            if not text and not ancillary:
                return
    except OSError:
        return  # no more data, or no peer


def _close(fds: list[int]) -> None:
    for fd in fds:
        _socket.close(fd)


def send(path: str, label: str, fds: list[int], timeout: float) -> None:
    """Pass sockets to the receiver at ``path`` under a label, and wait for its OK.

    ``@name`` is an abstract address, which belongs to the network namespace of this process.
    Raises RefusedError with the receiver's answer, AccessError without permission to connect, and
    SockregError if the receiver does not exist or does not answer within ``timeout`` s. If it turns
    connections away, this tries again until then.
    """
    if len(fds) > FDS_MAX:
        raise RefusedError(
            f"{len(fds)} sockets of label {label}: a message takes {FDS_MAX}",
            "give some of them another FileDescriptorName=",
        )
    deadline = time.monotonic() + timeout
    answer: bytes | None = None
    while answer is None:
        try:
            answer = _ask(path, label, fds, deadline)
        except OSError as error:
            if not isinstance(error, _TURNED_AWAY) or time.monotonic() + _PAUSE > deadline:
                raise _unreachable(path, error, timeout) from None
            time.sleep(_PAUSE)
    if answer != OK:
        raise RefusedError(
            f"{path} refused label {label}: {answer.decode('utf-8', 'replace')}"
            if answer
            else f"{path} closed the connection without an answer for label {label}",
            "'journalctl -u sockreg-receive@*' has details",
        )


def _ask(path: str, label: str, fds: list[int], deadline: float) -> bytes:
    """One attempt: the answer, empty if the connection was closed without one."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        connection.connect(_address(path))
        packed = b"".join(fd.to_bytes(_FD_SIZE, sys.byteorder) for fd in fds)
        connection.sendmsg(
            [label.encode("ascii") + END], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)]
        )
        return connection.recv(_ANSWER_SIZE)
    finally:
        connection.close()


def _address(path: str) -> str:
    """For connect(2). ``@name`` is an abstract address, as in systemd.socket(5) and ss(8)."""
    return "\0" + path[1:] if path.startswith("@") else path


def _unreachable(path: str, error: OSError, timeout: float) -> SockregError:
    if isinstance(error, TimeoutError):
        return SockregError(
            f"{path} did not answer within {timeout:g} s",
            "'journalctl -u sockreg-receive@*' may say why",
        )
    if isinstance(error, _TURNED_AWAY):
        return SockregError(
            f"{path} turned every attempt away for {timeout:g} s",
            "too many processes connect, or the receiver fails: see 'journalctl -u "
            "sockreg-receive*'",
        )
    if isinstance(error, PermissionError):
        return AccessError(
            f"{path}: {error.strerror}",
            "run it as root, or as a member of the group in SocketGroup= of sockreg-receive.socket",
        )
    if path.startswith("@"):
        return SockregError(
            f"{path}: {error.strerror or error}",
            "an abstract address is that of a receiver in the same network namespace: "
            "'ss -xl' lists those that there are",
        )
    return SockregError(
        f"{path}: {error.strerror or error}",
        "start it: 'systemctl start sockreg-receive.socket'",
    )

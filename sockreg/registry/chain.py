"""What the other sk_lookup programs of a network namespace decide about a packet.

The kernel runs all programs, in the order in which they were attached (BPF_PROG_SK_LOOKUP_RUN_ARRAY
in linux/filter.h). The last socket that a program selects gets the packet. No program takes a
selection back: a refusal only counts if no program selects a socket.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from sockreg.host.listener import socket_cookie
from sockreg.kernel import libbpf, testrun
from sockreg.kernel.behind import behind_a_selection
from sockreg.model import INET, INET6, TCP
from sockreg.registry.attachment import Other
from sockreg.registry.pins import closing

_IP_FREEBIND = 15  # linux/in.h; for IPv6 sockets, too
_LOOPBACK = {INET: "127.0.0.1", INET6: "::1"}


@dataclass(frozen=True)
class Choice:
    """``cookie`` is that of the socket that the program itself selects, or None.

    It is 0 if the kernel does not tell it: then the socket belongs to a SO_REUSEPORT group.
    ``passed`` is False for a refusal.
    """

    passed: bool
    cookie: int | None


def ask(other: Other, question: testrun.Question, *, selected: bool) -> Choice | None:
    """What a program decides, by a run on a test packet; ``selected`` if a program before it has
    selected a socket.

    None if it cannot be run: without CAP_SYS_ADMIN, before Linux 5.13, or if it has just gone.
    """
    try:
        with closing(libbpf.program_by_id(other.program_id)) as program:
            if not selected:
                return _choice(program, question, 0)
            with (
                _stand_in(question) as stand_in,
                behind_a_selection(program, stand_in.fileno()) as behind,
            ):
                return _choice(behind, question, socket_cookie(stand_in))
    except OSError:
        return None


def _choice(program: int, question: testrun.Question, stand_in: int) -> Choice:
    try:
        verdict = testrun.ask(program, question)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return Choice(True, 0)
    return Choice(verdict.passed, verdict.cookie if verdict.cookie not in (0, stand_in) else None)


def _stand_in(question: testrun.Question) -> socket.socket:
    """A socket that can be selected for the packet. It serves nobody."""
    stream = question.protocol == TCP
    sock = socket.socket(question.family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)  # the loopback may be down
        sock.bind((_LOOPBACK[question.family], 0))
        if stream:
            sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock

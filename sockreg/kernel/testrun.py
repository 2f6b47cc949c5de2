"""Running the live program on a test packet: BPF_PROG_TEST_RUN."""

import socket
import struct
from typing import NamedTuple

from sockreg.kernel import bpf, libbpf

# struct bpf_sk_lookup (linux/bpf.h): cookie, family, protocol, remote_ip4, remote_ip6,
# remote_port (network order), local_ip4, local_ip6, local_port, ingress_ifindex.
_CONTEXT = struct.Struct("=QII4s16s2s2x4s16sII4x")


class Question(NamedTuple):
    """A packet from ``remote`` to ``local``: (address, port)."""

    family: int
    protocol: int
    local: tuple[str, int]
    remote: tuple[str, int]


class Verdict(NamedTuple):
    """``cookie`` is that of the selected socket; 0 means that none was selected."""

    passed: bool
    cookie: int


def ask(program_fd: int, question: Question) -> Verdict:
    """The program's verdict on a packet.

    The kernel takes no interface here: the packet arrives on interface 0. The packet is counted
    like a real one. Raises OSError: EPERM; EINVAL before Linux 5.13, which has no such run;
    EOPNOTSUPP if the program selects a socket of a SO_REUSEPORT group.
    """
    result = libbpf.test_run(program_fd, _context(question))
    return Verdict(result.verdict == bpf.SK_PASS, int(_CONTEXT.unpack(result.context)[0]))


def _context(question: Question) -> bytes:
    family, protocol, local, remote = question
    four, six = bytes(4), bytes(16)
    here = socket.inet_pton(family, local[0])
    there = socket.inet_pton(family, remote[0])
    v4 = family == socket.AF_INET
    return _CONTEXT.pack(
        0,
        family,
        protocol,
        there if v4 else four,
        six if v4 else there,
        remote[1].to_bytes(2, "big"),
        here if v4 else four,
        six if v4 else here,
        local[1],
        0,
    )

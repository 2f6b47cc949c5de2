"""A client outside of this network namespace: one that has a namespace of its own.

A child process makes a network namespace and a pair of interfaces (veth(4)), one of which is here.
So its packets come in like those of other hosts: through the packet filter, and through the rules.
When the child ends, the kernel removes the namespace and both interfaces, whatever has become of
this process.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import random
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from sockreg.terms import INET

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_EARLY = 0.3  # s after a connection in which a server that refuses its client closes it
_SETUP = 10.0  # s for everything else

# What a client may get.
CONNECTED, CLOSED, RESET, REFUSED, TIMEOUT = "connected", "closed", "reset", "refused", "timeout"


class Target(NamedTuple):
    """Where to connect to by TCP."""

    family: int
    address: str
    port: int


class _Link(NamedTuple):
    """The pair of interfaces, and the two addresses of each family: of this side, of the other."""

    name: str
    ipv4: tuple[str, str]
    ipv6: tuple[str, str]


class NoClientError(Exception):
    """Why there is no such client."""


def new_link() -> _Link:
    """Addresses that this host has no route for, but perhaps a default route.

    From 198.18.0.0/15, for benchmarks of networks (RFC 2544), and of a random ULA prefix.
    """
    for _ in range(8):
        start = int.from_bytes(socket.inet_aton("198.18.0.0"), "big")
        number = start + random.randrange(1 << 15) * 4
        here, there = (socket.inet_ntoa((number + at).to_bytes(4, "big")) for at in (1, 2))
        if _is_free(here):
            ula = f"fd{random.randrange(256):02x}:{random.randrange(65536):x}:"
            ula += f"{random.randrange(65536):x}::"
            return _Link(f"sockreg{os.getpid()}", (here, there), (f"{ula}1", f"{ula}2"))
    raise NoClientError("the addresses of 198.18.0.0/15 are in use here")


def connect(link: _Link, targets: Sequence[Target], patience: float) -> list[str]:
    """What a client of each target gets, in their order, after at most ``patience`` seconds.

    It is one of the constants above, or the text of an error. Raises NoClientError.
    """
    mine, its = os.pipe()
    go, ready = os.pipe()
    home = threading.get_native_id()
    child = os.fork()
    if child == 0:
        try:
            os.close(mine)
            os.close(ready)
            _be_client(link, targets, patience, home, answer=its, go=go)
        finally:
            os._exit(0)
    os.close(its)
    os.close(go)
    try:
        with os.fdopen(mine, "rb") as answers:
            first = _line(answers.fileno(), _SETUP)
            if first != "made":
                raise NoClientError(first)
            _ip(
                f"addr add {link.ipv4[0]}/30 dev {link.name}",
                f"link set {link.name} up",
            )
            # Without IPv6, this is refused.
            with contextlib.suppress(NoClientError):
                _ip(f"-6 addr add {link.ipv6[0]}/64 dev {link.name} nodad")
            os.write(ready, b"go\n")
            told = _line(answers.fileno(), patience + _SETUP)
    finally:
        os.close(ready)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with contextlib.suppress(NoClientError):  # sooner than the kernel does
            _ip(f"link delete {link.name}")
    try:
        return [str(outcome) for outcome in json.loads(told)]
    except ValueError:
        raise NoClientError(told) from None


def _be_client(
    link: _Link, targets: Sequence[Target], patience: float, home: int, *, answer: int, go: int
) -> None:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            what = "a network namespace of its own takes root" if number == errno.EPERM else ""
            raise NoClientError(what or f"cannot make a network namespace: {os.strerror(number)}")
        _ip(
            "link set lo up",
            f"link add {link.name} type veth peer name {link.name} netns {home}",
            f"addr add {link.ipv4[1]}/30 dev {link.name}",
            f"link set {link.name} up",
        )
        with contextlib.suppress(NoClientError):
            _ip(f"-6 addr add {link.ipv6[1]}/64 dev {link.name} nodad")
        os.write(answer, b"made\n")
        os.read(go, 1)
        _ip(f"route add default via {link.ipv4[0]}")
        with contextlib.suppress(NoClientError):
            _ip(f"-6 route add default via {link.ipv6[0]}")
        text = json.dumps(_outcomes(targets, patience))
    except (NoClientError, OSError) as error:
        text = str(error)
    os.write(answer, f"{text}\n".encode())


def _outcomes(targets: Sequence[Target], patience: float) -> list[str]:
    found = [TIMEOUT] * len(targets)
    end = time.monotonic() + patience
    poll = select.poll()
    waiting: dict[int, tuple[int, socket.socket]] = {}
    connected: list[tuple[int, socket.socket]] = []
    for at, target in enumerate(targets):
        sock = socket.socket(target.family, socket.SOCK_STREAM)
        sock.setblocking(False)
        number = sock.connect_ex((target.address, target.port))
        if number not in (0, errno.EINPROGRESS):
            found[at] = os.strerror(number)
            continue
        waiting[sock.fileno()] = at, sock
        poll.register(sock, select.POLLOUT)
    while waiting and (left := end - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            at, sock = waiting.pop(descriptor)
            poll.unregister(descriptor)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number == 0:
                connected.append((at, sock))
            else:
                found[at] = REFUSED if number == errno.ECONNREFUSED else os.strerror(number)
    time.sleep(_EARLY if connected else 0)
    for at, sock in connected:
        try:
            found[at] = CONNECTED if sock.recv(1) else CLOSED
        except BlockingIOError:
            found[at] = CONNECTED
        except OSError:
            found[at] = RESET
    return found


def _line(descriptor: int, patience: float) -> str:
    """The next line of a pipe. Nothing else is written there meanwhile."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    text, end = b"", time.monotonic() + patience
    while not text.endswith(b"\n"):
        if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
            raise NoClientError("the client took too long")
        if not (more := os.read(descriptor, 1 << 16)):
            raise NoClientError("the client died")
        text += more
    return text.decode().rstrip("\n")


def _is_free(address: str) -> bool:
    """Whether no route but a default one leads to an address."""
    try:
        done = subprocess.run(
            ["ip", "-4", "route", "show", "match", address],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise NoClientError(f"ip(8): {error.strerror}") from None
    return all(line.startswith("default") for line in done.stdout.splitlines())


def _ip(*commands: str) -> None:
    """Commands of ip(8). Raises NoClientError for the first that fails."""
    for command in commands:
        try:
            done = subprocess.run(
                ["ip", *command.split()], capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise NoClientError(f"ip(8): {error.strerror}") from None
        if done.returncode != 0:
            said = done.stderr.strip().split("\n")[0]
            raise NoClientError(f"'ip {command}' failed: {said}")


def client_address(link: _Link, family: int) -> str:
    """The address from which the client comes."""
    return (link.ipv4 if family == INET else link.ipv6)[1]

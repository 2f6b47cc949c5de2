"""Fresh network namespaces, links between them, and a private bpffs."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.closing import Closing
from tests.linux import (
    CLONE_NEWNET,
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    mount,
    private_mounts,
    setns,
    umount,
    unshare,
)
from tests.netns import client
from tests.netns.client import TCP
from tests.netns.server import Server
from tests.process import run

_RUN_NETNS = "/run/netns"
_link_numbers = itertools.count(1)


class Namespace(Closing):
    """A network namespace, held by a file descriptor. ``Namespace()`` makes a fresh one.

    The loopback of a fresh one is up. Threads and processes of the test move into it with
    ``with ns.entered()``; sockets made there stay in it wherever the thread goes.
    """

    def __init__(self) -> None:
        self.fd = _fresh_namespace()
        self.run("ip", "link", "set", "lo", "up")

    @classmethod
    def of_process(cls, pid: int) -> Namespace:
        """The namespace that a process lives in."""
        existing = cls.__new__(cls)
        existing.fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        return existing

    def close(self) -> None:
        """Let go of it; the kernel removes it with its last socket and process."""
        os.close(self.fd)

    @property
    def path(self) -> str:
        """A path other processes can open it by, for ``sockreg --netns`` and nsenter(1)."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have the calling thread, and what it starts, inside the namespace."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(self.fd, CLONE_NEWNET)
            try:
                yield
            finally:
                setns(before, CLONE_NEWNET)
        finally:
            os.close(before)

    @contextmanager
    def named(self, name: str) -> Iterator[None]:
        """Have it under /run/netns/NAME, as ``ip netns`` does, for this process and its children.

        The name lives on a tmpfs of this process's own mount namespace.
        """
        private_mounts()
        os.makedirs(_RUN_NETNS, exist_ok=True)
        mount("none", _RUN_NETNS, "tmpfs", data="mode=0755")
        try:
            target = Path(_RUN_NETNS, name)
            target.touch()
            mount(f"/proc/self/fd/{self.fd}", str(target), flags=MS_BIND)
            yield
            umount(str(target))
        finally:
            umount(_RUN_NETNS, MNT_DETACH)

    # Commands and configuration

    def run(
        self, *command: str, check: bool = True, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; its output is captured as text.

        With ``check`` a failing command raises AssertionError that shows its output.
        """
        with self.entered():
            return run(command, check=check, timeout=timeout)

    def add_address(self, address: str, device: str = "lo") -> None:
        """Give a device an address such as ``192.0.2.1/24`` or ``2001:db8::1/64``."""
        # nodad: an IPv6 address is otherwise unusable for about a second (RFC 4862, 5.4).
        flags = ("nodad",) if ":" in address else ()
        self.run("ip", "addr", "add", address, "dev", device, *flags)

    def add_local(self, prefix: str) -> None:
        """Make every address of a prefix local (an AnyIP route on the loopback)."""
        self.run("ip", "route", "add", "local", prefix, "dev", "lo")

    def add_route(self, prefix: str, via: str) -> None:
        """Route a prefix through a neighbour."""
        self.run("ip", "route", "add", prefix, "via", via)

    def sysctl(self, name: str, value: str) -> None:
        """Set one of the namespace's own settings, such as ``net.ipv6.bindv6only``."""
        with self.entered():
            Path("/proc/sys", name.replace(".", "/")).write_text(value)

    # Sockets, servers, clients

    def new_socket(self, family: int, kind: int) -> socket.socket:
        """A socket of this namespace."""
        with self.entered():
            return socket.socket(family, kind)

    def listen(
        self,
        address: str,
        port: int = 0,
        protocol: int = TCP,
        *,
        v6only: bool = False,
        reuseport: bool = False,
    ) -> socket.socket:
        """A listening TCP or a bound UDP socket. Port 0 lets the kernel choose.

        ``::`` is dual-stack (serves IPv4 as well) unless ``v6only``.
        """
        kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
        sock = self.new_socket(client.family_of(address), kind)
        try:
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
            if protocol == TCP:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuseport:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((address, port))
            if protocol == TCP:
                sock.listen(4096)
        except BaseException:
            sock.close()
            raise
        return sock

    def serve(
        self,
        name: str,
        address: str,
        port: int = 0,
        protocol: int = TCP,
        *,
        v6only: bool = False,
        reuseport: bool = False,
    ) -> Server:
        """A server that answers with ``name``; listen() says what the rest means."""
        sock = self.listen(address, port, protocol, v6only=v6only, reuseport=reuseport)
        return Server(name, sock)

    def ask(
        self,
        address: str,
        port: int,
        protocol: int = TCP,
        *,
        source: str | None = None,
        request: bytes = b"",
        timeout: float = 2.0,
    ) -> str:
        """Send ``request`` and return the answer, or one word for what happened instead.

        The answer of a TCP server is all it sends until it closes or the time is up.

        =============  ============================================================
        "refused"      RST, or ICMP port unreachable
        "timeout"      nothing came back
        "silent"       the connection was accepted and then nothing came
        "reset"        the connection was accepted and then reset
        "unreachable"  no route
        =============  ============================================================
        """
        return client.ask(self.new_socket, address, port, protocol, source, request, timeout)

    def scan(self, address: str, ports: Iterable[int] = range(1, 65536)) -> list[int]:
        """The ports of ``address`` that accept TCP connections. About 2 s for all of them.

        It connects: listeners see a connection that is reset at once, and sockets of units
        that start on demand start them.
        """
        with self.entered():
            return client.scan(socket.socket, address, ports)


def connect(
    here: Namespace, device: str, there: Namespace, other_device: str, addresses: Sequence[str] = ()
) -> None:
    """Join two namespaces by a veth pair that is up at both ends.

    ``addresses`` alternate between the two ends: ``("192.0.2.1/24", "192.0.2.2/24")``.
    """
    # Made under a name of its own: the device names wanted may exist in the other namespace.
    made = f"veth{next(_link_numbers)}"
    here.run("ip", "link", "add", device, "type", "veth", "peer", "name", made, "netns", there.path)
    there.run("ip", "link", "set", made, "name", other_device)
    here.run("ip", "link", "set", device, "up")
    there.run("ip", "link", "set", other_device, "up")
    for number, address in enumerate(addresses):
        if number % 2 == 0:
            here.add_address(address, device)
        else:
            there.add_address(address, other_device)


@contextmanager
def bpffs() -> Iterator[Path]:
    """A bpffs of this process's own, at a temporary path.

    Only this process and its children see the mount. Its pins are gone at the end, and
    with them links, programs and maps that nothing else holds.
    """
    private_mounts()
    with tempfile.TemporaryDirectory(prefix="sockreg-bpffs-") as directory:
        mount("bpf", directory, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755")
        try:
            yield Path(directory)
        finally:
            umount(directory, MNT_DETACH)


def _fresh_namespace() -> int:
    # unshare(2) moves the calling thread for good, so a thread is spent on it.
    made: list[int] = []
    failures: list[OSError] = []

    def make() -> None:
        try:
            unshare(CLONE_NEWNET)
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return made[0]

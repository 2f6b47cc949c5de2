"""Ask a loaded program, by the kernel's test run, where it sends a packet."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterable

from sockreg import shipped
from sockreg.compile import Tables
from sockreg.kernel import bpf, libbpf
from sockreg.model import INET, INET6, TCP, UDP, Destination, Packet
from sockreg.registry import layout, loading
from tests.closing import Closing

SO_COOKIE = 57
PASS, DROP = 1, 0  # enum sk_action

# union bpf_attr of BPF_PROG_TEST_RUN (linux/bpf.h): program, verdict, data (4), repeat,
# duration, sizes of the contexts, contexts, flags.
_PROG_TEST_RUN = 10
_RUN = struct.Struct("=IIIIQQIIIIQQII")
_libc = ctypes.CDLL(None, use_errno=True)

# struct bpf_sk_lookup, linux/bpf.h: cookie, family, protocol, remote address (IPv4, IPv6),
# remote port, local address (IPv4, IPv6), local port, interface
_CONTEXT = struct.Struct("=QII4s16s4s4s16sII4x")


def context(packet: Packet) -> bytes:
    """The context of a packet. The kernel takes it without an interface only."""

    def both(address: int) -> tuple[bytes, bytes]:
        if packet.family == INET:
            return address.to_bytes(4, "big"), bytes(16)
        return bytes(4), address.to_bytes(16, "big")

    return _CONTEXT.pack(
        0,
        packet.family,
        packet.protocol,
        *both(packet.source_address),
        struct.pack(">HH", 40000, 0),
        *both(packet.address),
        packet.port,
        0,
    )


class Lookups(Closing):
    """Sockets in the slots of some destinations, and programs that choose between them."""

    def __init__(self, slot_of: dict[Destination, int]) -> None:
        self._slot_of_cookie: dict[int, int] = {}
        self._maps: dict[str, int] = {}
        self._programs: list[int] = []
        with contextlib.ExitStack() as stack:
            self._sockets = {
                slot: stack.enter_context(stand_in(destination))
                for destination, slot in slot_of.items()
            }
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()
        for fd in (*self._maps.values(), *self._programs):
            os.close(fd)

    def load(self, tables: Tables) -> int:
        """A program for a rule set; all share the sockets and the counters."""
        with loading.open_object(shipped.object_path()) as loaded:
            for name, fd in self._maps.items():
                loaded.reuse_map(name, fd)
            loading.load_program(loaded, tables)
            if not self._maps:
                self._maps = {name: os.dup(loaded.map_fd(name)) for name in ("sockets", "counters")}
                self._fill()
            self._programs.append(os.dup(loaded.program_fd(loading.PROGRAM_NAME)))
        return self._programs[-1]

    def unload(self, program: int) -> None:
        """Let go of a program and its table before the end."""
        self._programs.remove(program)
        os.close(program)

    def _fill(self) -> None:
        """Put the sockets into their slots."""
        for slot, member in self._sockets.items():
            cookie = struct.unpack("=Q", member.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]
            self._slot_of_cookie[cookie] = slot
            bpf.map_update(
                self._maps["sockets"],
                layout.SLOT.pack(slot),
                layout.COOKIE.pack(member.fileno()),
            )

    def ask(self, program: int, packet: Packet) -> int | None:
        """The slot whose socket gets the packet, 0 if it passes, None if it is refused."""
        run = libbpf.test_run(program, context(packet))
        cookie = struct.unpack_from("=Q", run.context)[0]
        if cookie:
            assert run.verdict == PASS
            return self._slot_of_cookie[cookie]
        return 0 if run.verdict == PASS else None

    def ask_all(self, program: int, packets: Iterable[Packet]) -> list[int | None]:
        """Like ask(), for many packets: with buffers that are made once."""
        given, taken = (ctypes.create_string_buffer(_CONTEXT.size) for _ in range(2))
        attr = ctypes.create_string_buffer(
            _RUN.pack(
                program,
                *[0] * 7,
                *[_CONTEXT.size] * 2,
                *map(ctypes.addressof, (given, taken)),
                0,
                0,
            )
        )
        number, command, size = map(ctypes.c_long, (bpf._BPF, _PROG_TEST_RUN, _RUN.size))
        start, where = ctypes.addressof(given), ctypes.c_void_p(ctypes.addressof(attr))
        cookie = ctypes.cast(taken, ctypes.POINTER(ctypes.c_uint64))
        verdict = ctypes.cast(attr, ctypes.POINTER(ctypes.c_uint32))
        found: list[int | None] = []
        for packet in packets:
            ctypes.memmove(start, context(packet), _CONTEXT.size)
            if _libc.syscall(number, command, where, size):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            if cookie[0]:
                assert verdict[1] == PASS
                found.append(self._slot_of_cookie[cookie[0]])
            else:
                found.append(0 if verdict[1] == PASS else None)
        return found

    def counters(self, slot: int) -> tuple[int, ...]:
        """Lookups, misses and errors of a slot, summed over processors."""
        cpus = libbpf.possible_cpus()
        size = layout.COUNTERS.size
        values = bpf.map_lookup(self._maps["counters"], layout.SLOT.pack(slot), cpus * size)
        assert values is not None
        columns = zip(*layout.COUNTERS.iter_unpack(values), strict=True)
        looked_up, missed, *refused = map(sum, columns)
        return looked_up, missed, sum(refused)


def stand_in(destination: Destination) -> socket.socket:
    """A socket that the program may choose for a destination."""
    kind = {TCP: socket.SOCK_STREAM, UDP: socket.SOCK_DGRAM}[destination.protocol]
    member = socket.socket(destination.family, kind)
    member.bind(("::1" if destination.family == INET6 else "127.0.0.1", 0))
    if destination.protocol == TCP:
        member.listen()
    return member

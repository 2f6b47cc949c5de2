"""A tracing program in the place of the one in force, for as long as somebody looks.

It is made from the same sources, uses the maps and the table of the generation in force, and
decides the same. It also writes each decision to a ring buffer (bpf/trace.h). It is pinned beside
the program that it stands for, so that everybody who changes rules finds it and ends it first.

    generations/7/tracing   the tracing program

Of several tracers, the last one looks: it ends the others.
"""

from __future__ import annotations

import contextlib
import mmap
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sockreg.errors import NotLoadedError, SockregError
from sockreg.host import bpf_access, release
from sockreg.kernel import libbpf
from sockreg.kernel.ringbuf import Ring
from sockreg.registry import generations, loading
from sockreg.registry.directory import (
    COPY,
    FLOWS,
    LINK,
    MAPS,
    OWNERS,
    PROGRAM,
    TABLE,
    TRACING,
    not_in_force,
)
from sockreg.registry.generations import Generation
from sockreg.registry.pins import pin, pinned

_RING, _STATE, _CONSTANTS = "decisions", ".data.trace", ".rodata.trace"
_RING_SIZE = 1 << 20  # bytes, as in bpf/trace.h: some 10,000 decisions
_TOLD = struct.Struct("=Q16s16sHHHHIIIi")  # struct decision
_CONFIG = struct.Struct("=II")  # one_in, interface
_UNTIL = struct.Struct("=QQ")  # until, lost
_ALIVE = 5.0  # s for which the program goes on after the last sign of life
_WITH_INTERFACES = (5, 17)
ONE_IN_MAX = 1 << 20


class Decision(NamedTuple):
    """What the program decided on a packet.

    ``time`` is CLOCK_MONOTONIC in ns. Addresses are numbers, ports in host order. ``interface`` is
    an index, 0 if the kernel does not tell it. ``slot`` is that of the rule that won: 0 if none
    did, or a pass rule. ``member`` is the slot of the socket, or 0. ``error`` is 0 or an errno: why
    the kernel refused the socket.
    """

    time: int
    family: int
    protocol: int
    address: int
    port: int
    source: int
    source_port: int
    interface: int
    slot: int
    member: int
    error: int


class Tracing:
    """A trace of ``generation`` that runs. Made by tracing()."""

    def __init__(self, registry: str, generation: Generation, obj: libbpf.Object) -> None:
        self.generation = generation
        self._registry = registry
        self.fd = obj.map_fd(_RING)  # to wait at, with poll(2)
        self._ring = Ring(self.fd, _RING_SIZE)
        self._state = mmap.mmap(obj.map_fd(_STATE), mmap.PAGESIZE)
        self.program_id = libbpf.program_info(obj.program_fd(loading.PROGRAM_NAME)).id

    def go_on(self) -> None:
        """Say that somebody looks. Call it at least every second."""
        until = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + round(_ALIVE * 1e9)
        self._state[:8] = until.to_bytes(8, sys.byteorder)

    def read(self) -> Iterator[Decision]:
        """The decisions since the last call."""
        for record in self._ring.read():
            yield decoded(record)

    @property
    def lost(self) -> int:
        """How many decisions found no room."""
        return int(_UNTIL.unpack_from(self._state)[1])

    @property
    def is_running(self) -> bool:
        """Whether it is in force: a change of rules ends it, and so does another trace."""
        return is_in_force(self._registry, self.program_id)

    def close(self) -> None:
        self._ring.close()
        self._state.close()


def decoded(record: bytes) -> Decision:
    """A record of the ring; see struct decision in bpf/trace.h."""
    (
        when,
        local,
        remote,
        port,
        source_port,
        family,
        protocol,
        interface,
        slot,
        member,
        error,
    ) = _TOLD.unpack(record)
    size = 4 if family == socket.AF_INET else 16
    return Decision(
        when,
        family,
        protocol,
        int.from_bytes(local[:size], "big"),
        port,
        int.from_bytes(remote[:size], "big"),
        source_port,
        interface,
        slot,
        member,
        -error,
    )


@contextlib.contextmanager
def tracing(registry: str, object_path: Path, one_in: int = 1) -> Iterator[Tracing]:
    """Have the program tell its decisions, or ``one_in`` of so many, until the block ends.

    Raises SockregError if nothing is in force, or if the kernel refuses.
    """
    bpf_access.require_loading()
    with loading.open_object(object_path) as obj:
        with generations.writing(registry):
            current = generations.in_force(registry)
            if current is None:
                raise not_in_force(registry)
            _load(obj, registry, current, one_in)
            running = Tracing(registry, current, obj)
            running.go_on()
            _begin(registry, current, obj.program_fd(loading.PROGRAM_NAME))
        try:
            yield running
        finally:
            end(registry, running.program_id)
            running.close()


def _load(obj: libbpf.Object, registry: str, current: Generation, one_in: int) -> None:
    obj.leave_out(COPY)
    with contextlib.ExitStack() as stack:
        for name in MAPS:
            obj.reuse_map(name, stack.enter_context(pinned(f"{registry}/{name}")))
        for name, path in ((FLOWS, current.path / FLOWS), (OWNERS, Path(registry, OWNERS))):
            if (current.path / FLOWS).exists():
                obj.reuse_map(name, stack.enter_context(pinned(path)))
        obj.reuse_map(loading.TABLE_MAP, stack.enter_context(pinned(current.path / TABLE)))
        program = stack.enter_context(pinned(current.path / PROGRAM))
        try:
            constants = stack.enter_context(libbpf.map_of_program(program, loading.CONFIG_MAP))
            obj.reuse_map(loading.CONFIG_MAP, constants)
            with_interfaces = not release.is_before(*_WITH_INTERFACES)
            obj.set_initial_value(_CONSTANTS, _CONFIG.pack(one_in, with_interfaces))
            obj.load()
        except OSError as error:
            raise loading.refusal(error, 0) from None


def _begin(registry: str, current: Generation, program: int) -> None:
    """Put it in force. Pinned first: who finds it in force must know what it stands for."""
    path = current.path / TRACING
    pin(program, path)
    with pinned(f"{registry}/{LINK}") as link, pinned(current.path / PROGRAM) as before:
        try:
            libbpf.update_link(link, program, before)
        except OSError as error:
            path.unlink()
            raise SockregError(f"the trace cannot begin: {error.strerror}") from None


def end(registry: str, program_id: int) -> None:
    """End the trace that this program makes, if nobody else has."""
    with contextlib.suppress(NotLoadedError), generations.changing(registry):
        current = generations.in_force(registry)
        if current is not None and is_in_force(registry, program_id):
            generations.end_tracing(registry, current)


def is_in_force(registry: str, program_id: int) -> bool:
    """Whether the link runs this program."""
    link = generations.link_of(registry)
    return link is not None and link.program_id == program_id

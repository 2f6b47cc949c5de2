"""The programs of lookup.bpf.c that sockreg is compared with, to be attached for real.

Design (c) is that of the peers: two walks through a longest-prefix-match trie, counters, a
socket map. It has no ranges.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from sockreg.compile import compile_rules
from sockreg.kernel import bpf, libbpf
from sockreg.model import ANY_PORT, FAMILY_BITS, Binding, Destination
from sockreg.registry import layout
from tests.process import run
from tests.tree import ROOT

EMPTY = "empty"
PEER = "peer"
_PROGRAMS = (EMPTY, PEER, "one_rule", "stream_empty", "stream_peer", "stream_sockreg", "sockreg",
             "copy_socket")  # fmt: skip
_KEY = struct.Struct("=IHH16s")  # struct peer_key: bits in all, protocol, port, address
_VALUE = struct.Struct("=II")  # struct peer_value: slot, bits
_HEAD = 32  # bits of protocol and port


def build(directory: Path) -> Path:
    """Compile the programs to compare; returns the object."""
    target = directory / "lookup.bpf.o"
    source = ROOT / "tests/bench/lookup.bpf.c"
    options = ['-DSOURCE_HASH="bench"', "-Wno-unused-parameter"]
    run([str(ROOT / "bpf/compile.sh"), str(source), str(target), *options])
    return target


def load(built: Path, program: str, rules: int = 1) -> libbpf.Object:
    """One of the programs, with room for some rules, and counting on."""
    loaded = libbpf.Object(str(built))
    for name in _PROGRAMS:
        if name != program:
            loaded.leave_out(name)
    loaded.set_max_entries("peer_bindings", rules)
    loaded.set_initial_value(".rodata.config", compile_rules([], {}, counters=True).config)
    loaded.load()
    return loaded


def bind(
    loaded: libbpf.Object, bindings: Sequence[Binding], slots: Mapping[Destination, int]
) -> None:
    """Give design (c) its rules, which may name one port or any."""
    trie = loaded.map_fd("peer_bindings")
    for binding in bindings:
        bits = _HEAD + 128 - FAMILY_BITS[binding.family] + binding.length
        key = _KEY.pack(bits, binding.protocol, _port(binding), _address(binding))
        bpf.map_update(trie, key, _VALUE.pack(slots[binding.destination], bits))


def register(loaded: libbpf.Object, slot: int, fd: int) -> None:
    """Put a socket into a slot."""
    sockets = loaded.map_fd("sockets")
    bpf.map_update(sockets, layout.SLOT.pack(slot), layout.COOKIE.pack(fd))


def _port(binding: Binding) -> int:
    if (binding.first, binding.last) == ANY_PORT:
        return 0
    assert binding.first == binding.last, "design (c) has no ranges"
    return binding.first


def _address(binding: Binding) -> bytes:
    """IPv4 as an IPv4-mapped address."""
    mapped = 0xFFFF << 32 if FAMILY_BITS[binding.family] == 32 else 0
    return (mapped | binding.address).to_bytes(16, "big")

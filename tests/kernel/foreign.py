"""sk_lookup programs of others, attached to the namespace of a host beside sockreg's."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from sockreg.kernel import bpf, libbpf
from sockreg.registry import layout
from tests.kernel.host import Host
from tests.netns import TCP, Server
from tests.process import run
from tests.tree import ROOT

NAMES = ("passes", "drops", "selects", "replaces", "clears")
BUILT = "foreign.bpf.o"
_numbers = itertools.count(1)


def compiled(directory: Path) -> Path:
    """The object, compiled once per directory; a guest without compiler has it in the tree."""
    shipped = Path(__file__).with_name(BUILT)
    if shipped.exists():
        return shipped
    built = directory / BUILT
    if not built.exists():
        source = shipped.with_suffix(".c")
        run([str(ROOT / "bpf/compile.sh"), str(source), str(built), "-Wno-unused-parameter"])
    return built


class Foreign:
    """A program that runs after all that are attached already.

    With ``server`` it owns a socket: programs that select one select this one. Its link is pinned
    in the bpffs of the host, so it outlives the descriptors of this process.
    """

    def __init__(self, host: Host, name: str, server: Server | None = None) -> None:
        assert name in NAMES
        self.name = name
        self.server = server
        with libbpf.Object(str(compiled(host.root))) as loaded:
            for other in NAMES:
                if other != name:
                    loaded.leave_out(other)
            loaded.load()
            if server is not None:
                value = layout.COOKIE.pack(server.sock.fileno())
                bpf.map_update(loaded.map_fd("chosen"), layout.SLOT.pack(0), value)
            program = loaded.program_fd(name)
            self.id = libbpf.program_info(program).id
            self._link = libbpf.create_link(program, host.namespace.fd)
        self.pin = host.bpffs / f"foreign{next(_numbers)}"
        bpf.obj_pin(self._link, str(self.pin))

    def __str__(self) -> str:
        return f"program {self.id} ({self.name})"

    def close(self) -> None:
        """Detach it, as its owner would, and close its server."""
        libbpf.detach_link(self._link)
        os.close(self._link)
        self.pin.unlink()
        if self.server is not None:
            self.server.close()

    def __enter__(self) -> Foreign:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def attached(host: Host, name: str, says: str = "", protocol: int = TCP) -> Iterator[Foreign]:
    """A program, and for those that select the server ``says`` that it selects."""
    server = host.namespace.serve(says, "::", 0, protocol) if says else None
    with Foreign(host, name, server) as program:
        yield program

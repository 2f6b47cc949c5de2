"""sk_lookup programs of others, attached to a namespace beside sockreg's."""

from __future__ import annotations

import os
from pathlib import Path

from sockreg.kernel import bpf, libbpf
from sockreg.registry import layout
from tests.closing import Closing
from tests.netns import Namespace, Server
from tests.process import run
from tests.tree import ROOT

NAMES = ("passes", "drops", "selects", "replaces", "clears")
BUILT = "foreign.bpf.o"


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


class Foreign(Closing):
    """A program that runs after all that are attached to the namespace already.

    With ``server`` it owns a socket: programs that select one select this one. ``directory`` is for
    the object.
    """

    def __init__(
        self, namespace: Namespace, directory: Path, name: str, server: Server | None = None
    ) -> None:
        assert name in NAMES
        self.name = name
        self.server = server
        with libbpf.Object(str(compiled(directory))) as loaded:
            for other in NAMES:
                if other != name:
                    loaded.leave_out(other)
            loaded.load()
            if server is not None:
                value = layout.COOKIE.pack(server.sock.fileno())
                bpf.map_update(loaded.map_fd("chosen"), layout.SLOT.pack(0), value)
            program = loaded.program_fd(name)
            self.id = libbpf.program_info(program).id
            self.link = libbpf.create_link(program, namespace.fd)

    def __str__(self) -> str:
        return f"program {self.id} ({self.name})"

    def close(self) -> None:
        """Detach it, as its owner would, and close its server."""
        libbpf.detach_link(self.link)
        os.close(self.link)
        if self.server is not None:
            self.server.close()

"""Registries of network namespaces that are gone are cleared away by the next load."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.kernel.host import Host
from tests.netns import Namespace
from tests.tree import ROOT


def test_a_load_clears_what_a_namespace_left_behind(host: Host) -> None:
    with Namespace() as other:
        arguments = ["--bpffs", str(host.bpffs), "--root", str(host.root)]
        # As a process of its own: libraries start threads, which would keep the namespace.
        subprocess.run(
            [sys.executable, "-m", "sockreg", "--netns", str(other.path), *arguments, "load"],
            check=True,
            cwd=ROOT,
        )
        (left,) = host.home.iterdir()
        host.ok("load")
        assert left.exists(), "its namespace lives"
        host.ok("unload")
    # The kernel takes a namespace down in its own time.
    deadline = time.monotonic() + 60
    while left.exists() and time.monotonic() < deadline:
        host.ok("load")
        host.ok("unload")
    assert not left.exists()

"""Registries of network namespaces that are gone are cleared away by the next load."""

from __future__ import annotations

import time

from sockreg.cli.main import main
from tests.kernel.host import Host
from tests.netns import Namespace


def test_a_load_clears_what_a_namespace_left_behind(host: Host) -> None:
    with Namespace() as other:
        arguments = ["--bpffs", str(host.bpffs), "--root", str(host.root)]
        assert main(["--netns", str(other.path), *arguments, "load"]) == 0
        (left,) = host.home.iterdir()
        host.ok("load")
        assert left.exists(), "its namespace lives"
        host.ok("unload")
    # The kernel takes a namespace down in its own time.
    deadline = time.monotonic() + 10
    while left.exists() and time.monotonic() < deadline:
        host.ok("load")
        host.ok("unload")
    assert not left.exists()

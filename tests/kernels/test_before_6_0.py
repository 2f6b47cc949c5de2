"""Before Linux 6.0 a table ends at 4 MiB, and a socket that is shut down leaves its slot."""

from __future__ import annotations

import socket

from tests.kernel.host import Host


def test_a_larger_table_is_refused_with_sizes_and_the_old_rules_hold(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080):
        before = sorted((host.registry / "generations").iterdir())
        lines = [
            f"Bind=tcp 10.{n >> 16}.{n >> 8 & 255}.{n & 255} {1024 + n * 7919 % 60000}"
            for n in range(0, 256 * 256 * 4, 3)
        ]
        host.conf("[web]", *lines)
        refused = host.fails(1, "apply")
        assert "the kernel gives no table of " in refused
        assert "before Linux 6.0 a table ends at 4 MiB" in refused
        assert host.ask("192.0.2.7", 80) == "web"
        assert sorted((host.registry / "generations").iterdir()) == before


def test_a_listener_that_was_shut_down_leaves_its_slot(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.namespace.listen("127.0.0.1", 8080) as listener:
        host.register([("web", listener)])
        listener.shutdown(socket.SHUT_RDWR)
        assert host.registered("web") is None
        assert host.ask("192.0.2.7", 80) == "refused"

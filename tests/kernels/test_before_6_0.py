"""Before Linux 6.0 a table ends at 4 MiB, and one shut down is silent."""

from __future__ import annotations

import random
import socket

from tests.kernel.host import Host


def test_a_larger_table_is_refused_with_sizes_and_the_old_rules_hold(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080):
        before = sorted((host.registry / "generations").iterdir())
        # Hosts without a pattern, which would make the table small.
        chosen = random.Random(1)
        lines = [
            f"Bind=tcp 10.{n >> 16}.{n >> 8 & 255}.{n & 255} {chosen.randrange(1, 65536)}"
            for n in chosen.sample(range(1 << 24), 120_000)
        ]
        host.conf("[web]", *lines)
        refused = host.fails(1, "apply")
        assert "the kernel refuses a table of " in refused
        assert "before Linux 6.0, a table is limited to 4 MiB" in refused
        assert host.ask("192.0.2.7", 80) == "web"
        assert sorted((host.registry / "generations").iterdir()) == before


def test_a_listener_that_was_shut_down_answers_nothing(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.namespace.listen("127.0.0.1", 8080) as listener:
        host.register([("web", listener)])
        listener.shutdown(socket.SHUT_RDWR)
        assert host.registered("web") is not None
        assert host.ask("192.0.2.7", 80) == "timeout"
    assert host.registered("web") is None

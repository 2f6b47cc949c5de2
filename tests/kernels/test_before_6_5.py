"""Before Linux 6.5 a sock_ops program may not ask in which cgroup a listener is."""

from __future__ import annotations

from tests.kernel.host import Host


def test_the_sock_ops_program_is_refused_and_what_it_needs_is_named(host: Host) -> None:
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
    assert "it needs Linux 6.5" in host.fails(1, "load", "--sock-ops")

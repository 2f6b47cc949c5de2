"""Before Linux 6.12 the verifier comes to an end with the program only if it need not guard
against speculation: loading takes CAP_PERFMON. And no program is told who listens."""

from __future__ import annotations

import pytest

from tests.kernel.host import Host
from tests.kernels import privileges


def test_the_capability_that_is_missing_is_named(host: Host) -> None:
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
    refused = privileges.run(host, ",+bpf,+net_admin", "load")
    assert refused.status == 4, refused.text
    assert "before Linux 6.12 that needs CAP_PERFMON" in refused.err
    assert not host.home.exists() or list(host.home.iterdir()) == []


@pytest.mark.parametrize(
    "rules",
    [
        ["Bind=tcp 192.0.2.0/24 80"],
        ["Bind=tcp 192.0.2.0/24 80 from 127.0.0.0/8", "Bind=tcp 192.0.2.0/24 81-90,443"],
        [f"Bind=tcp 192.0.0.0/{length} {80 - 8 + length}-{length * 900}" for length in range(8, 25)]
        + ["Bind=tcp 192.0.2.0/24 80"],
    ],
)
def test_with_it_the_rules_hold(host: Host, rules: list[str]) -> None:
    host.conf("[web]", *rules)
    done = privileges.run(host, ",+bpf,+net_admin,+perfmon", "load")
    assert done.status == 0, done.text
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask("192.0.2.7", 80) == "web"


def test_the_sock_ops_program_is_refused_and_what_it_needs_is_named(host: Host) -> None:
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
    assert "it needs Linux 6.12" in host.fails(1, "load", "--sock-ops")

"""On every kernel CAP_BPF and CAP_NET_ADMIN load the program, and it steers."""

from __future__ import annotations

import pytest

from tests.kernel.host import Host
from tests.kernels import privileges


@pytest.mark.parametrize("capabilities", [",+bpf,+net_admin", ",+bpf,+net_admin,+perfmon"])
@pytest.mark.parametrize(
    "rules",
    [
        ["Bind=tcp 192.0.2.0/24 80"],
        ["Bind=tcp 192.0.2.0/24 80 from 127.0.0.0/8", "Bind=tcp 192.0.2.0/24 81-90,443"],
        [f"Bind=tcp 192.0.0.0/{length} {80 - 8 + length}-{length * 900}" for length in range(8, 25)]
        + ["Bind=tcp 192.0.2.0/24 80"],
    ],
)
def test_the_rules_hold(host: Host, rules: list[str], capabilities: str) -> None:
    host.conf("[web]", *rules)
    done = privileges.run(host, capabilities, "load")
    assert done.status == 0, done.text
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask("192.0.2.7", 80) == "web"

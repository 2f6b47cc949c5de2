"""Before Linux 6.12 the verifier comes to an end with the program only if it need not guard
against speculation: loading takes CAP_PERFMON."""

from __future__ import annotations

import pytest

from tests.kernel.host import Host

_TWO = ("setpriv", "--bounding-set=-all,+bpf,+net_admin", "--inh-caps=-all")
_THREE = ("setpriv", "--bounding-set=-all,+bpf,+net_admin,+perfmon", "--inh-caps=-all")


def test_the_capability_that_is_missing_is_named(host: Host) -> None:
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
    refused = host.process("load", prefix=_TWO)
    assert refused.status == 4
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
    host.process("load", prefix=_THREE, check=True)
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask("192.0.2.7", 80) == "web"

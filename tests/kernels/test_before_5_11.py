"""Before Linux 5.11 memory for BPF counts as locked memory, of which a login gets 64 KiB."""

from __future__ import annotations

from tests.kernel import privileges
from tests.kernel.host import Host


def test_the_limit_is_named(host: Host) -> None:
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
    limit = ("prlimit", "--memlock=65536:65536")
    refused = privileges.run(host, privileges.LOADING, "load", prefix=limit)
    assert refused.status == 4, refused.text
    assert "before Linux 5.11, add LimitMEMLOCK=infinity" in refused.err
    assert not host.home.exists() or list(host.home.iterdir()) == []
    # What check says is this line for the unit, too.
    limit = ("prlimit", "--memlock=unlimited")
    assert privileges.run(host, privileges.LOADING, "load", prefix=limit).status == 0
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask("192.0.2.7", 80) == "web"

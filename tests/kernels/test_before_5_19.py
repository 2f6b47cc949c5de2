"""Before Linux 5.19 writing to a map takes more than access to its pin."""

from __future__ import annotations

from tests.kernel import privileges
from tests.kernel.host import Host


def test_registering_takes_two_capabilities(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.namespace.serve("web", "127.0.0.1", 8080) as web:
        sockets = [("web", web.sock)]
        refused = privileges.run(host, "", "register", sockets=sockets)
        assert refused.status == 4, refused.text
        assert "before Linux 5.19" in refused.err
        assert "CAP_BPF and CAP_NET_ADMIN" in refused.err
        assert host.ask("192.0.2.7", 80) == "refused"
        done = privileges.run(host, "+bpf,+net_admin", "register", sockets=sockets)
        assert done.status == 0, done.text
        assert host.ask("192.0.2.7", 80) == "web"

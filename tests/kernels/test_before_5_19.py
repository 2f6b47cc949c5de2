"""Before Linux 5.19 writing to a map takes more than access to its pin."""

from __future__ import annotations

from tests.kernel.host import Host

_WITHOUT = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
_WITH = ("setpriv", "--bounding-set=-all,+bpf,+net_admin", "--inh-caps=-all")


def test_registering_takes_two_capabilities(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.namespace.serve("web", "127.0.0.1", 8080) as web:
        sockets = [("web", web.sock)]
        refused = host.process("register", sockets=sockets, prefix=_WITHOUT)
        assert refused.status != 0
        assert "CAP_BPF and CAP_NET_ADMIN" in refused.err
        assert host.ask("192.0.2.7", 80) == "refused"
        host.process("register", sockets=sockets, prefix=_WITH, check=True)
        assert host.ask("192.0.2.7", 80) == "web"

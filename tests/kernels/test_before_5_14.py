"""Before Linux 5.14 a socket does not tell its network namespace."""

from __future__ import annotations

from tests.kernel.host import Host
from tests.netns import Namespace


def test_a_socket_of_another_namespace_is_not_noticed_and_never_reached(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with Namespace() as other, other.serve("web", "127.0.0.1", 8080) as web:
        assert host.register([("web", web.sock)]).status == 0
        assert host.ask("192.0.2.7", 80) == "timeout"

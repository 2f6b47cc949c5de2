"""Network namespaces for tests, with servers that answer with their name and clients.

    with Namespace() as ns, ns.serve("web", "127.0.0.1", 8080):
        assert ns.ask("127.0.0.1", 8080) == "web"
        assert ns.ask("127.0.0.1", 80) == "refused"
        ns.add_local("192.0.2.0/24")
        assert ns.scan("192.0.2.1") == []

Namespaces are held by file descriptors alone: nothing of them appears on the host and
nothing remains when the process ends.
"""

from tests.netns.client import TCP, UDP
from tests.netns.namespace import Namespace, bpffs, connect
from tests.netns.server import Server

__all__ = ["TCP", "UDP", "Namespace", "Server", "bpffs", "connect"]

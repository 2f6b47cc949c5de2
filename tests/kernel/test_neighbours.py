"""Others on the same machine: whom a rule takes traffic from, and whom it leaves alone."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from sockreg.kernel import bpf
from tests.kernel.host import Host
from tests.netns import TCP, UDP, Server

SPECIFIC, ANY = "192.0.2.7", "0.0.0.0"


@pytest.mark.parametrize("address", [SPECIFIC, ANY])
def test_a_rule_wins_over_an_ordinary_bind_and_gives_back(host: Host, address: str) -> None:
    """The listener on port 22 of the demo: taken over, and given back."""
    sockets = [host.namespace.listen(address, 22, protocol) for protocol in (TCP, UDP)]
    with (
        Server("sshd", *sockets),
        host.namespace.serve("web", "127.0.0.1", 8080) as stream,
        host.namespace.serve("web", "127.0.0.1", 8080, UDP) as datagrams,
    ):
        assert host.both("192.0.2.7", 22) == ("sshd", "sshd")
        host.load()
        host.register([("web", stream.sock), ("web", datagrams.sock)])
        assert host.both("192.0.2.7", 22) == ("sshd", "sshd")
        host.apply("[web]", "Bind=tcp 192.0.2.0/24 22", "Bind=udp 192.0.2.0/24 22")
        assert host.both("192.0.2.7", 22) == ("web", "web")
        host.apply("[web]", "Bind=tcp 192.0.2.0/24 22")
        assert host.both("192.0.2.7", 22) == ("web", "sshd")
        host.apply()
        assert host.both("192.0.2.7", 22) == ("sshd", "sshd")


def test_a_rule_wins_over_an_unprivileged_bind(host: Host) -> None:
    """T4: whoever binds a port of ours first, or later and more specifically, gets nothing."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 8080")
    squatter = (
        "import os, socket\n"
        "s = socket.create_server(('192.0.2.7', 8080))\n"
        "print('ready', os.getuid(), flush=True)\n"
        "c, _ = s.accept(); c.sendall(b'squatter'); c.close(); input()\n"
    )
    command = ["nsenter", f"--net={host.namespace.path}"]
    command += ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with (
        host.serve("web", "127.0.0.1", 9090),
        subprocess.Popen(
            [*command, "/usr/bin/python3", "-c", squatter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready 65534\n"
            assert host.ask("192.0.2.7", 8080) == "web"
            host.ok("unload")
            assert host.ask("192.0.2.7", 8080) == "squatter"
        finally:
            process.kill()


def test_established_connections_outlive_load_apply_and_unload(host: Host) -> None:
    listener = host.namespace.listen("192.0.2.7", 80)
    with listener, host.namespace.new_socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.connect(("192.0.2.7", 80))
        server, _ = listener.accept()
        with server:

            def talk() -> bool:
                client.sendall(b"?")
                server.sendall(server.recv(1) + b"!")
                return client.recv(2) == b"?!"

            assert talk()
            host.load("[web]", "Reject=tcp 192.0.2.0/24 *")
            assert talk()
            assert host.ask("192.0.2.7", 80) == "refused"
            host.apply("[web]", "Bind=tcp 0.0.0.0/0 *")
            assert talk()
            host.ok("unload")
            assert talk()


def test_a_connection_made_by_a_rule_outlives_it(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    listener = host.namespace.listen("127.0.0.1", 8080)
    with listener, host.namespace.new_socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        host.register([("web", listener)])
        client.connect(("192.0.2.7", 80))
        server, _ = listener.accept()
        with server:
            assert server.getsockname() == ("192.0.2.7", 80)
            host.apply()
            host.ok("unload")
            client.sendall(b"still here")
            assert server.recv(20) == b"still here"


def test_connected_udp_is_left_alone(host: Host) -> None:
    with (
        host.namespace.listen("192.0.2.7", 5000, UDP) as one,
        host.namespace.listen("192.0.2.8", 6000, UDP) as two,
    ):
        one.connect(("192.0.2.8", 6000))
        two.connect(("192.0.2.7", 5000))

        def talk() -> bool:
            one.settimeout(5)
            two.settimeout(5)
            one.send(b"there")
            two.send(two.recv(10) + b" and back")
            return one.recv(20) == b"there and back"

        assert talk()
        host.load("[web]", "Bind=udp 192.0.2.0/24 *")
        with host.serve("web", "127.0.0.1", 8080, UDP) as web:
            assert talk()
            assert web.answered == 0
            assert host.ask("192.0.2.7", 5000, UDP) == "web"
            host.apply("[web]", "Reject=udp 0.0.0.0/0 *")
            assert talk()
            host.ok("unload")
            assert talk()


def test_an_unconnected_udp_socket_still_sends(host: Host) -> None:
    """Only receiving is steered: answers come back to a client whose port a rule covers."""
    host.load("[web]", "Bind=udp 192.0.2.0/24 53")
    with host.serve("web", "127.0.0.1", 53, UDP):
        assert host.ask("192.0.2.7", 53, UDP, source="127.0.0.2") == "web"


def test_no_rule_changes_nothing(host: Host) -> None:
    with host.namespace.serve("ordinary", "::", 80), host.namespace.serve("dns", "::", 53, UDP):
        before = host.namespace.scan("127.0.0.1", range(1, 1000))
        host.load()
        assert host.namespace.scan("127.0.0.1", range(1, 1000)) == before == [80]
        assert host.ask("2001:db8::1", 80) == "ordinary"
        assert host.ask("192.0.2.1", 53, UDP) == "dns"


def test_unload_restores_everything(host: Host) -> None:
    with host.namespace.serve("ordinary", "::", 80):
        host.load("[web]", "Bind=tcp 0.0.0.0/0 *", "Bind=tcp ::/0 *")
        with host.serve("web", "::", 8080) as web:
            assert host.namespace.scan("127.1.1.1", range(1, 300)) == list(range(1, 300))
            host.ok("unload")
            assert host.namespace.scan("127.1.1.1", range(1, 300)) == [80]
            assert host.ask("127.1.1.1", 80) == "ordinary"
            assert host.ask("2001:db8::1", 80) == "ordinary"
            assert host.ask("127.0.0.1", 8080) == "web"
            assert web.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    assert list(host.home.iterdir()) == []


def test_the_steered_socket_is_visible_to_nft(host: Host) -> None:
    """T6: the rest of the stack sees the mapping: an nft rule that matches the socket."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    host.namespace.run("nft", "add", "table", "inet", "t")
    chain = "{ type filter hook prerouting priority filter ; }"
    host.namespace.run("nft", "add", "chain", "inet", "t", "pre", chain)
    rule = "tcp dport 80 tcp flags syn socket wildcard 0 counter"
    host.namespace.run("nft", "add", "rule", "inet", "t", "pre", *rule.split())
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask("192.0.2.7", 80) == "web"
    assert "packets 1 " in host.namespace.run("nft", "list", "table", "inet", "t").stdout


def test_unload_takes_effect_while_a_reader_looks(host: Host) -> None:
    """A reader has the link open; it must not keep the program attached."""
    host.load("[web]", "Reject=tcp 192.0.2.0/24 *")
    with host.namespace.serve("ordinary", "0.0.0.0", 80):
        reader = bpf.obj_get(str(host.registry / "link"))
        try:
            assert host.ask("192.0.2.7", 80) == "refused"
            host.ok("unload")
            assert host.ask("192.0.2.7", 80) == "ordinary"
        finally:
            os.close(reader)

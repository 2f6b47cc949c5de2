"""``sockreg listeners``: ordinary sockets and steered prefixes in one list."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from tests.kernel.host import Host, cookie


def row(text: str, local: str) -> str:
    """The only line about this address, with single blanks, and its remarks."""
    lines = text.splitlines()
    (at,) = (n for n, line in enumerate(lines) if line.split()[1:2] == [local])
    end = at + 1
    while end < len(lines) and lines[end].startswith("       "):
        end += 1
    return " ".join(" ".join(lines[at:end]).split())


def test_a_list_for_80_columns(host: Host) -> None:
    path = host.conf(
        "[web]",
        "Bind=tcp 192.0.2.0/24 80",
        "Bind=tcp 192.0.2.0/24 8000-8999 from 198.51.100.0/24",
        "Reject=tcp 192.0.2.9 *",
        "Pass=tcp 192.0.2.9 22",
        "[dns]",
        "Bind=udp 2001:db8::/64 53",
        "[shop]",
        "Bind=tcp 203.0.113.0/24 443 missing=pass",
    )
    host.ok("load")
    with (
        host.serve("web", "127.0.0.1", 8080) as web,
        host.namespace.serve("nginx", "0.0.0.0", 80) as nginx,
        host.namespace.serve("sshd", "192.0.2.9", 22) as sshd,
    ):
        told = host.run("listeners").out
        assert max(map(len, told.replace(str(host.root), "").splitlines())) <= 80
        assert told.splitlines()[0].split() == ["PROTO", "LOCAL", "SOCKET", "SERVED", "BY"]
        web_cookie = cookie(web.sock)
        assert row(told, "192.0.2.0/24:80") == f"tcp 192.0.2.0/24:80 {web_cookie} label web"
        assert row(told, "192.0.2.0/24:8000-8999").endswith("label web, from 198.51.100.0/24")
        assert row(told, "192.0.2.9:*") == "tcp 192.0.2.9:* - reject"
        assert "pass: ordinary lookup" in told
        assert row(told, "[2001:db8::/64]:53") == (
            f"udp [2001:db8::/64]:53 none label dns ! the label has no socket: refused ({path}:7)"
        )
        assert row(told, "203.0.113.0/24:443") == (
            "tcp 203.0.113.0/24:443 none label shop "
            f"! the label has no socket: left to ordinary lookup ({path}:9) "
            "! not local, so nothing arrives: ip route add local 203.0.113.0/24 dev lo "
            f"({path}:9)"
        )
        assert row(told, "127.0.0.1:8080").startswith(f"tcp 127.0.0.1:8080 {web_cookie} label web")
        plain = row(told, "0.0.0.0:80")
        assert plain.startswith(f"tcp 0.0.0.0:80 {cookie(nginx.sock)} ")
        assert f"! traffic to 192.0.2.0/24 goes to label web by {path}:2" in plain
        assert "192.0.2.9 " in plain
        # The pass rule is for its port alone.
        assert "!" not in told.split(cookie(sshd.sock))[1].splitlines()[0]
        assert host.ask("192.0.2.9", 22) == "sshd"


def test_shadows_are_what_clients_meet(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.7 80", "Bind=tcp 192.0.2.0/24 81-82 from 127.0.0.0/8")
    with (
        host.serve("web", "127.0.0.1", 8080),
        host.namespace.serve("one", "192.0.2.7", 80),
        host.namespace.serve("two", "192.0.2.7", 81),
        host.namespace.serve("three", "192.0.2.8", 80),
        host.namespace.serve("four", "::", 82),
    ):
        found = {
            it["local"]: [(it["prefix"], it["conditions"], it["whole"]) for it in it["shadows"]]
            for it in host.json("listeners")["listeners"]
        }
        assert found == {
            "127.0.0.1:8080": [],
            "192.0.2.7:80": [("192.0.2.7", "", True)],
            "192.0.2.7:81": [("192.0.2.0/24", "from 127.0.0.0/8", False)],
            "192.0.2.8:80": [],
            "[::]:82": [("192.0.2.0/24", "from 127.0.0.0/8", False)],
        }
        assert host.ask("192.0.2.7", 80) == "web"
        assert host.ask("192.0.2.7", 81) == "web"
        assert host.ask("192.0.2.7", 81, source="192.0.2.8") == "two"
        assert host.ask("192.0.2.8", 80) == "three"


def test_a_socket_is_not_in_its_own_shadow(host: Host) -> None:
    host.load("[ssh]", "Bind=tcp 192.0.2.0/24 22,2222", "Bind=tcp 192.0.2.9 22 missing=pass")
    with host.serve("ssh", "0.0.0.0", 22):
        (listener,) = host.json("listeners")["listeners"]
    assert listener["labels"] == ["ssh"]
    assert listener["shadows"] == []


def test_what_does_not_serve(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80", "Bind=tcp 192.0.2.0/24 81 dev lo")
    with host.namespace.listen("127.0.0.1", 8080) as sock, ExitStack() as clients:
        sock.listen(0)
        host.register([("web", sock)])
        client = clients.enter_context(host.namespace.new_socket(socket.AF_INET, 1))
        client.connect(("192.0.2.1", 80))
        told = host.ok("listeners")
        assert "its queue is full, 1 connection waits: no server accepts" in told
        host.ok("drain", "web")
        assert "the label's sockets are all drained: refused" in host.ok("listeners")
        host.ok("weight", "web", "1")
        sock.shutdown(socket.SHUT_RDWR)
        assert "the label's socket was shut down, but not closed: refused" in host.ok("listeners")


def test_several_sockets_and_one_protocol(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80", "Bind=udp 192.0.2.0/24 80")
    with (
        host.serve("web", "127.0.0.1", 8080, unit="web@a.socket"),
        host.serve("web", "127.0.0.1", 8081, unit="web@b.socket"),
    ):
        assert row(host.ok("listeners", "--tcp"), "192.0.2.0/24:80").split()[2:4] == [
            "2",
            "sockets",
        ]
        assert "udp" not in host.ok("listeners", "-t")
        assert "tcp" not in host.ok("listeners", "-u")


def test_without_a_registry(host: Host) -> None:
    with host.namespace.serve("plain", "127.0.0.1", 80):
        outcome = host.run("listeners")
    assert outcome.status == 0
    assert "127.0.0.1:80" in outcome.out
    assert outcome.err == "nothing is loaded in this network namespace: no rules\n"

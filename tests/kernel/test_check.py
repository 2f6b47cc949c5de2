"""``sockreg check`` on a real network namespace."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from sockreg.errors import EXIT_CONFIG, EXIT_OK
from tests.kernel.host import Host
from tests.netns import UDP


def kinds(host: Host, *arguments: str) -> list[str]:
    """The kinds of all findings, the gravest first."""
    outcome = host.run("--json", "check", *arguments)
    return [it["check"] for it in _findings(outcome.out)]


def _findings(text: str) -> list[dict[str, str]]:
    content = json.loads(text)
    assert content["schema"] == "sockreg.findings"
    return list(content["findings"])


def test_a_clean_host(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ok("check") == "nothing found\n"


def test_an_error_shows_in_the_status(host: Host) -> None:
    path = host.conf("[web]", "Bind=tcp 192.0.2.0/24 80", "Bind=tcp 203.0.113.0/24 80")
    host.ok("load")
    outcome = host.run("check")
    assert outcome.status == EXIT_CONFIG
    assert outcome.err == "sockreg: check: 2 errors\n"
    lines = outcome.out.splitlines()
    assert lines[0] == f"error (no-route): {path}:3"
    assert lines[1] == "  what no address of Bind=tcp 203.0.113.0/24 80 is local"
    told = " ".join(outcome.out.split())
    assert "fix ip route add local 203.0.113.0/24 dev lo; permanently" in told
    host.namespace.add_local("203.0.113.0/24")
    with host.serve("web", "127.0.0.1", 8080):
        assert host.run("check").status == EXIT_OK


def test_lines_fit_80_columns(host: Host) -> None:
    host.load("[web]", "Bind=tcp 203.0.113.0/24 *", "Reject=udp 192.0.2.0/24 *")
    told = host.run("check").out.replace(str(host.root), "")
    assert max(map(len, told.splitlines())) <= 80


def test_before_deployment(host: Host) -> None:
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80", "Bind=tcp 192.0.2.0/33 80")
    assert kinds(host, "--files") == ["syntax", "no-socket"]
    assert kinds(host) == ["syntax", "no-socket", "not-loaded"]
    assert not host.home.exists()


def test_after_an_edit(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 81")
    with host.serve("web", "127.0.0.1", 8080):
        assert kinds(host) == ["not-applied"]


def test_sockets_that_do_not_serve(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.namespace.listen("127.0.0.1", 8080) as sock:
        host.register([("web", sock)])
        assert kinds(host) == []
        sock.shutdown(socket.SHUT_RDWR)
        assert kinds(host) == ["dead-server"]


def test_listeners_in_the_shadow(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with (
        host.serve("web", "127.0.0.1", 8080),
        host.namespace.serve("plain", "192.0.2.7", 80),
    ):
        told = " ".join(host.ok("check").split())
        fix = told.partition("if you do not want this, add ")[2]
        assert host.ask("192.0.2.7", 80) == "web"
        host.apply("[web]", "Bind=tcp 192.0.2.0/24 80", fix)
        assert host.ask("192.0.2.7", 80) == "plain"
        assert kinds(host) == []


def test_answers_of_udp_servers(host: Host) -> None:
    host.load("[dns]", "Bind=udp 192.0.2.0/24 53")
    with host.serve("dns", "127.0.0.1", 53, UDP) as dns:
        assert kinds(host) == ["udp-address"]
        dns.sock.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO, linux/in.h
        assert kinds(host) == []
    with host.serve("dns", "127.0.0.1", 5300, UDP):
        assert kinds(host) == ["udp-port"]


def test_ssh(host: Host) -> None:
    host.namespace.add_address("198.51.100.1/24")
    host.load("[web]", "Bind=tcp 198.51.100.0/24 80")
    host.conf("[web]", "Reject=tcp 198.51.100.1 22")
    with host.namespace.serve("ssh", "0.0.0.0", 22):
        assert kinds(host) == ["ssh", "not-applied", "shadowed-listener"]


def test_many_findings_of_a_kind(host: Host) -> None:
    host.load("[web]", *(f"Bind=tcp 203.0.113.{n} 80" for n in range(25)))
    told = host.run("check").out
    assert told.count("error (no-route): /") == 10
    assert "error (no-route): 15 more, shown with --all" in told
    assert host.run("check", "--all").out.count("error (no-route): /") == 25


def test_it_changes_nothing(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.namespace.listen("127.0.0.1", 8080) as sock:
        host.register([("web", sock)])
        before = os.get_blocking(sock.fileno()), _state(host.home), host.ok("rules")
        host.run("check")
        assert before == (os.get_blocking(sock.fileno()), _state(host.home), host.ok("rules"))


def _state(home: Path) -> list[str]:
    return sorted(str(path) for path in home.rglob("*"))

"""Sockets that servers open themselves, taken while they run, and where packets land then."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.kernel.host import Host, cookie
from tests.kernel.opener import NOBODY, let_everybody_in, members, opener, unprivileged
from tests.netns import TCP, UDP
from tests.tree import ROOT

RULES = (
    "[web]",
    "Bind=tcp 192.0.2.0/24 80",
    "Bind=udp 192.0.2.0/24 80",
    "Bind=tcp 2001:db8::/64 80",
)


@pytest.fixture(autouse=True)
def _loaded(host: Host) -> None:
    host.load(*RULES)


def steered(host: Host, protocol: int = TCP) -> str:
    return host.ask("192.0.2.7", 80, protocol)


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_by_pid(host: Host, protocol: int) -> None:
    kind = "tcp" if protocol == TCP else "udp"
    with opener(host.namespace, "mine", f"{kind} 127.0.0.1 8080") as server:
        assert steered(host, protocol) == "refused"
        said = host.ok("register", "web", "--pid", str(server.pid))
        number = members(host)[f"web {kind} ipv4"][0]
        assert (
            f"label web: registered {kind} 127.0.0.1:8080 ({number}) for IPv4, from no unit" in said
        )
        assert steered(host, protocol) == "mine"
    assert steered(host, protocol) == "refused"
    assert members(host) == {}


def test_a_dual_stack_socket_serves_both_families(host: Host) -> None:
    with opener(host.namespace, "both", "tcp :: 8080") as server:
        host.ok("register", "web", "--pid", str(server.pid))
        assert steered(host) == "both"
        assert host.ask("2001:db8::7", 80) == "both"


def test_a_socket_for_each_family_on_one_port_is_one_service(host: Host) -> None:
    with opener(host.namespace, "pair", "tcp 0.0.0.0 8080", "tcp :: 8080 v6only") as server:
        host.ok("register", "web", "--pid", str(server.pid))
        assert set(members(host)) == {"web tcp ipv4", "web tcp ipv6"}
        assert steered(host) == "pair"
        assert host.ask("2001:db8::7", 80) == "pair"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--proto", "udp"], "udp 127.0.0.1:8080"),
        (["--local", "127.0.0.1:8080", "--proto", "tcp"], "tcp 127.0.0.1:8080"),
        (["--local", ":8081"], "tcp 127.0.0.1:8081"),
        (["--local", "[::1]:8082"], "tcp [::1]:8082"),
    ],
)
def test_one_of_several_is_chosen(host: Host, options: list[str], expected: str) -> None:
    words = ("tcp 127.0.0.1 8080", "udp 127.0.0.1 8080", "tcp 127.0.0.1 8081", "tcp ::1 8082")
    with opener(host.namespace, "many", *words) as server:
        said = host.ok("register", "web", "--pid", str(server.pid), *options)
        assert f"registered {expected} (sk:" in said
        assert len(members(host)) == 1


def test_it_waits_for_a_server_that_is_slow_to_listen(host: Host) -> None:
    """Registration starts before the server listens, with its socket already bound."""
    with opener(host.namespace, "slow", "bound 127.0.0.1 9090") as server:
        command = subprocess.Popen(
            host.command("register", "web", "--pid", str(server.pid), "--wait", "30"),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        with command:
            server.do("tcp 127.0.0.1 8080")
            assert command.wait(timeout=30) == 0
        assert steered(host) == "slow"


def test_one_socket_of_a_reuseport_group_is_enough(host: Host) -> None:
    """The kernel spreads over the group, whichever of its sockets was registered."""
    same = "tcp 127.0.0.1 8080 reuseport"
    with opener(host.namespace, "one", same, same) as one, opener(host.namespace, "two", same):
        host.ok("register", "web", "--pid", str(one.pid))
        assert [len(cookies) for cookies in members(host).values()] == [1]
        assert {steered(host) for _ in range(100)} == {"one", "two"}


def test_registering_again_and_a_restarted_server(host: Host) -> None:
    with opener(host.namespace, "first", "tcp 127.0.0.1 8080") as first:
        host.ok("register", "web", "--pid", str(first.pid))
        before = members(host)
        again = host.ok("register", "web", "--pid", str(first.pid))
        assert "is registered already" in again
        assert members(host) == before
    with opener(host.namespace, "second", "tcp 127.0.0.1 8080") as second:
        host.ok("register", "web", "--pid", str(second.pid))
        assert members(host) != before
        assert steered(host) == "second"


@pytest.mark.parametrize("text", ["sk:{:x}", "{:x}", "sk:{:X}"])
def test_by_cookie(host: Host, text: str) -> None:
    words = ("tcp 127.0.0.1 8080", "tcp 127.0.0.1 8081")
    with opener(host.namespace, "other", *words), host.namespace.listen("127.0.0.1", 8082) as mine:
        number = int(cookie(mine).removeprefix("sk:"), 16)
        host.ok("register", "web", "--cookie", text.format(number))
        assert members(host) == {"web tcp ipv4": [cookie(mine)]}


def test_with_a_weight_for_its_pool(host: Host) -> None:
    with (
        opener(host.namespace, "one", "tcp 127.0.0.1 8080") as one,
        opener(host.namespace, "two", "tcp 127.0.0.1 8081") as two,
    ):
        arguments = ["--unit", "one.service", "--weight", "100"]
        host.ok("register", "web", "--pid", str(one.pid), *arguments)
        arguments = ["--unit", "two.service", "--weight", "0"]
        host.ok("register", "web", "--pid", str(two.pid), *arguments)
        assert {steered(host) for _ in range(20)} == {"one"}
        arguments[-1] = "100"
        host.ok("register", "web", "--pid", str(two.pid), *arguments)
        assert {steered(host) for _ in range(100)} == {"one", "two"}


def test_by_the_cookie_that_status_shows(host: Host) -> None:
    """The circle closes: what status and inspect print can be given back to register."""
    with opener(host.namespace, "mine", "udp 127.0.0.1 8080") as server:
        host.ok("register", "spare", "--pid", str(server.pid))
        number = members(host)["spare udp ipv4"][0]
        host.ok("register", "web", "--cookie", number)
        assert steered(host, UDP) == "mine"


def test_a_real_server_that_knows_nothing_of_it(host: Host, tmp_path: Path) -> None:
    """nginx, whose sockets its master and its worker share."""
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr; user root; worker_processes 2;\n"
        "events {}\n"
        "http { access_log off;\n"
        "server { listen 127.0.0.1:8080; listen [::1]:8080;\n"
        '  location / { return 200 "nginx at $server_addr:$server_port"; } } }\n'
    )
    with host.namespace.entered():
        nginx = subprocess.Popen(["nginx", "-c", str(conf), "-e", "stderr"])
    try:
        host.ok("register", "web", "--pid", str(nginx.pid), "--local", ":8080")
        request = b"GET / HTTP/1.0\r\n\r\n"
        assert "nginx at 127.0.0.1:8080" in host.ask("192.0.2.7", 80, request=request)
        assert "nginx at ::1:8080" in host.ask("2001:db8::7", 80, request=request)
    finally:
        nginx.terminate()
        nginx.wait()
    assert steered(host) == "refused"


def test_the_socket_is_left_as_it_was(host: Host) -> None:
    """The duplicate shares O_NONBLOCK with the server, which must not notice."""
    for blocking in (True, False):
        with host.namespace.listen("127.0.0.1", 8080) as sock:
            sock.setblocking(blocking)
            host.ok("register", "web", "--pid", str(os.getpid()), "--local", ":8080")
            assert os.get_blocking(sock.fileno()) is blocking
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_as_the_user_of_the_server_without_any_privilege(host: Host) -> None:
    """Whoever may write the registry needs nothing more to register what is his own."""
    let_everybody_in(host)
    with opener(host.namespace, "his", "tcp 127.0.0.1 8080", before=NOBODY) as server:
        said = unprivileged(host, NOBODY, "register", "web", "--pid", str(server.pid))
        assert said.returncode == 0, said
        assert steered(host) == "his"

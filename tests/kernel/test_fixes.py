"""Fixes that ``check`` prints for rules and labels, done as they are printed, with a client before
and after. tests/fixes.py names what does each of them.
"""

from __future__ import annotations

import json
import re
import socket
from contextlib import ExitStack

import pytest

from sockreg.errors import EXIT_OK
from tests.kernel.host import Host
from tests.kernel.opener import opener
from tests.netns import TCP, UDP

ADDRESS = "192.0.2.7"


def fix(host: Host, kind: str) -> str:
    """The fix of the only finding of a kind."""
    found = json.loads(host.run("--json", "check").out)["findings"]
    (only,) = (it for it in found if it["check"] == kind)
    return str(only["fix"])


def kinds(host: Host) -> set[str]:
    return {it["check"] for it in json.loads(host.run("--json", "check").out)["findings"]}


def test_no_socket_for_a_label_with_a_typing_error(host: Host) -> None:
    host.load("[wbe]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask(ADDRESS, 80) == "refused"
        said = re.match(r"did you mean (\w+)\?", fix(host, "no-socket"))
        assert said is not None
        host.apply(f"[{said[1]}]", "Bind=tcp 192.0.2.0/24 80")
        assert host.ask(ADDRESS, 80) == "web"
        assert "no-socket" not in kinds(host)


def test_no_socket_at_all(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    assert host.ask(ADDRESS, 80) == "refused"
    assert "'sockreg register' for another server" in fix(host, "no-socket")
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask(ADDRESS, 80) == "web"
        assert kinds(host) == set()


def test_no_rules(host: Host) -> None:
    host.load("[other]")
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask(ADDRESS, 80) == "refused"
        said = re.search(r"'sockreg (bind web tcp PREFIX PORTS)'", fix(host, "no-rules"))
        assert said is not None
        host.ok(*said[1].replace("PREFIX", "192.0.2.0/24").replace("PORTS", "80").split())
        assert host.ask(ADDRESS, 80) == "web"
        assert kinds(host) == set()


NARROWER = {
    "removed": ["Bind=tcp 192.0.2.0/24 80"],
    "a longer prefix": ["Bind=tcp 192.0.2.0/24 80", "Reject=tcp 192.0.2.128/25 80"],
    "fewer ports": ["Bind=tcp 192.0.2.0/24 80", "Reject=tcp 192.0.2.0/24 80-81"],
    "from": ["Bind=tcp 192.0.2.0/24 80", "Reject=tcp 192.0.2.0/24 80 from 198.51.100.0/24"],
    "dev": ["Bind=tcp 192.0.2.0/24 80", "Reject=tcp 192.0.2.0/24 80 dev eth0"],
}


def test_a_tie(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80", "Reject=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080):
        for way, lines in NARROWER.items():
            host.conf("[web]", "Bind=tcp 192.0.2.0/24 80", "Reject=tcp 192.0.2.0/24 80")
            said = fix(host, "tie")
            assert (
                said == "remove one of them, or narrow one: a longer prefix, fewer ports, from, dev"
            )
            assert way == "removed" or way in said
            host.apply("[web]", *lines)
            assert host.ask(ADDRESS, 80) == "web", way
            assert "tie" not in kinds(host)


def test_a_line_that_is_wrong(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/33 80")
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask(ADDRESS, 80) == "refused"
        assert fix(host, "syntax") == "correct it, then run 'sockreg apply --check'"
        host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
        assert "+ bind web: tcp 192.0.2.0/24 80" in host.run("apply", "--check").text
        assert fix(host, "not-applied").endswith("sockreg apply applies them")
        host.ok("apply")
        assert host.ask(ADDRESS, 80) == "web"
        assert kinds(host) == set()


def test_a_line_that_is_read_differently(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.1/24 80")
    with host.serve("web", "127.0.0.1", 8080):
        found = json.loads(host.run("--json", "check").out)["findings"]
        (only,) = (it for it in found if it["check"] == "read-as")
        assert only["fix"] == "write the line as it is read"
        (prefix,) = re.findall(r"read as ([0-9./]+)", only["what"]) or ["192.0.2.0/24"]
        before = host.ask(ADDRESS, 80)
        host.apply("[web]", f"Bind=tcp {prefix} 80")
        assert host.ask(ADDRESS, 80) == before == "web"
        assert kinds(host) == set()


def test_a_set_that_nothing_names(host: Host) -> None:
    sets = ["[:prefixes]", "office=192.0.2.0/24"]
    host.load(*sets, "[web]", "Bind=tcp @lost,192.0.2.1 80", "[:prefixes]", "lost=")
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask("192.0.2.9", 443) == "refused"
        (line,) = re.findall(r"'Bind=(.*)'", fix(host, "unused-set"))
        host.apply(*sets, "[web]", f"Bind={line}")
        assert host.ask("192.0.2.9", 443) == "web"
        assert "unused-set" not in kinds(host)
        host.apply("[web]", "Bind=tcp 192.0.2.1 80")
        assert "unused-set" not in kinds(host)


def test_a_rule_that_never_wins(host: Host) -> None:
    wide, halves = "Bind=tcp 192.0.2.0/24 80", ["Reject=tcp 192.0.2.0/25 80-81"]
    halves += ["Reject=tcp 192.0.2.128/25 80-81"]
    host.load("[web]", wide, *halves)
    with host.serve("web", "127.0.0.1", 8080):
        assert fix(host, "never-wins") == "remove it, or the others"
        before = host.ask(ADDRESS, 80)
        host.apply("[web]", *halves)
        assert host.ask(ADDRESS, 80) == before == "refused"
        assert "never-wins" not in kinds(host)
        host.apply("[web]", wide)
        assert host.ask(ADDRESS, 80) == "web"
        assert "never-wins" not in kinds(host)


def test_a_rule_for_an_interface_that_is_not_there(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80 dev l0")
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask(ADDRESS, 80) == "refused"
        assert fix(host, "no-interface").startswith("correct the name")
        host.apply("[web]", "Bind=tcp 192.0.2.0/24 80 dev lo")
        assert host.ask(ADDRESS, 80) == "web"
        assert "no-interface" not in kinds(host)


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize(
    ("rule", "address"),
    [("192.0.2.0/24 80", ADDRESS), ("192.0.2.7 *", ADDRESS), ("192.0.2.0/24 79-81", "0.0.0.0"),
     ("192.0.2.0/24 79-81 from 127.0.0.0/8", "0.0.0.0"), ("192.0.2.7 79-80 dev lo", ADDRESS)],
)  # fmt: skip
def test_an_ordinary_listener_in_the_shadow(
    host: Host, protocol: int, rule: str, address: str
) -> None:
    name = "tcp" if protocol == TCP else "udp"
    lines = ("[web]", f"Bind={name} {rule}")
    host.load(*lines)
    with (
        host.serve("web", "127.0.0.1", 8080, protocol),
        host.namespace.serve("plain", address, 80, protocol),
    ):
        assert host.ask(ADDRESS, 80, protocol) == "web"
        said = fix(host, "shadowed-listener").removeprefix("if you do not want this, add ")
        host.apply(*lines, said)
        assert host.ask(ADDRESS, 80, protocol) == "plain"
        assert "shadowed-listener" not in kinds(host)


@pytest.mark.parametrize(
    ("rule", "address"),
    [("192.0.2.7 80", ADDRESS), ("192.0.2.0/24 80", "0.0.0.0"), ("0.0.0.0/0 80", "0.0.0.0"),
     ("192.0.2.7 80 from 127.0.0.0/8", ADDRESS), ("192.0.2.0/24 80 dev lo", "0.0.0.0")],
)  # fmt: skip
def test_an_ordinary_listener_that_no_other_rule_can_help(
    host: Host, rule: str, address: str
) -> None:
    """A Pass= line for the same addresses and port would tie, or lose."""
    matched, _, conditions = rule.partition(" 80")
    host.load("[web]", f"Bind=tcp {matched} 80,443{conditions}")
    with host.serve("web", "127.0.0.1", 8080), host.namespace.serve("plain", address, 80):
        assert host.ask(ADDRESS, 80) == "web"
        said = fix(host, "shadowed-listener").removeprefix("if you do not want this, ")
        assert said == "take port 80 out of the rule, or remove it"
        host.apply("[web]", f"Bind=tcp {matched} 443{conditions}")
        assert (host.ask(ADDRESS, 80), host.ask(ADDRESS, 443)) == ("plain", "web")
        assert "shadowed-listener" not in kinds(host)


def test_a_rule_for_the_port_of_ssh_alone(host: Host) -> None:
    host.namespace.add_address("198.51.100.1/24")
    with host.namespace.serve("ssh", "0.0.0.0", 22):
        host.load("[web]")
        host.conf("[web]", "Bind=tcp 198.51.100.1 22,80")
        said = host.run("apply").text
        assert "to keep the port open, take port 22 out of the rule, or remove it" in said
        assert fix(host, "ssh").startswith("take port 22 out of the rule, or remove it; to try")
        host.apply("[web]", "Bind=tcp 198.51.100.1 80")
        assert host.ask("198.51.100.1", 22) == "ssh"
        assert "ssh" not in kinds(host)


def test_later_binds(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.7 *")
    with host.namespace.listen("127.0.0.1", 8080) as sock, ExitStack() as stack:
        host.register([("web", sock)])
        assert fix(host, "later-binds") == (
            "start servers that bind there earlier, or pass their ports with Pass="
        )

        def connected(port: int) -> None:
            client = stack.enter_context(host.namespace.new_socket(2, socket.SOCK_STREAM))
            client.connect((ADDRESS, port))

        def bind(port: int) -> None:
            late = stack.enter_context(host.namespace.new_socket(2, socket.SOCK_STREAM))
            late.bind((ADDRESS, port))
            late.listen()

        bind(81)  # earlier
        host.conf("[web]", "Bind=tcp 192.0.2.7 *", "Pass=tcp 192.0.2.7 82")
        connected(80)
        stack.enter_context(sock.accept()[0])
        with pytest.raises(OSError, match="Address already in use"):
            bind(80)
        host.ok("apply")
        with pytest.raises(ConnectionRefusedError):
            connected(82)
        bind(82)
        connected(82)


def test_rules_that_take_the_answers_of_this_hosts_clients(host: Host) -> None:
    """A resolver that asks from an unconnected socket."""
    host.load("[web]", "Bind=udp 192.0.2.0/24 *")
    with (
        host.serve("web", "127.0.0.1", 8080, UDP),
        host.namespace.serve("resolver", "127.0.0.53", 53, UDP),
    ):
        assert host.namespace.ask("127.0.0.53", 53, UDP, source=ADDRESS, timeout=1) == "timeout"
        said = fix(host, "client-ports")
        assert said.startswith("keep UDP rules off these ports, or off the addresses")
        for rule in ("Bind=udp 192.0.2.0/24 1-32767", "Bind=udp 192.0.2.64/26 *"):
            host.apply("[web]", rule)
            assert host.namespace.ask("127.0.0.53", 53, UDP, source=ADDRESS) == "resolver"
            assert host.ask("192.0.2.65", 80, UDP) == "web"


def test_rules_that_last_and_rules_that_do_not(host: Host) -> None:
    host.load("[other]")
    rule = ["web", "tcp", "192.0.2.0/24", "80"]
    with host.serve("web", "127.0.0.1", 8080), host.serve("new", "127.0.0.1", 8081):
        host.ok("bind", *rule)
        again = ["bind", "new", *rule[1:], "--runtime", "--replace"]
        said = host.run(*again).err
        assert "leave out --runtime, or remove the lasting rule first: 'sockreg unbind'" in said
        assert host.ask(ADDRESS, 80) == "web"
        host.ok("unbind", *rule)
        host.ok(*again)
        assert host.ask(ADDRESS, 80) == "new"


def test_no_generation_to_go_back_to(host: Host) -> None:
    host.load("[web]")
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve("web", "127.0.0.1", 8080):
        said = re.search(r"'sockreg (\w+)' puts the configured rules", host.run("rollback").err)
        assert said is not None
        host.ok(said[1])
        assert host.ask(ADDRESS, 80) == "web"


def test_a_server_that_accepts_no_more(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.namespace.listen("127.0.0.1", 8080) as sock:
        host.register([("web", sock)])
        sock.shutdown(socket.SHUT_RDWR)
        assert host.ask(ADDRESS, 80) == "refused"
        assert fix(host, "dead-server").startswith("restart its server")
    with host.serve("web", "127.0.0.1", 8080):
        assert host.ask(ADDRESS, 80) == "web"
        assert kinds(host) == set()


def test_replies_from_another_port(host: Host) -> None:
    host.load("[web]", "Bind=udp 192.0.2.0/24 80")
    with host.namespace.new_socket(2, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.connect((ADDRESS, 80))
        client.settimeout(1)
        with host.serve("web", "192.0.2.7", 8080, UDP):
            client.send(b"?")
            with pytest.raises(TimeoutError):
                client.recv(9)
            assert fix(host, "udp-port").endswith("listen on the port of the rule")
        client.settimeout(5)
        with host.serve("web", "192.0.2.7", 80, UDP):
            client.send(b"?")
            assert client.recv(9) == b"web"
            assert "udp-port" not in kinds(host)


def test_a_server_with_mptcp(host: Host) -> None:
    """It makes an ordinary socket then, as a Go server does with that setting."""
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with opener(host.namespace, "web", "mptcp 127.0.0.1 8080") as server:
        assert fix(host, "mptcp").startswith("set GODEBUG=multipathtcp=0 for a Go server")
        assert (
            host.run("register", "web", "--wait", "0", "--pid", str(server.pid)).status != EXIT_OK
        )
        assert host.ask(ADDRESS, 80) == "refused"
    with opener(host.namespace, "web", "tcp 127.0.0.1 8080") as server:
        host.ok("register", "web", "--pid", str(server.pid))
        assert host.ask(ADDRESS, 80).startswith("web")
        assert "mptcp" not in kinds(host)

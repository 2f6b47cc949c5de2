"""``check --probe`` connects from a network namespace of its own, and says what a client gets."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from sockreg.check import probe
from sockreg.errors import EXIT_CONFIG, EXIT_OK
from tests.kernel import privileges
from tests.kernel.host import Host, Outcome
from tests.kernel.test_queues import wait_until
from tests.tree import ROOT

ADDRESS = "192.0.2.1"
RULES = ("[web]", "Bind=tcp 192.0.2.0/24 80", "Bind=tcp 2001:db8::/64 80")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_LONGER", 1.0)


@pytest.fixture
def served(host: Host) -> Iterator[Host]:
    host.load(*RULES)
    with host.serve("web", "::", 8080):
        yield host


def of_clients(outcome: Outcome) -> list[Any]:
    findings = json.loads(outcome.out)["findings"]
    return [it for it in findings if it["check"] == "tcp-client"]


def visited(host: Host) -> tuple[int, list[Any]]:
    """The exit status, and what was found out about clients of TCP."""
    outcome = host.run("--json", "check", "--probe", "--all")
    return outcome.status, of_clients(outcome)


@contextmanager
def filtered(host: Host, *rule: str) -> Iterator[None]:
    """With a rule of nft in the input chain."""
    host.namespace.run("nft", "add table inet t")
    chain = "{ type filter hook input priority 0; policy accept; }"
    host.namespace.run("nft", f"add chain inet t in {chain}")
    host.namespace.run("nft", f"add rule inet t in {' '.join(rule)}")
    try:
        yield
    finally:
        host.namespace.run("nft", "delete table inet t")


def interfaces(host: Host) -> list[str]:
    with host.namespace.entered():
        return [name for _, name in socket.if_nameindex()]


def test_a_client_gets_a_connection(served: Host) -> None:
    before = interfaces(served)
    status, found = visited(served)
    assert status == EXIT_OK
    assert [it["what"] for it in found] == [
        f"Bind=tcp 192.0.2.0/24 80: a client that connects to {ADDRESS}:80 gets a connection",
        "Bind=tcp 2001:db8::/64 80: a client that connects to [2001:db8::1]:80 gets a connection",
    ]
    assert {it["severity"] for it in found} == {"note"}
    assert interfaces(served) == before, "nothing is left"
    # Its packets met the rules.
    assert served.counters("web") == (1, 0, 0)


def test_what_a_packet_filter_does_is_seen_and_what_is_said_helps(served: Host) -> None:
    with filtered(served, "ip daddr 192.0.2.0/24 tcp dport 80 drop"):
        assert served.ask(ADDRESS, 80) == "timeout"
        status, found = visited(served)
        lost, fine = found
        assert (lost["severity"], fine["severity"]) == ("warning", "note")
        assert lost["what"].endswith(f"connects to {ADDRESS}:80 gets no answer")
        command = lost["fix"].split("'")[1]
        assert command == f"sockreg explain tcp {ADDRESS} 80"
        assert "nft" in served.ok(*command.split()[1:])
    with filtered(served, "tcp dport 80 reject with tcp reset"):
        status, found = visited(served)
        assert status == EXIT_CONFIG
        assert {it["severity"] for it in found} == {"error"}
        assert found[0]["what"].endswith("is refused")
        assert "nft" in served.ok(*found[0]["fix"].split("'")[1].split()[1:])
    assert {it["severity"] for it in visited(served)[1]} == {"note"}


def test_a_server_that_hangs_up(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.namespace.listen("127.0.0.1", 8080) as sock:
        host.register([("web", sock)])
        sock.settimeout(30)

        def hang_up() -> None:
            sock.accept()[0].close()

        hangs_up = threading.Thread(target=hang_up)
        hangs_up.start()
        _, (found,) = visited(host)
        hangs_up.join()
    assert found["severity"] == "warning"
    assert found["what"].endswith("gets a connection that is closed at once")
    # The log of the server, which is this test, says it: it hangs up.
    assert found["fix"].startswith("look at the log of the server")


def test_a_queue_that_is_full(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with host.namespace.listen("127.0.0.1", 8080) as sock, ExitStack() as clients:
        sock.listen(0)
        host.register([("web", sock)])
        for _ in range(3):
            client = clients.enter_context(host.namespace.new_socket(socket.AF_INET, 1))
            client.setblocking(False)
            client.connect_ex((ADDRESS, 80))
        _, (found,) = visited(host)
        assert found["what"].endswith("gets no answer")
        assert found["fix"].endswith("and 'sockreg check' a queue that stays full")
        assert "the queue of socket" in host.run("check").out


def test_rules_that_no_such_client_meets_are_not_tried(host: Host) -> None:
    host.load(
        "[web]",
        "Bind=tcp 198.51.100.0/24 80",  # not local
        "Bind=tcp 192.0.2.0/24 81 dev lo",
        "Bind=tcp 192.0.2.0/24 82 from 203.0.113.0/24",
    )
    host.namespace.run("ip", "route", "del", "local", "198.51.100.0/24", "dev", "lo", check=False)
    with host.serve("web", "127.0.0.1", 8080):
        assert visited(host)[1] == []


def test_a_host_that_uses_these_addresses_is_left_alone(served: Host) -> None:
    served.namespace.run("ip", "route", "add", "unreachable", "198.18.0.0/15")
    _, (found,) = visited(served)
    assert found["severity"] == "note"
    assert found["why"] == "the addresses of 198.18.0.0/15 are in use here"
    served.namespace.run("ip", "route", "del", "unreachable", "198.18.0.0/15")
    assert len(visited(served)[1]) == 2


def test_it_takes_root(served: Host) -> None:
    (found,) = of_clients(privileges.run(served, "", "--json", "check", "--probe", "--all"))
    assert found["severity"] == "note"
    assert found["what"] == "what a client of TCP gets was not tried"
    assert found["why"] == "a network namespace of its own takes root"
    assert found["fix"].startswith("run 'sockreg check --probe' as root")
    assert len(visited(served)[1]) == 2


def test_nothing_is_left_if_it_is_killed(served: Host) -> None:
    before = interfaces(served)
    with filtered(served, "tcp dport 80 drop"):  # so that it waits
        process = subprocess.Popen(
            served.command("check", "--probe"), stdout=subprocess.DEVNULL, cwd=ROOT
        )
        wait_until(lambda: interfaces(served) != before)
        process.kill()
        process.wait()
    wait_until(lambda: interfaces(served) == before)

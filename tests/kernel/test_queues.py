"""Queues of members: what waits for a server, what did not fit, and who is named for it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sockreg.errors import EXIT_OK
from tests.exposition import samples
from tests.kernel.host import Host
from tests.netns import TCP, UDP
from tests.terminal import on_terminal
from tests.tree import ROOT

ADDRESS = "192.0.2.7"
RULES = ["[web]", "Bind=tcp 192.0.2.0/24 80", "Bind=udp 192.0.2.0/24 80"]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def queue(host: Host, protocol: str = "tcp", unit: str = "-") -> Any:
    """What status shows of a member."""
    return next(
        member["queue"]
        for destination in host.json("status")["destinations"]
        if destination["protocol"] == protocol
        for member in destination["members"]
        if member["unit"] == unit
    )


def findings(host: Host) -> list[Any]:
    outcome = host.run("--json", "check")
    return [it for it in json.loads(outcome.out)["findings"] if it["check"] == "full-queue"]


@contextmanager
def clients(host: Host, many: int) -> Iterator[list[socket.socket]]:
    """So many that want to connect, whether there is room for them or not."""
    with ExitStack() as stack:
        opened = []
        for _ in range(many):
            client = stack.enter_context(host.namespace.new_socket(socket.AF_INET, 1))
            client.setblocking(False)
            client.connect_ex((ADDRESS, 80))
            opened.append(client)
        yield opened


def test_a_server_that_does_not_accept_is_named(host: Host) -> None:
    host.load(*RULES)
    with host.namespace.listen("127.0.0.1", 8080) as sock:
        sock.listen(3)
        host.register([("web", sock)])
        assert queue(host) == {"waiting": 0, "limit": 3, "dropped": 0, "full": False}
        assert "QUEUE" not in host.ok("status")
        with clients(host, 2):
            assert queue(host) == {"waiting": 2, "limit": 3, "dropped": 0, "full": False}
            assert findings(host) == []
            while queue(host)["waiting"]:
                sock.accept()[0].close()
        with clients(host, 8):
            wait_until(lambda: queue(host)["dropped"])
            seen = queue(host)
            assert (seen["waiting"], seen["limit"], seen["full"]) == (4, 3, True)
            told = host.ok("status")
            assert "QUEUE  DROPPED" in told
            assert "web (tcp, ipv4): the queue of - is full: 4 connections wait, " in told
            (found,) = findings(host)
            assert found["severity"] == "error"
            assert "of label web stays full: 4 connections wait, " in found["what"]
            assert found["why"] == "its server accepts nothing, or next to nothing: clients hang"
            measured = {it.name: it.value for it in samples(host.ok("metrics"))}
            assert measured["sockreg_member_queue"] == 4
            assert measured["sockreg_member_queue_limit"] == 3
            assert measured["sockreg_member_queue_full"] == 1
            assert measured["sockreg_member_queue_dropped_total"] >= seen["dropped"]
            with on_terminal(host.command("top", "--interval", "0.2"), cwd=ROOT) as terminal:
                terminal.wait(lambda lines: any(" 4/3 " in line for line in lines))
                terminal.press("q")
                assert terminal.ended() == EXIT_OK
        # It accepts again, and what was lost stays known.
        sock.setblocking(False)

        def is_empty() -> bool:
            while queue(host)["waiting"]:
                try:
                    sock.accept()[0].close()
                except BlockingIOError:
                    return False
            return True

        wait_until(is_empty)
        assert queue(host)["full"] is False
        assert queue(host)["dropped"] >= 4
        assert findings(host) == []


def test_a_server_that_is_too_slow(host: Host) -> None:
    host.load(*RULES)
    stop = threading.Event()
    slow: list[Any] = []

    def come() -> None:
        """New clients, as long as nobody says stop."""
        while not stop.is_set():
            with clients(host, 12):
                stop.wait(0.5)

    def accept(sock: socket.socket) -> None:
        while not stop.wait(0.4):
            sock.accept()[0].close()

    with (
        host.namespace.serve("quick", "127.0.0.1", 8081) as quick,
        host.namespace.listen("127.0.0.1", 8080) as sock,
    ):
        sock.listen(3)
        host.register([("web", sock)], unit="web@1.socket")
        with ExitStack() as running, clients(host, 64):
            wait_until(lambda: queue(host, unit="web@1.socket")["full"])
            one = threading.Thread(target=accept, args=(sock,))
            one.start()
            running.callback(one.join)
            running.callback(stop.set)
            other = threading.Thread(target=come)
            other.start()
            running.callback(other.join)
            running.callback(stop.set)

            def is_said() -> bool:
                slow[:] = findings(host)
                return "more slowly" in str(slow)

            wait_until(is_said)
            # What it advises.
            assert "add members to the label, or lower the weight of this one" in slow[-1]["fix"]
            host.register([("web", quick.sock)], unit="web@2.socket")
            host.ok("weight", "--unit", "web@1.socket", "web", "1")
            wait_until(lambda: findings(host) == [])
    assert slow[-1]["severity"] == "warning"
    assert slow[-1]["why"] == "its server accepts more slowly than they come: clients hang"


def test_datagrams_that_nobody_reads(host: Host) -> None:
    host.load(*RULES)
    with (
        host.namespace.listen("127.0.0.1", 8080, UDP) as sock,
        host.namespace.new_socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        host.register([("web", sock)])
        empty = queue(host, "udp")
        assert (empty["waiting"], empty["limit"], empty["full"]) == (0, 16384, False)
        for _ in range(60):
            client.sendto(b"x", (ADDRESS, 80))
        seen = queue(host, "udp")
        assert seen["full"]
        assert 0 < seen["dropped"] < 60
        assert seen["waiting"] > 14000
        assert "/16K wait, " in host.ok("status")
        (found,) = findings(host)
        assert "16K/16K wait" in found["what"] or "15K/16K wait" in found["what"]
        assert found["why"] == "its server reads nothing, or next to nothing: datagrams are lost"
        sock.setblocking(False)
        for _ in range(60 - seen["dropped"]):
            sock.recv(9)
        assert findings(host) == []
        assert queue(host, "udp")["dropped"] == seen["dropped"]


def test_one_of_a_reuseport_group_that_hangs(host: Host) -> None:
    """The kernel gives it its share of the connections all the same."""
    host.load(*RULES)
    with (
        host.namespace.serve("web", "127.0.0.1", 8080, reuseport=True) as works,
        host.namespace.listen("127.0.0.1", 8080, TCP, reuseport=True) as hangs,
    ):
        hangs.listen(1)
        host.register([("web", works.sock), ("web", hangs)], unit="web.socket")
        with clients(host, 40):
            wait_until(lambda: queue(host, unit="web.socket")["full"])
            seen = queue(host, unit="web.socket")
            assert seen["limit"] == 4097
            (found,) = findings(host)
            assert "2 connections wait" in found["what"]


def test_a_member_that_hangs_is_drained_and_restarted(host: Host) -> None:
    """What check advises."""
    host.load(*RULES)
    with host.namespace.serve("good", "127.0.0.1", 8081) as good, ExitStack() as stack:
        hangs = stack.enter_context(host.namespace.listen("127.0.0.1", 8080))
        hangs.listen(0)
        host.register([("web", hangs)], unit="web@1.socket")
        host.register([("web", good.sock)], unit="web@2.socket")
        with clients(host, 30):
            wait_until(lambda: queue(host, unit="web@1.socket")["full"])
            (found,) = findings(host)
            assert found["fix"].startswith("restart its server; in a pool, 'sockreg drain' keeps")
            host.ok("drain", "web", "web@1.socket")
            assert {host.ask(ADDRESS, 80) for _ in range(20)} == {"good"}
        hangs.close()
        again = stack.enter_context(host.namespace.serve("again", "127.0.0.1", 8080))
        host.register([("web", again.sock)], unit="web@1.socket")
        host.ok("weight", "--unit", "web@1.socket", "web", "100")
        assert findings(host) == []
        assert {host.ask(ADDRESS, 80) for _ in range(60)} == {"good", "again"}

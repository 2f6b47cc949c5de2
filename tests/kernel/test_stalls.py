"""``Drain=stalled``: a member whose server hangs gets no new flows until it accepts again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sockreg.commands import stalls
from sockreg.errors import EXIT_OK, EXIT_USAGE
from sockreg.systemd import journal
from tests.kernel.dying import deaths
from tests.kernel.host import Host
from tests.kernel.test_queues import wait_until
from tests.netns import Server

ADDRESS = "192.0.2.7"
UNITS = "etc/systemd/system"


def write_unit(host: Host, number: int, *lines: str) -> None:
    path = Path(host.root, UNITS, f"web{number}.socket")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = ["[Socket]", f"ListenStream=127.0.0.1:{8080 + number}", "FileDescriptorName=web"]
    text += ["[X-Sockreg]", "Weight=100", *lines]
    path.write_text("\n".join(text) + "\n")


class Pool:
    """``web1.socket`` hangs, ``web2.socket`` serves."""

    def __init__(self, host: Host, hangs: socket.socket, good: Server) -> None:
        self.host, self.hangs, self.good = host, hangs, good

    def member(self, number: int) -> Any:
        (destination,) = self.host.json("status")["destinations"]
        return next(m for m in destination["members"] if m["unit"] == f"web{number}.socket")

    def look(self) -> list[str]:
        self.host.ok("drain", "--stalled")
        ids = {journal.STALLED, journal.ACCEPTS}
        entries = [e for e in self.host.entries() if e["MESSAGE_ID"][0] in ids]
        return [entry["MESSAGE"][0] for entry in entries]

    @contextmanager
    def clients(self, many: int = 40) -> Iterator[None]:
        with ExitStack() as stack:
            for _ in range(many):
                client = stack.enter_context(self.host.namespace.new_socket(socket.AF_INET, 1))
                client.setblocking(False)
                client.connect_ex((ADDRESS, 80))
            wait_until(lambda: self.member(1)["queue"]["full"])
            yield

    def accept(self) -> None:
        self.hangs.setblocking(False)

        def is_empty() -> bool:
            while True:
                try:
                    self.hangs.accept()[0].close()
                except BlockingIOError:
                    return not self.member(1)["queue"]["waiting"]

        wait_until(is_empty)

    def answers(self) -> set[str]:
        return {self.host.ask(ADDRESS, 80) for _ in range(40)}


@pytest.fixture
def pool(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setattr(stalls, "_BETWEEN", 0.2)
    write_unit(host, 1, "Drain=stalled")
    write_unit(host, 2, "Drain=stalled")
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    for number in (1, 2):
        host.ok("apply", "--start", f"web{number}.socket")
    with (
        host.namespace.listen("127.0.0.1", 8081) as hangs,
        host.namespace.serve("good", "127.0.0.1", 8082) as good,
    ):
        hangs.listen(2)
        for number, sock in ((1, hangs), (2, good.sock)):
            outcome = host.register([("web", sock)], unit=f"web{number}.socket")
            assert outcome.status == EXIT_OK, outcome.text
        yield Pool(host, hangs, good)


def test_a_member_that_hangs_gets_nothing_new_until_it_accepts(pool: Pool) -> None:
    assert pool.look() == []
    with pool.clients():
        (told,) = pool.look()
        assert "of web1.socket is stalled, and gets nothing new: its queue is full: 3 conn" in told
        assert pool.answers() == {"good"}
        member = pool.member(1)
        assert (member["stalled"], member["weight"]) == (True, 100)
        assert "web1.socket is stalled, and gets nothing new" in pool.host.ok("status")
        assert "sockreg_member_stalled{" in pool.host.ok("metrics")
        assert "stalled: gets nothing new" in pool.host.ok("report")
        assert pool.look() == []
    assert pool.look() == []  # its clients have gone, but it has accepted none of them
    pool.accept()
    (told,) = pool.look()
    assert "of web1.socket gets new flows again, with weight 100" in told
    assert not pool.member(1)["stalled"]


def test_it_is_never_the_last_one(pool: Pool) -> None:
    pool.host.ok("drain", "web", "web2.socket")
    with pool.clients():
        assert pool.look() == []
        pool.host.ok("weight", "--unit", "web2.socket", "web", "100")
        assert len(pool.look()) == 1
        assert pool.answers() == {"good"}
        # The other one leaves: the stalled one gets its flows at once, without another look.
        pool.host.ok("drain", "web", "web2.socket")
        pool.accept()
        client = pool.host.namespace.new_socket(socket.AF_INET, 1)
        with client:
            client.settimeout(10)
            client.connect((ADDRESS, 80))
            wait_until(lambda: pool.member(1)["queue"]["waiting"])
        assert "gets new flows again" in str(pool.look())


def test_an_operators_word_holds(pool: Pool) -> None:
    host = pool.host
    with pool.clients():
        host.ok("drain", "web", "web1.socket")
        assert pool.look() == []
        assert (pool.member(1)["weight"], pool.member(1)["stalled"]) == (0, False)
        host.ok("weight", "--unit", "web1.socket", "web", "100")
        assert len(pool.look()) == 1
        # Drained while it was stalled: it stays drained when it accepts again.
        host.ok("drain", "web", "web1.socket")
        pool.accept()
        assert pool.look() == []
        assert pool.member(1)["weight"] == 0
        assert pool.answers() == {"good"}


def test_without_the_key_nothing_is_taken_out(pool: Pool) -> None:
    host = pool.host
    with pool.clients():
        assert len(pool.look()) == 1
        write_unit(host, 1, "Drain=never")
        host.ok("apply")
        assert "gets new flows again" in str(pool.look())
        assert pool.look() == []
        write_unit(host, 1, "Drain=maybe")
        assert "Drain=maybe: expected stalled or never" in host.run("apply").err
        host.fails(EXIT_USAGE, "drain", "--stalled", "web")
        host.fails(EXIT_USAGE, "drain")


def test_it_registers_again(pool: Pool) -> None:
    host = pool.host
    with pool.clients():
        assert len(pool.look()) == 1
        with host.namespace.serve("new", "127.0.0.1", 0) as new:
            assert host.register([("web", new.sock)], unit="web1.socket").status == EXIT_OK
            assert not pool.member(1)["stalled"]
            assert pool.answers() == {"good", "new"}


def test_a_death_at_any_moment_is_healed_by_the_next_look(pool: Pool) -> None:
    host = pool.host
    with pool.clients():
        for _ in deaths(lambda: host.ok("drain", "--stalled")):
            pool.look()
            assert pool.member(1)["stalled"]
            assert pool.answers() == {"good"}
            host.ok("weight", "--unit", "web1.socket", "web", "100")
            assert not pool.member(1)["stalled"]


@pytest.mark.long
def test_a_death_on_its_way_back_is_healed_too(pool: Pool) -> None:
    host = pool.host
    with pool.clients():
        pool.look()
        pool.accept()

    for _ in deaths(lambda: host.ok("drain", "--stalled")):
        pool.look()
        assert not pool.member(1)["stalled"]
        with pool.clients():  # it gets so many that its queue is full
            pool.look()
            assert pool.member(1)["stalled"]
        pool.accept()

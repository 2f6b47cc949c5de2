"""Sockets that other processes pass over a UNIX socket: what is registered, what is answered."""

from __future__ import annotations

import os
import random
import resource
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sockreg.errors import (
    EXIT_CONFIG,
    EXIT_FAILURE,
    EXIT_OK,
    EXIT_PERMISSION,
    EXIT_REFUSED,
    EXIT_USAGE,
    SockregError,
)
from sockreg.receive import connection as receiver
from sockreg.receive import protocol
from sockreg.receive.peer import Peer
from sockreg.registry.destinations import read_destinations
from sockreg.registry.maps import Maps
from sockreg.registry.slots import cookie_in
from tests.kernel.host import Host, cookie
from tests.netns import TCP, UDP, Namespace
from tests.process import run
from tests.servers.passing import pass_socket
from tests.tree import ROOT

RULES = ("[web]", "Bind=tcp 127.0.0.1 80", "Bind=udp 127.0.0.1 80", "Bind=tcp ::1 80")


@pytest.fixture
def loaded(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(receiver, "_PATIENCE", 0.1)  # s; peers that stop halfway are many here
    host.load(*RULES)
    return host


Message = tuple[bytes, Sequence[int]]


class Served:
    """What a request ended with, and what the peer got to read."""

    def __init__(self, host: Host, *messages: Message, uid: int = 0) -> None:
        # The kernel notes whose it is when it is made.
        os.seteuid(uid)
        try:
            peer, connection = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        finally:
            os.seteuid(0)
        with peer, connection:
            for text, fds in messages:
                socket.send_fds(peer, [text], list(fds))
            self.status = receiver.serve(connection, str(host.bpffs), str(host.root))
            connection.close()
            self.answer = peer.recv(4096).decode()


def open_descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"), key=int)


def registered(host: Host) -> dict[tuple[str, int, int], int | None]:
    """Every destination with the cookie in its slot."""
    with Maps(str(host.registry)) as maps:
        return {
            (label, family, protocol): cookie_in(maps, slot)
            for (label, family, protocol, _), slot in read_destinations(maps).items()
        }


def refused(host: Host, *messages: Message, uid: int = 0) -> str:
    """The answer to a request that changes nothing and leaves no descriptor behind."""
    before, descriptors = registered(host), open_descriptors()
    served = Served(host, *messages, uid=uid)
    assert served.status in (EXIT_REFUSED, EXIT_PERMISSION), served.answer
    assert served.answer != "OK"
    assert {key: value for key, value in registered(host).items() if value} == {
        key: value for key, value in before.items() if value
    }
    assert open_descriptors() == descriptors
    return served.answer


@contextmanager
def receiving(host: Host, path: Path | str) -> Iterator[None]:
    """A receiver at ``path`` that takes one request after the other, as the units do."""
    with host.namespace.new_socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        address = str(path)
        listener.bind("\0" + address[1:] if address.startswith("@") else address)
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # shut down: the test is over
                    return
                with connection:
                    receiver.serve(connection, str(host.bpffs))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_one_message_registers(loaded: Host, protocol: int) -> None:
    with loaded.namespace.serve("mine", "127.0.0.1", 8080, protocol) as server:
        descriptors = open_descriptors()
        served = Served(loaded, (b"web#", [server.sock.fileno()]))
        assert (served.answer, served.status) == ("OK", EXIT_OK)
        assert open_descriptors() == descriptors
        assert loaded.ask("127.0.0.1", 80, protocol) == "mine"
    assert loaded.ask("127.0.0.1", 80, protocol) == "refused"


def test_several_messages_are_one_request(loaded: Host) -> None:
    with (
        loaded.namespace.serve("four", "127.0.0.1", 8080) as four,
        loaded.namespace.serve("six", "::1", 8080) as six,
    ):
        messages = [(b"w", [four.sock.fileno()]), (b"e", []), (b"b#", [six.sock.fileno()])]
        assert Served(loaded, *messages).answer == "OK"
        assert loaded.ask("127.0.0.1", 80) == "four"
        assert loaded.ask("::1", 80) == "six"


def test_a_label_may_contain_the_end_mark(loaded: Host) -> None:
    loaded.apply("[a#b]", "Bind=tcp 127.0.0.1 80")
    with loaded.namespace.serve("mine", "127.0.0.1", 8080) as server:
        assert Served(loaded, (b"a#b#", [server.sock.fileno()])).answer == "OK"
        assert loaded.ask("127.0.0.1", 80) == "mine"


def test_registering_again_replaces_the_socket(loaded: Host) -> None:
    with loaded.namespace.serve("old", "127.0.0.1", 8080) as old:
        assert Served(loaded, (b"web#", [old.sock.fileno()])).answer == "OK"
        with loaded.namespace.serve("new", "127.0.0.1", 8081) as new:
            assert Served(loaded, (b"web#", [new.sock.fileno()])).answer == "OK"
            assert loaded.ask("127.0.0.1", 80) == "new"
            assert f"sk:{registered(loaded)['web', socket.AF_INET, TCP]:x}" == cookie(new.sock)


def test_253_sockets_of_a_reuseport_group_share_the_traffic(loaded: Host) -> None:
    with ExitStack() as stack:
        group = [
            loaded.namespace.listen("127.0.0.1", 8080, UDP, reuseport=True)
            for _ in range(protocol.FDS_MAX)
        ]
        for sock in group:
            stack.enter_context(sock)
        assert Served(loaded, (b"web#", [sock.fileno() for sock in group])).answer == "OK"
        for port in range(20000, 20200):
            with loaded.namespace.new_socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.bind(("127.0.0.1", port))
                client.sendto(b"?", ("127.0.0.1", 80))
        reached = 0
        for sock in group:
            sock.setblocking(False)
            try:
                sock.recv(1)
            except BlockingIOError:
                continue
            reached += 1
        assert reached > 50


def test_300_descriptors_are_refused(loaded: Host) -> None:
    with loaded.namespace.listen("127.0.0.1", 8080) as sock:
        many = [sock.fileno()] * 300
        # The kernel takes no more than 253 in one message (SCM_MAX_FD) ...
        with pytest.raises(OSError, match="Invalid argument"):
            Served(loaded, (b"web#", many))
        # ... and in two messages it is too many for us.
        answer = refused(loaded, (b"we", many[:150]), (b"b#", many[150:]))
        assert answer == "more than 253 descriptors were passed"


def test_descriptors_that_find_no_room_are_refused(loaded: Host) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with loaded.namespace.listen("127.0.0.1", 8080) as sock:
        refused(loaded, (b"web", [sock.fileno()]))  # opens once what stays open
        room = len(open_descriptors()) + 20
        resource.setrlimit(resource.RLIMIT_NOFILE, (room, hard))
        try:
            answer = refused(loaded, (b"web#", [sock.fileno()] * 50))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert "not all descriptors could be received" in answer
        assert loaded.ask("127.0.0.1", 80) == "refused"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (b"web", "no message that ends in '#' arrived in time"),
        (b"web#\0", "no message that ends in '#' arrived in time"),
        (b"#", "the label is empty"),
        (b"we:b#", "the label contains ':'"),
        (b"we\0b#", "the label contains '\\x00'; only printable ASCII is allowed"),
        (b"w\xc3\xa9b#", "the label contains 'Ã'; only printable ASCII is allowed"),
        (b"x" * 256 + b"#", "the label is longer than 255 characters"),
        (b"x" * 60000, "the label is longer than 255 characters"),
    ],
)
def test_bad_text_is_refused(loaded: Host, text: bytes, answer: str) -> None:
    with loaded.namespace.listen("127.0.0.1", 8080) as sock:
        assert refused(loaded, (text, [sock.fileno()])) == answer


def test_a_label_of_255_characters_is_fine(loaded: Host) -> None:
    with loaded.namespace.listen("127.0.0.1", 8080) as sock:
        assert Served(loaded, (b"x" * 255 + b"#", [sock.fileno()])).answer == "OK"


def test_no_socket_is_refused(loaded: Host) -> None:
    assert refused(loaded, (b"web#", [])) == "no socket was passed with label web"


def test_what_is_no_such_socket_is_refused_with_all_that_came_along(loaded: Host) -> None:
    with ExitStack() as stack:
        good = stack.enter_context(loaded.namespace.listen("127.0.0.1", 8080)).fileno()
        unix = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).fileno()
        idle = stack.enter_context(
            loaded.namespace.new_socket(socket.AF_INET, socket.SOCK_STREAM)
        ).fileno()
        file = stack.enter_context(open("/dev/null", "rb")).fileno()
        for bad, reason in (
            (unix, "is a UNIX socket"),
            (idle, "is a TCP socket that does not listen"),
            (file, "is not a socket"),
        ):
            answer = refused(loaded, (b"web#", [good, bad]))
            assert answer.startswith(f"socket 2 of 2 {reason}")
        assert loaded.ask("127.0.0.1", 80) == "refused"


def test_two_addresses_under_one_label_are_refused(loaded: Host) -> None:
    with (
        loaded.namespace.listen("127.0.0.1", 8080) as one,
        loaded.namespace.listen("127.0.0.1", 8081) as two,
    ):
        answer = refused(loaded, (b"web#", [one.fileno(), two.fileno()]))
        assert answer == (
            "socket 2 of 2 is bound to 127.0.0.1:8081, but another one of the same kind to "
            "127.0.0.1:8080"
        )


def test_sockets_of_two_namespaces_are_refused(loaded: Host) -> None:
    with (
        Namespace() as other,
        loaded.namespace.listen("127.0.0.1", 8080) as here,
        other.listen("::1", 8080) as there,
    ):
        answer = refused(loaded, (b"web#", [here.fileno(), there.fileno()]))
        assert answer == "socket 2 of 2 is of another network namespace than the first"


def test_a_namespace_without_registry_is_refused(loaded: Host) -> None:
    with Namespace() as other, other.listen("127.0.0.1", 8080) as there:
        served = Served(loaded, (b"web#", [there.fileno()]))
        assert served.answer.startswith("no registry at ")


def test_a_label_of_another_unit_is_refused(loaded: Host) -> None:
    with (
        loaded.serve("web", "127.0.0.1", 8080, unit="web.socket"),
        loaded.namespace.serve("mine", "127.0.0.1", 8081) as mine,
    ):
        answer = Served(loaded, (b"web#", [mine.sock.fileno()])).answer
        assert answer.startswith("uid:0: label web belongs to web.socket (sk:")
        assert {loaded.ask("127.0.0.1", 80) for _ in range(50)} == {"web"}


NOBODY = 65534
DENIED = f"user {NOBODY} may not register sockets under label web"


@pytest.mark.parametrize(
    ("lines", "welcome"),
    [
        (["Register=user:nobody"], True),
        (["Register=user:65534"], True),
        (["Register=group:0"], True),  # the group of the test's process
        (["Register=group:root 3"], True),
        (["Register=user:daemon", "Register=user:nobody"], True),
        ([], False),
        (["Register=user:daemon"], False),
        (["Register=group:daemon"], False),
        (["Register=unit:web.service"], False),
        (["Register=user:no-such-user", "Register=group:no-such-group"], False),
        (["Register=user:nobody", "Register="], False),
        (["[other]", "Register=user:nobody"], False),
        (["Register=nobody"], False),  # wrong, and so no grant
    ],
)
def test_others_than_root_take_a_grant(loaded: Host, lines: list[str], welcome: bool) -> None:
    loaded.conf(*RULES, *lines)
    with loaded.namespace.serve("mine", "127.0.0.1", 8080) as server:
        message = (b"web#", [server.sock.fileno()])
        if welcome:
            assert Served(loaded, message, uid=NOBODY).answer == "OK"
            assert loaded.ask("127.0.0.1", 80) == "mine"
        else:
            assert refused(loaded, message, uid=NOBODY) == DENIED
            assert "Register=user:65534" in loaded.entries()[-1]["MESSAGE"][0]
        assert Served(loaded, message).answer == "OK", "root"


def test_a_grant_is_for_its_label_only(loaded: Host) -> None:
    """Such a peer cannot take the traffic of another label, nor all slots."""
    loaded.conf(*RULES, "[his]", "Register=user:nobody", "Bind=tcp 127.0.0.1 81")
    loaded.ok("apply")
    with loaded.serve("web", "127.0.0.1", 8080), loaded.namespace.serve("his", "::", 9000) as his:
        assert refused(loaded, (b"web#", [his.sock.fileno()]), uid=NOBODY) == DENIED
        for number in range(50):
            label = f"x{number}#".encode()
            assert "may not register" in refused(loaded, (label, [his.sock.fileno()]), uid=NOBODY)
        assert Served(loaded, (b"his#", [his.sock.fileno()]), uid=NOBODY).answer == "OK"
        assert loaded.ask("127.0.0.1", 80) == "web"
        assert loaded.ask("127.0.0.1", 81) == "his"


@pytest.mark.parametrize(("number", "answer"), [("", "has 1 of 1"), (" 2", "")])
def test_a_grant_says_how_many(
    loaded: Host, monkeypatch: pytest.MonkeyPatch, number: str, answer: str
) -> None:
    """Members of other units are there already; one's own is replaced."""
    loaded.conf(*RULES, f"Register=user:nobody{number}")
    with (
        loaded.namespace.serve("one", "127.0.0.1", 8080) as one,
        loaded.namespace.serve("two", "127.0.0.1", 8081) as two,
    ):
        for unit, server in (("web@1.service", one), ("web@1.service", two)):
            monkeypatch.setattr(receiver, "Peer", _peer_of(unit))
            message = (b"web#", [server.sock.fileno()])
            assert Served(loaded, message, uid=NOBODY).answer == "OK"
        monkeypatch.setattr(receiver, "Peer", _peer_of("web@2.service"))
        served = Served(loaded, (b"web#", [one.sock.fileno()]), uid=NOBODY)
        if answer:
            assert f"web@2.service: label web {answer} members already" in served.answer
            assert loaded.ask("127.0.0.1", 80) == "two"
        else:
            assert served.answer == "OK"
            assert {loaded.ask("127.0.0.1", 80) for _ in range(60)} == {"one", "two"}


def test_a_unit_has_a_grant_whoever_runs_it(loaded: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded.conf(*RULES, "Register=unit:web@.service 9", "Register=unit:shop.service")
    with loaded.namespace.serve("mine", "127.0.0.1", 8080) as server:
        message = (b"web#", [server.sock.fileno()])
        for unit, welcome in (
            ("web@1.service", True),
            ("web@.service", False),
            ("web.service", False),
            ("web@1.socket", False),
            ("xweb@1.service", False),
            ("shop.service", False),  # there is a member of another unit by then
        ):
            monkeypatch.setattr(receiver, "Peer", _peer_of(unit))
            assert (Served(loaded, message, uid=NOBODY).answer == "OK") is welcome, unit


def test_files_of_others_grant_nothing(loaded: Host) -> None:
    path = loaded.conf("[web]", "Register=user:nobody", name="his.conf")
    os.chown(path, NOBODY, -1)
    with loaded.namespace.serve("mine", "127.0.0.1", 8080) as server:
        message = (b"web#", [server.sock.fileno()])
        assert refused(loaded, message, uid=NOBODY) == DENIED
        os.chown(path, 0, -1)
        assert Served(loaded, message, uid=NOBODY).answer == "OK"


def test_wrong_grants_are_refused_with_their_line(loaded: Host) -> None:
    for line, why in (
        ("nobody", "nobody is neither user:NAME, group:NAME nor unit:NAME"),
        ("user:", "user: has no valid name"),
        ("unit:web", "web is not the name of a unit"),
        ("user:nobody 0", "'0' is not a number of members from 1 to 256"),
        ("user:nobody 1 2", "2: one number of members is expected"),
    ):
        path = loaded.conf(*RULES, f"Register={line}")
        said = loaded.fails(EXIT_CONFIG, "apply")
        assert f"{path}:{len(RULES) + 1}: Register={line}: {why}" in said


def _peer_of(unit: str) -> type[Peer]:
    class OfUnit(Peer):
        def __init__(self, connection: socket.socket) -> None:
            super().__init__(connection)
            self.registrant = unit

    return OfUnit


def test_a_peer_may_be_in_a_thousand_groups(loaded: Host) -> None:
    before = os.getgroups()
    os.setgroups(range(70000, 71000))
    try:
        with loaded.namespace.serve("mine", "127.0.0.1", 8080) as server:
            message = (b"web#", [server.sock.fileno()])
            loaded.conf(*RULES, "Register=group:71000")
            assert "may not register" in refused(loaded, message, uid=NOBODY)
            loaded.conf(*RULES, "Register=group:70999")
            assert Served(loaded, message, uid=NOBODY).answer == "OK"
    finally:
        os.setgroups(before)


def test_refusals_are_logged_with_the_peer(loaded: Host) -> None:
    loaded.entries()
    refused(loaded, (b"#", []))
    (entry,) = loaded.entries()
    assert entry["SOCKREG_PEER_PID"] == [str(os.getpid())]
    assert entry["SOCKREG_PEER_UID"] == ["0"]
    assert entry["MESSAGE"][0].endswith(f"(pid {os.getpid()}, uid 0) passed: the label is empty")


@pytest.mark.parametrize("text", [b"web#", b"web", b""])
def test_a_peer_that_is_gone_leaves_nothing_behind(loaded: Host, text: bytes) -> None:
    descriptors = open_descriptors()
    with loaded.namespace.listen("127.0.0.1", 8080) as sock:
        peer, connection = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if text:
            socket.send_fds(peer, [text], [sock.fileno()])
        peer.close()
        with connection:
            status = receiver.serve(connection, str(loaded.bpffs))
        # What was complete is done: the registration is the socket's, not the peer's.
        assert status == (EXIT_OK if text == b"web#" else EXIT_REFUSED)
    assert open_descriptors() == descriptors


def test_random_messages_never_leak_or_register_by_halves(loaded: Host) -> None:
    chance = random.Random(20)
    with ExitStack() as stack:
        descriptors = _all_kinds(loaded.namespace, stack)
        for round_ in range(3000):
            before, open_before = registered(loaded), open_descriptors()
            peer, connection = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with peer, connection:
                for text, fds in _random_messages(chance, descriptors):
                    socket.send_fds(peer, [text], fds)
                gone = chance.random() < 0.1
                if gone:
                    peer.close()
                else:
                    peer.shutdown(socket.SHUT_WR)  # so that what is not complete fails at once
                receiver.serve(connection, str(loaded.bpffs))
                connection.close()
                answer = b"" if gone else peer.recv(65536)
            assert answer or gone, round_
            if answer not in (b"", b"OK"):
                assert registered(loaded) == before, (round_, answer)
            assert open_descriptors() == open_before, (round_, answer)


def _all_kinds(namespace: Namespace, stack: ExitStack) -> list[int]:
    """Descriptors of everything that may come along, by hand or by accident."""
    read_end, write_end = os.pipe()
    stack.callback(os.close, read_end)
    stack.callback(os.close, write_end)
    made = [
        namespace.listen("127.0.0.1", 8080),
        namespace.listen("::1", 8080),
        namespace.listen("::", 8081),
        namespace.listen("127.0.0.1", 8080, UDP),
        namespace.new_socket(socket.AF_INET, socket.SOCK_STREAM),
        namespace.new_socket(socket.AF_INET, socket.SOCK_DGRAM),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    ]
    return [read_end, write_end, *(stack.enter_context(sock).fileno() for sock in made)]


def _random_messages(
    chance: random.Random, descriptors: Sequence[int]
) -> list[tuple[bytes, list[int]]]:
    messages = []
    for _ in range(chance.choice([0, 1, 1, 1, 1, 2, 3])):
        text = chance.choice(
            [
                b"web#",
                b"web#",
                b"we",
                b"#",
                b"x" * chance.randrange(1, 300) + b"#",
                chance.randbytes(chance.randrange(1, 400)),
                bytes(chance.randrange(32, 127) for _ in range(4)),
            ]
        )
        fds = chance.choices(descriptors, k=chance.choice([0, 1, 1, 2, 3, 100, 253]))
        messages.append((text, fds))
    return messages


def test_servers_in_the_field_and_the_sending_side(loaded: Host, tmp_path: Path) -> None:
    path = tmp_path / "receive.sock"
    with (
        receiving(loaded, path),
        loaded.namespace.serve("field", "127.0.0.1", 8080, UDP) as field,
        loaded.namespace.serve("sent", "127.0.0.1", 8080) as sent,
    ):
        pass_socket(str(path), "web", field.sock)
        assert loaded.ask("127.0.0.1", 80, UDP) == "field"
        outcome = loaded.process("send", "web", "--socket", str(path), sockets=[("x", sent.sock)])
        assert (outcome.status, outcome.out) == (EXIT_OK, "web: OK\n")
        assert loaded.ask("127.0.0.1", 80) == "sent"


def test_the_sending_side_goes_by_name_and_goes_on_as_the_server(
    loaded: Host, tmp_path: Path
) -> None:
    loaded.apply("[a]", "Bind=tcp 127.0.0.1 80", "[b]", "Bind=tcp 127.0.0.1 81")
    path = tmp_path / "receive.sock"
    with (
        receiving(loaded, path),
        loaded.namespace.serve("first", "127.0.0.1", 8080) as first,
        loaded.namespace.serve("second", "127.0.0.1", 8081) as second,
    ):
        outcome = loaded.process(
            "send", "--socket", str(path), "--", "/bin/sh", "-c",
            "echo $LISTEN_FDS $LISTEN_FDNAMES; test $LISTEN_PID = $$",
            sockets=[("a", first.sock), ("b", second.sock)],
        )  # fmt: skip
        assert (outcome.status, outcome.out) == (EXIT_OK, "a: OK\nb: OK\n2 a:b\n"), outcome
        assert loaded.ask("127.0.0.1", 80) == "first"
        assert loaded.ask("127.0.0.1", 81) == "second"


def test_an_abstract_address(loaded: Host) -> None:
    """A name of the network namespace, not of the file system, written as systemd writes it."""
    with (
        receiving(loaded, "@sockreg-test"),
        loaded.namespace.serve("sent", "127.0.0.1", 8080) as sent,
    ):
        sockets = [("x", sent.sock)]
        outcome = loaded.process("send", "web", "--socket", "@sockreg-test", sockets=sockets)
        assert (outcome.status, outcome.out) == (EXIT_OK, "web: OK\n"), outcome
        assert loaded.ask("127.0.0.1", 80) == "sent"
    with loaded.namespace.listen("127.0.0.1", 8080) as sock:
        outcome = loaded.process("send", "web", "--socket", "@sockreg-test", sockets=[("x", sock)])
    assert outcome.status == EXIT_FAILURE
    assert "@sockreg-test: Connection refused" in outcome.err
    assert "same network namespace" in outcome.err


@pytest.mark.parametrize("path", ["", "@", "/" + "x" * 200, "@" + "x" * 200])
def test_addresses_that_are_none(loaded: Host, path: str) -> None:
    with loaded.namespace.listen("127.0.0.1", 8080) as sock:
        outcome = loaded.process("send", "web", "--socket", path, sockets=[("x", sock)])
    assert outcome.status in (EXIT_FAILURE, EXIT_USAGE)
    assert outcome.err.startswith("sockreg: ")
    assert "None" not in outcome.err
    assert "Traceback" not in outcome.err


def test_a_refusal_says_what_was_passed_before_it_and_what_was_not(
    loaded: Host, tmp_path: Path
) -> None:
    loaded.apply("[a]", "Bind=tcp 127.0.0.1 80", "[c]", "Bind=tcp 127.0.0.1 81")
    path = tmp_path / "receive.sock"
    with (
        receiving(loaded, path),
        loaded.namespace.serve("first", "127.0.0.1", 8080) as first,
        loaded.namespace.serve("third", "127.0.0.1", 8082) as third,
        socket.socket(socket.AF_UNIX) as unfit,
    ):
        outcome = loaded.process(
            "send", "--socket", str(path), "--", "/bin/echo", "ran",
            sockets=[("a", first.sock), ("b", unfit), ("c", third.sock)],
        )  # fmt: skip
        assert outcome.status == EXIT_REFUSED
        assert outcome.out == "a: OK\n"
        assert "refused label b: socket 1 of 1" in outcome.err
        assert "not passed after that: label c" in outcome.err
        assert loaded.ask("127.0.0.1", 80) == "first"
        assert loaded.ask("127.0.0.1", 81) == "refused"


def test_the_sending_side_asks_again_where_it_is_turned_away(loaded: Host, tmp_path: Path) -> None:
    """As systemd does where too many connect at once: it accepts and closes."""
    path = str(tmp_path / "receive.sock")
    with (
        loaded.namespace.serve("sent", "127.0.0.1", 8080) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
    ):
        listener.bind(path)
        listener.listen()

        def turn_two_away() -> None:
            for _ in range(2):
                listener.accept()[0].close()
            connection, _ = listener.accept()
            with connection:
                receiver.serve(connection, str(loaded.bpffs))

        thread = threading.Thread(target=turn_two_away)
        thread.start()
        try:
            protocol.send(path, "web", [server.sock.fileno()], timeout=10)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
        assert loaded.ask("127.0.0.1", 80) == "sent"


def test_the_sending_side_gives_up_where_nobody_takes_it_in(tmp_path: Path) -> None:
    path = str(tmp_path / "receive.sock")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as waiting,
    ):
        listener.bind(path)
        listener.listen(0)
        waiting.connect(path)  # the queue is full
        with pytest.raises(SockregError) as refusal:
            protocol.send(path, "web", [listener.fileno()], timeout=0.1)
    assert refusal.value.status == EXIT_FAILURE
    assert refusal.value.message == f"{path} turned every attempt away for 0.1 s"


def test_the_sending_side_says_why_not(loaded: Host, tmp_path: Path) -> None:
    path = tmp_path / "receive.sock"
    with loaded.namespace.listen("127.0.0.1", 8080) as sock:
        arguments = ("send", "web", "--socket", str(path))
        outcome = loaded.process(*arguments, sockets=[("x", sock)])
        assert outcome.status == EXIT_FAILURE
        assert f"{path}: No such file or directory" in outcome.err
        assert "systemctl start sockreg-receive.socket" in outcome.err
        outcome = loaded.process(*arguments)
        assert (outcome.status, "LISTEN_FDS is not set" in outcome.err) == (EXIT_USAGE, True)
        outcome = loaded.process("send", "a:b", "--socket", str(path), sockets=[("x", sock)])
        assert (outcome.status, "contains ':'" in outcome.err) == (EXIT_USAGE, True)
        with receiving(loaded, path), loaded.namespace.listen("127.0.0.1", 8081) as other:
            outcome = loaded.process(*arguments, sockets=[("x", sock), ("x", other)])
        assert outcome.status == EXIT_REFUSED
        assert f"{path} refused label web: socket 2 of 2 is bound to" in outcome.err


def test_the_receiver_imports_little(loaded: Host) -> None:
    """Peers wait for its start-up: the modules that cost most have no place in it."""
    show = (
        "import sys; sys.path.insert(0, sys.argv[1]); from sockreg.receive import connection;"
        "from sockreg.receive import protocol; from sockreg.registry import registration;"
        "from sockreg.systemd import journal, unit_of; print(*sys.modules)"
    )
    done = run(["/usr/bin/python3", "-I", "-S", "-c", show, str(ROOT)])
    heavy = {"socket", "typing", "re", "dataclasses", "enum", "ctypes", "pathlib", "subprocess"}
    assert not heavy & set(done.stdout.split())

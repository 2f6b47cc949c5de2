"""Which sockets can be registered, what replaces what, and what stays untouched."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import posix
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sockreg import open_registry
from sockreg.errors import (
    EXIT_FAILURE,
    EXIT_NOT_LOADED,
    EXIT_OK,
    EXIT_PARTLY,
    EXIT_REFUSED,
    EXIT_USAGE,
)
from sockreg.host.listener import Listener
from sockreg.kernel import bpf
from sockreg.registry import layout, registration
from sockreg.registry.maps import Maps
from sockreg.registry.units import UnitState, write_unit
from sockreg.systemd import journal
from sockreg.terms import NO_UNIT
from tests.kernel.host import BASH, Host, cookie
from tests.netns import TCP, UDP, Namespace, Server

RULES = ["[web]"] + [
    f"Bind={protocol} {prefix} 80"
    for protocol in ("tcp", "udp")
    for prefix in ("192.0.2.0/24", "2001:db8::/64")
]
MPTCP = 262  # linux/in.h
STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


class File:
    """Stands where a socket stands: something with a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


def fifo(_: Namespace) -> File:
    with tempfile.TemporaryDirectory() as directory:
        os.mkfifo(f"{directory}/fifo")
        return File(os.open(f"{directory}/fifo", os.O_RDWR))


def message_queue(_: Namespace) -> File:
    """mq_open(3); the name is gone at once, the descriptor is what counts."""
    libc = ctypes.CDLL(None, use_errno=True)
    name = f"/sockreg-test-{os.getpid()}".encode()
    fd = libc.mq_open(name, os.O_CREAT | os.O_RDWR, 0o600, None)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    libc.mq_unlink(name)
    return File(fd)


def unix_listener(namespace: Namespace) -> socket.socket:
    sock = namespace.new_socket(socket.AF_UNIX, STREAM)
    sock.bind(f"\0sockreg-test-{os.getpid()}")
    sock.listen()
    return sock


def mptcp_listener(namespace: Namespace) -> socket.socket:
    with namespace.entered():
        sock = socket.socket(socket.AF_INET, STREAM, MPTCP)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


def raw(namespace: Namespace) -> socket.socket:
    with namespace.entered():
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, UDP)


def connected_tcp(namespace: Namespace) -> socket.socket:
    with namespace.listen("127.0.0.1") as listener:
        sock = namespace.new_socket(socket.AF_INET, STREAM)
        sock.connect(listener.getsockname())
        return sock


def connected_udp(namespace: Namespace) -> socket.socket:
    sock = namespace.listen("127.0.0.1", 0, UDP)
    sock.connect(("127.0.0.1", 9))
    return sock


REFUSED: dict[str, tuple[Callable[[Namespace], socket.socket | File], str]] = {
    "unix": (unix_listener, "it is a UNIX socket; only TCP and UDP"),
    "unix datagram": (lambda ns: ns.new_socket(socket.AF_UNIX, DATAGRAM), "it is a UNIX socket"),
    "netlink": (lambda ns: ns.new_socket(socket.AF_NETLINK, DATAGRAM), "it is a netlink socket"),
    "packet": (lambda ns: ns.new_socket(socket.AF_PACKET, DATAGRAM), "it is of address family 17"),
    "raw": (raw, "it is a raw socket"),
    "mptcp": (mptcp_listener, "it is an MPTCP socket, which the kernel does not steer to (make it"),
    "fifo": (fifo, "it is a FIFO; only TCP and UDP sockets"),
    "message queue": (message_queue, "it is not a socket (a special file or a message queue)"),
    "file": (lambda _: File(os.open("/dev/null", os.O_RDWR)), "it is not a socket"),
    "not listening": (lambda ns: ns.new_socket(socket.AF_INET, STREAM),
                      "it is a TCP socket that does not listen (register it after listen(2))"),
    "connected tcp": (connected_tcp, "it is a TCP socket that does not listen"),
    "unbound udp": (lambda ns: ns.new_socket(socket.AF_INET6, DATAGRAM),
                    "it is a UDP socket that is not bound (register it after bind(2))"),
    "connected udp": (connected_udp, "it is a connected UDP socket"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_registered_is_refused_with_a_sentence(host: Host, kind: str) -> None:
    make, sentence = REFUSED[kind]
    host.load(*RULES)
    before = host.json("status")["destinations"]
    refused = make(host.namespace)
    try:
        outcome = host.register([("web", refused)], unit="mixed.socket")
    finally:
        refused.close()
    assert outcome.status == EXIT_REFUSED
    skipped, failure, *_ = outcome.err.splitlines()
    assert skipped.startswith(f"skipped a socket of mixed.socket, label web: {sentence}")
    assert "none of its sockets can be registered" in failure
    assert host.json("status")["destinations"] == before


def test_sockets_of_no_unit_are_told_of_without_one(host: Host) -> None:
    host.load(*RULES)
    with host.namespace.listen("127.0.0.1", 8080) as sock:
        outcome = host.register([("web", sock)], unit=NO_UNIT)
        assert outcome.err.splitlines()[0].endswith(" for IPv4, from no unit")
        assert "from no unit" in host.ok("unregister", "web")
    with socket.socket(socket.AF_UNIX) as sock:
        outcome = host.register([("web", sock)], unit=NO_UNIT)
    skipped, failure, *_ = outcome.err.splitlines()
    assert skipped.startswith("skipped a socket, label web: it is ")
    assert failure == "sockreg: none of the sockets can be registered"


def test_a_mixed_unit_registers_what_it_can(host: Host) -> None:
    host.load(*RULES)
    with (
        host.namespace.serve("stream", "127.0.0.1", 8080) as stream,
        host.namespace.serve("datagrams", "::", 8080, UDP) as datagrams,
    ):
        wrong = unix_listener(host.namespace)
        with wrong:
            outcome = host.register(
                [("web", stream.sock), ("web", wrong), ("web", datagrams.sock)],
                unit="mixed.socket",
            )
        assert outcome.status == EXIT_PARTLY
        assert outcome.err.count("skipped") == 1
        last = (
            "sockreg: register: 1 socket left out, see the lines above; the others are registered"
        )
        assert outcome.err.splitlines()[-1] == last
        skipped, *registered, of_answers = host.entries()
        assert skipped["MESSAGE_ID"] == [journal.SKIPPED]
        assert of_answers["MESSAGE_ID"] == [journal.NOTICE]
        assert [entry["MESSAGE_ID"] for entry in registered] == [[journal.REGISTERED]] * 2
        assert [entry["SOCKREG_PROTOCOL"] for entry in registered] == [["tcp"], ["udp"]]
        assert host.both("192.0.2.7", 80) == ("stream", "datagrams")
        assert host.ask("2001:db8::7", 80, UDP) == "datagrams"


def test_a_label_taken_over_in_part_says_what_is_gone(host: Host) -> None:
    """The old unit served both families, and the new one serves one."""
    host.load(*RULES)
    with (
        host.namespace.serve("four", "127.0.0.1", 8080) as four,
        host.namespace.serve("six", "::1", 8080) as six,
        host.namespace.serve("new", "127.0.0.1", 8081) as new,
    ):
        host.register([("web", four.sock), ("web", six.sock)], unit="old.service")
        assert host.ask("2001:db8::7", 80) == "six"
        outcome = host.register([("web", new.sock)], "--replace", unit="new.service")
        assert outcome.status == EXIT_OK
        assert f"replaces {cookie(four.sock)}" in outcome.err
        gone = f"unregistered {cookie(six.sock)}, from old.service"
        assert gone in outcome.err
        assert outcome.err.count("unregistered") == 1
        entries = [e for e in host.entries() if e["MESSAGE_ID"] == [journal.UNREGISTERED]]
        assert [e["SOCKREG_COOKIE"] for e in entries] == [[cookie(six.sock)]]
        assert host.ask("192.0.2.7", 80) == "new"
        assert host.ask("2001:db8::7", 80) == "refused"


def test_a_unit_that_comes_with_fewer_listeners_says_what_is_gone(host: Host) -> None:
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80 to 8080", "Bind=tcp 192.0.2.0/24 81 to 8081")
    with (
        host.namespace.serve("first", "127.0.0.1", 8080) as first,
        host.namespace.serve("second", "127.0.0.1", 8081) as second,
    ):
        host.register([("web", first.sock), ("web", second.sock)], unit="web.service")
        assert host.ask("192.0.2.7", 81) == "second"
        outcome = host.register([("web", first.sock)], unit="web.service")
        assert outcome.status == EXIT_OK
        assert f"unregistered {cookie(second.sock)}, from web.service" in outcome.err
        assert host.ask("192.0.2.7", 81) == "refused"
        assert host.ask("192.0.2.7", 80) == "first"


def test_the_api_returns_what_was_left_out(host: Host) -> None:
    host.load(*RULES)
    with (
        open_registry(host.namespace.path, bpffs=str(host.bpffs), root=str(host.root)) as registry,
        host.namespace.listen("127.0.0.1", 8080) as sock,
        unix_listener(host.namespace) as wrong,
    ):
        assert registry.register([sock], "web") == []
        (left_out,) = registry.register([wrong, sock], "web")
    assert left_out.startswith("skipped a socket")
    assert "it is a UNIX socket" in left_out


WRONG_LABELS = {
    "x" * 256: "is 256 characters long; 255 is the limit",
    "a:b": "contains ':'",
    "tab\there": "contains '\\t'; only printable ASCII",
    "": "is empty",
}


@pytest.mark.parametrize("label", WRONG_LABELS)
def test_a_label_that_cannot_be(host: Host, label: str) -> None:
    host.load(*RULES)
    with host.namespace.listen("127.0.0.1") as sock:
        typed = host.register([("web", sock)], label)
        assert typed.status == EXIT_USAGE
        assert WRONG_LABELS[label] in typed.err
        if ":" not in label:  # which LISTEN_FDNAMES cannot hold
            passed = host.register([(label, sock)])
            assert passed.status == EXIT_REFUSED
            assert f"its label {WRONG_LABELS[label]}" in passed.err
    assert host.registered("web") is None


def test_a_label_of_255_characters(host: Host) -> None:
    label = "x" * 255
    host.load(f"[{label}]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve(label, "127.0.0.1", 8080):
        assert host.ask("192.0.2.7", 80) == label


def test_labels_of_odd_characters_arrive_as_they_are(host: Host) -> None:
    label = r"a\x2db web ~[1]%"
    host.load(f"[{label}]", "Bind=tcp 192.0.2.0/24 80")
    with host.serve(label, "127.0.0.1", 8080):
        assert host.ask("192.0.2.7", 80) == label


# The LISTEN_FDS protocol: tests/pure/test_listen_fds.py has what may be wrong with it


def test_a_real_process_registers_what_it_is_passed(host: Host) -> None:
    host.load("[one]", "Bind=tcp 192.0.2.1 80", "[two]", "Bind=tcp 192.0.2.2 80")
    one = host.namespace.serve("one", "127.0.0.1", 8080)
    two = host.namespace.serve("two", "127.0.0.1", 8081)
    with one, two:
        host.process("register", sockets=[("one", one.sock), ("two", two.sock)], check=True)
        assert [host.ask(f"192.0.2.{n}", 80) for n in (1, 2)] == ["one", "two"]
        host.process("register", "one", sockets=[("two", two.sock)], check=True)
        assert [host.ask(f"192.0.2.{n}", 80) for n in (1, 2)] == ["two", "two"]


def test_register_without_a_registry(host: Host) -> None:
    with host.namespace.listen("127.0.0.1") as sock:
        outcome = host.register([("web", sock)])
    assert outcome.status == EXIT_NOT_LOADED
    assert "nothing is loaded in this network namespace" in outcome.err
    assert "'sockreg load'" in outcome.err


def test_a_socket_of_another_network_namespace_is_refused(host: Host) -> None:
    host.load(*RULES)
    with Namespace() as other, other.listen("127.0.0.1", 8080) as sock:
        outcome = host.register([("web", sock)], unit="web.socket")
    assert outcome.status == EXIT_REFUSED
    assert outcome.err.startswith("sockreg: tcp 127.0.0.1:8080 (sk:")
    assert " of web.socket belongs to another network namespace" in outcome.err
    assert "--netns" in outcome.err
    assert host.registered("web") is None


# What replaces what


def test_the_same_again_changes_nothing(host: Host) -> None:
    host.load(*RULES)
    with host.serve("web", "::", 8080, unit="web.socket") as server:
        before = host.json("status")["destinations"]
        outcome = host.register([("web", server.sock)], unit="web.socket")
        assert "is registered already for IPv4 and IPv6, from web.socket" in outcome.err
        after = host.json("status")["destinations"]
        for destination in (*before, *after):
            for member in destination["members"]:
                del member["registered"]
        assert before == after
        assert host.ask("192.0.2.7", 80) == "web"


def test_the_same_unit_replaces_its_own_socket(host: Host) -> None:
    host.load(*RULES)
    with host.serve("web", "127.0.0.1", 8080, unit="web.socket") as before:
        with host.namespace.serve("next", "127.0.0.1", 8081) as after:
            outcome = host.register([("web", after.sock)], unit="web.socket")
            assert f"replaces {cookie(before.sock)}" in outcome.err
            (entry,) = host.entries()
            assert entry["SOCKREG_LABEL"] == ["web"]
            assert entry["SOCKREG_COOKIE"] == [cookie(after.sock)]
            assert entry["SOCKREG_UNIT"] == ["web.socket"]
            assert host.ask("192.0.2.7", 80) == "next"
            assert host.registered("web") == cookie(after.sock)
        assert host.ask("192.0.2.7", 80) == "refused"


def test_a_socket_closed_by_its_owner_leaves_its_slot(host: Host) -> None:
    host.load(*RULES)
    with host.serve("web", "127.0.0.1", 8080, unit="web.socket"):
        assert host.ask("192.0.2.7", 80) == "web"
    assert host.registered("web") is None
    assert host.ask("192.0.2.7", 80) == "refused"
    with host.serve("web", "127.0.0.1", 8080, unit="other.socket"):
        assert host.ask("192.0.2.7", 80) == "web"


def test_records_of_closed_sockets_are_swept(
    host: Host, make_map: Callable[[str, int], None]
) -> None:
    """Each leaves a record behind; they must not fill the map for those that come."""
    make_map("members", 32)
    host.load(*RULES)
    for number in range(100):
        with host.serve("web", "::", 8080, unit=f"web{number}.socket"):
            assert host.ask("192.0.2.7", 80) == "web"


def test_native_family_before_dual_stack(host: Host) -> None:
    host.load(*RULES)
    with (
        host.namespace.serve("both", "::", 8080) as both,
        host.namespace.serve("four", "127.0.0.1", 8081) as four,
    ):
        host.register([("web", both.sock), ("web", four.sock)])
        assert host.ask("192.0.2.7", 80) == "four"
        assert host.ask("2001:db8::7", 80) == "both"


def test_two_listeners_take_nothing_from_rules_that_do_not_say_which(host: Host) -> None:
    host.load(*RULES)
    with (
        host.namespace.serve("first", "127.0.0.1", 8080) as first,
        host.namespace.serve("second", "127.0.0.1", 8081) as second,
    ):
        outcome = host.register([("web", first.sock), ("web", second.sock)], unit="web.socket")
        assert outcome.status == EXIT_OK
        assert host.ask("192.0.2.7", 80) == "refused"
        host.apply("[web]", "Bind=tcp 192.0.2.0/24 80 to 8081")
        assert host.ask("192.0.2.7", 80) == "second"


def test_sockets_wait_for_their_rules(host: Host) -> None:
    host.load()
    with host.serve("web", "::", 8080):
        assert host.ask("192.0.2.7", 80) == "refused"
        host.apply(*RULES)
        assert host.ask("192.0.2.7", 80) == "web"


def test_unregister(host: Host) -> None:
    host.load(*RULES, "[other]", "Bind=tcp 192.0.2.0/24 81")
    with host.serve("web", "::", 8080), host.serve("other", "127.0.0.1", 8081):
        host.ok("unregister", "web")
        assert host.ask("192.0.2.7", 80) == "refused"
        assert host.ask("2001:db8::7", 80) == "refused"
        assert host.ask("192.0.2.7", 81) == "other"
        said = host.fails(EXIT_FAILURE, "unregister", "web")
        assert "label web has no socket" in said
        assert "label nobody has no socket" in host.fails(EXIT_FAILURE, "unregister", "nobody")


def test_unregister_of_one_unit_only(host: Host) -> None:
    host.load(*RULES)
    with host.serve("web", "127.0.0.1", 8080, unit="web.socket"):
        said = host.fails(EXIT_FAILURE, "unregister", "web", "--unit", "other.socket")
        assert "label web has no socket of other.socket" in said
        assert host.ask("192.0.2.7", 80) == "web"
        host.ok("unregister", "web", "--unit", "web.socket")
        assert host.ask("192.0.2.7", 80) == "refused"


def test_slots_run_out(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 slots, of which two are never given out."""
    monkeypatch.setattr("sockreg.registry.slots.DESTINATION_SLOTS", 16)
    host.load(*RULES)  # 4
    with host.namespace.listen("127.0.0.1") as sock:
        for number in range(10):
            assert host.register([(f"label{number}", sock)]).status == EXIT_OK
        outcome = host.register([("straw", sock)])
        assert outcome.status == EXIT_REFUSED
        assert "no slot left for straw (tcp, IPv4)" in outcome.err
        assert "unregister sockets or remove rules that you no longer need" in outcome.err
        said = host.conf(*RULES, "[one]", "Bind=tcp 192.0.2.1 99")
        assert "no slot left for one (tcp, IPv4)" in host.fails(EXIT_REFUSED, "apply"), said
        assert len(host.json("rules")) == 4


def test_all_sockets_of_a_unit_or_none(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is out of memory refuses with a bare OSError."""
    host.load(*RULES)
    entered = registration.enter

    def with_memory_for_ipv4(
        maps: Maps, slot: int, listener: Listener, *rest: Any, **more: Any
    ) -> int | None:
        if listener.family == socket.AF_INET6:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return entered(maps, slot, listener, *rest, **more)

    monkeypatch.setattr(registration, "enter", with_memory_for_ipv4)
    with (
        host.namespace.listen("127.0.0.1", 8080) as four,
        host.namespace.listen("::1", 8080) as six,
    ):
        outcome = host.register([("web", four), ("web", six)], unit="web.socket")
        assert outcome.status == EXIT_FAILURE
        assert "Cannot allocate memory" in outcome.err
        assert host.registered("web") is None


def test_keys_removed_while_a_map_is_read_hide_no_others(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel starts over at the first key if the previous one is gone."""
    host.load(*RULES)
    names = [f"web{number}.socket" for number in range(20)]
    call = bpf._bpf
    asked = []

    def removing(command: int, attr: bytes) -> int:
        result = call(command, attr)
        if command == bpf._MAP_GET_NEXT_KEY:
            asked.append(attr)
            if len(asked) == 10:
                bpf.map_delete(maps.units, keys[9])
        return result

    with Maps(str(host.registry)) as maps:
        for name in names:
            write_unit(
                maps, name, UnitState(True, (0, 0, 0, 0), label="x", weight=100, weight_said=False)
            )
        keys = bpf.map_keys(maps.units, layout.UNIT_NAME.size)
        assert len(keys) == 20
        monkeypatch.setattr(bpf, "_bpf", removing)
        assert (
            set(keys)
            >= set(bpf.map_keys(maps.units, layout.UNIT_NAME.size))
            >= {
                *keys[:9],
                *keys[10:],
            }
        )


# Where a line is said


def test_a_line_is_printed_unless_stderr_is_the_journal(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JOURNAL_STREAM is inherited: 'command 2>file' and pipes have it, too (systemd.exec(5))."""
    host.load(*RULES)
    stderr = os.fstat(2)
    with host.namespace.listen("127.0.0.1", 8080) as sock:
        for inode, printed in ((stderr.st_ino, False), (stderr.st_ino + 1, True)):
            stream = f"{stderr.st_dev}:{inode}".encode()
            monkeypatch.setitem(posix.environ, b"JOURNAL_STREAM", stream)
            outcome = host.register([("web", sock)], unit="web.socket")
            assert outcome.status == EXIT_OK
            assert ("label web: " in outcome.err) is printed
            assert len(host.entries()) == 1


# What stays untouched


@contextmanager
def untouched(*sockets: socket.socket) -> Iterator[None]:
    options = [
        (socket.SOL_SOCKET, option)
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT, socket.SO_KEEPALIVE,
                       socket.SO_RCVBUF, socket.SO_SNDBUF, socket.SO_MARK, socket.SO_PRIORITY)
    ] + [(socket.SOL_IP, socket.IP_TRANSPARENT), (socket.SOL_IP, socket.IP_TOS)]  # fmt: skip

    def state() -> list[object]:
        return [
            [fcntl.fcntl(sock, fcntl.F_GETFL), sock.getsockname(),
             [sock.getsockopt(*option) for option in options]]
            for sock in sockets
        ]  # fmt: skip

    before = state()
    yield
    assert state() == before


@pytest.mark.parametrize("blocking", [True, False])
def test_options_and_flags_stay_as_they_are(host: Host, blocking: bool) -> None:
    host.load(*RULES)
    stream = host.namespace.listen("127.0.0.1", 8080)
    datagrams = host.namespace.listen("127.0.0.1", 8080, UDP)
    with stream, datagrams:
        for sock in (stream, datagrams):
            sock.setblocking(blocking)
        pair = [("web", stream), ("web", datagrams)]
        with untouched(stream, datagrams):
            host.process("register", sockets=pair, check=True)
            host.process("register", sockets=pair, check=True)
            host.process("unregister", "web", check=True)
            host.process("register", sockets=pair, check=True)
            host.ok("unload")


def test_an_unprivileged_server_serves(host: Host) -> None:
    """T5: the server has no capability, no privileged port, no special option."""
    host.load(*RULES)
    server = (
        "import os, socket\n"
        "s = socket.socket(fileno=3)\n"
        "assert os.getuid() == 65534\n"
        "c, _ = s.accept(); c.sendall(b'nobody'); c.close()\n"
    )
    with host.namespace.listen("127.0.0.1", 8080) as sock:
        host.register([("web", sock)])
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                   "--bounding-set=-all", "/usr/bin/python3", "-c", server]  # fmt: skip
        script = f'exec "$@" 3<&{sock.fileno()}'
        with subprocess.Popen(
            [BASH, "-c", script, "bash", *command], pass_fds=[sock.fileno()]
        ) as process:
            sock.close()
            assert host.ask("192.0.2.7", 80) == "nobody"
            assert process.wait(timeout=10) == 0


def test_one_server_with_many_sockets_behind_one_label(host: Host) -> None:
    host.load(*RULES)
    sockets = [host.namespace.listen(address, 8080, protocol, v6only=True)
               for address in ("0.0.0.0", "::") for protocol in (TCP, UDP)]  # fmt: skip
    with Server("all", *sockets):
        host.register([("web", sock) for sock in sockets])
        assert host.both("192.0.2.7", 80) == ("all", "all")
        assert host.both("2001:db8::7", 80) == ("all", "all")

"""Rules that say which listener of a label they mean, and rules that do not."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sockreg.errors import EXIT_CONFIG, EXIT_OK, EXIT_REFUSED, EXIT_USAGE
from tests.kernel.host import Host
from tests.netns import TCP, UDP

MAIL = "mail.socket"


@contextmanager
def serving(
    host: Host, *listeners: tuple[str, int], unit: str = MAIL, options: Sequence[str] = ()
) -> Iterator[None]:
    """Servers that answer with their port, registered at once as those of one unit."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(host.namespace.serve(f"{unit} {port}", address, port))
            for address, port in listeners
        ]
        outcome = host.register([("mail", server.sock) for server in servers], *options, unit=unit)
        assert outcome.status == EXIT_OK, outcome
        yield


def both(host: Host) -> tuple[str, str]:
    return host.ask("192.0.2.7", 143), host.ask("192.0.2.7", 993)


TWO = (("127.0.0.1", 8143), ("127.0.0.1", 8993))
SAID = ("[mail]", "Bind=tcp 192.0.2.0/24 143 to 8143", "Bind=tcp 192.0.2.0/24 993 to 8993")
LANDED = (f"{MAIL} 8143", f"{MAIL} 8993")


def test_each_rule_leads_to_the_listener_that_it_means(host: Host) -> None:
    host.load(*SAID)
    with serving(host, *TWO):
        assert both(host) == LANDED
    assert both(host) == ("refused", "refused")


def test_rules_may_come_after_the_sockets(host: Host) -> None:
    host.load()
    with serving(host, *TWO):
        host.apply(*SAID)
        assert both(host) == LANDED
        host.apply("[mail]", "Bind=tcp 192.0.2.0/24 143,993 to 8993")
        assert both(host) == (f"{MAIL} 8993", f"{MAIL} 8993")
        host.ok("rollback")
        assert both(host) == LANDED


def test_without_to_the_port_of_the_listener_decides(host: Host) -> None:
    host.load()
    with serving(host, ("127.0.0.1", 143), ("127.0.0.1", 993)):
        host.apply("[mail]", "Bind=tcp 192.0.2.0/24 143,900-999")
        assert both(host) == (f"{MAIL} 143", f"{MAIL} 993")
        assert "tcp 192.0.2.0/24 900-999 to 993" in host.ok("rules")


def test_what_remains_unclear_is_refused_and_told(host: Host) -> None:
    host.load("[mail]", "Bind=tcp 192.0.2.0/24 143")
    with serving(host, *TWO):
        assert host.ask("192.0.2.7", 143) == "refused"
        said = host.ok("status")
        assert "which listener of label mail is meant?" in said, said
        assert f"{MAIL} 127.0.0.1:8143 and {MAIL} 127.0.0.1:8993: add 'to PORT'" in said
        found = host.run("check").text
        assert "error (which-listener)" in found
        assert f"of label mail it means: {MAIL} 127.0.0.1:8143" in " ".join(found.split())
        told = host.run("explain", "tcp", "192.0.2.7", "143").text
        assert "which listener of label mail is meant?" in told
        assert "does not say which listener it means" in host.ok("listeners")
        told = host.ok("apply")
        assert "which listener of label mail is meant?" in told
        said = host.fails(EXIT_CONFIG, "bind", "mail", "tcp", "192.0.2.0/24", "993")
        assert "which listener of label mail is meant?" in said
        assert host.ask("192.0.2.7", 993) == "refused"
        host.ok("bind", "mail", "tcp", "192.0.2.0/24", "993", "to", "8993")
        assert host.ask("192.0.2.7", 993) == f"{MAIL} 8993"


def test_missing_pass_holds_for_them(host: Host) -> None:
    host.load("[mail]", "Bind=tcp 192.0.2.0/24 143 missing=pass")
    with serving(host, *TWO), host.namespace.serve("ordinary", "0.0.0.0", 143):
        assert host.ask("192.0.2.7", 143) == "ordinary"


def test_a_single_listener_serves_rules_with_and_without(host: Host) -> None:
    host.load("[mail]", "Bind=tcp 192.0.2.0/24 143", "Bind=tcp 192.0.2.0/24 993 to 8143")
    with serving(host, ("127.0.0.1", 8143)):
        assert both(host) == (f"{MAIL} 8143", f"{MAIL} 8143")
    with serving(host, ("127.0.0.1", 8993)):
        assert both(host) == (f"{MAIL} 8993", "refused")


def test_families_are_told_apart_by_themselves(host: Host) -> None:
    host.load("[mail]", "Bind=tcp 192.0.2.0/24 143", "Bind=tcp 2001:db8::/64 143")
    with serving(host, ("127.0.0.1", 8143), ("::1", 8144)):
        assert host.ask("192.0.2.7", 143) == f"{MAIL} 8143"
        assert host.ask("2001:db8::7", 143) == f"{MAIL} 8144"


def test_one_port_on_two_addresses_is_nobodys(host: Host) -> None:
    host.namespace.add_address("192.0.2.1/32")
    host.load("[mail]", "Bind=tcp 198.51.100.0/24 143", "Bind=tcp 198.51.100.0/24 993 to 143")
    host.namespace.add_local("198.51.100.0/24")
    with ExitStack() as stack:
        servers = [
            stack.enter_context(host.namespace.serve("mail", address, 143))
            for address in ("127.0.0.1", "192.0.2.1")
        ]
        outcome = host.register([("mail", each.sock) for each in servers], unit=MAIL)
        assert outcome.status == EXIT_REFUSED
        assert "has the same port, by which rules tell listeners apart" in outcome.err
        assert host.ask("198.51.100.7", 143) == "refused"
        assert host.ask("198.51.100.7", 993) == "refused"


def test_pools_of_each_listener(host: Host) -> None:
    host.load(*SAID)
    addresses = {1: "127.0.0.1", 2: "127.0.0.2"}
    with ExitStack() as stack:
        for number, address in addresses.items():
            unit = f"mail@{number}.socket"
            stack.enter_context(serving(host, (address, 8143), (address, 8993), unit=unit))
        for port, listener in ((143, 8143), (993, 8993)):
            landed = {host.ask("192.0.2.7", port) for _ in range(60)}
            assert landed == {f"mail@{number}.socket {listener}" for number in addresses}
        host.ok("drain", "mail", "mail@1.socket")
        for port, listener in ((143, 8143), (993, 8993)):
            landed = {host.ask("192.0.2.7", port) for _ in range(20)}
            assert landed == {f"mail@2.socket {listener}"}


def test_a_unit_that_gets_a_second_listener_and_loses_it_again(host: Host) -> None:
    """Nothing of an earlier registration is left where rules still lead."""
    host.load("[mail]", "Bind=tcp 192.0.2.0/24 143", "Bind=tcp 192.0.2.0/24 993 to 8993")
    with host.namespace.serve("one", "127.0.0.1", 8143) as one:
        assert host.register([("mail", one.sock)], unit=MAIL).status == EXIT_OK
        assert both(host) == ("one", "refused")
        with host.namespace.serve("two", "127.0.0.1", 8993) as two:
            sockets = [("mail", one.sock), ("mail", two.sock)]
            assert host.register(sockets, unit=MAIL).status == EXIT_OK
            assert both(host) == ("refused", "two")
            assert host.register([("mail", one.sock)], unit=MAIL).status == EXIT_OK
            assert both(host) == ("one", "refused")


def test_unregister_weight_and_listeners_of_one_label(host: Host) -> None:
    host.load(*SAID)
    with serving(host, *TWO):
        rows = {(d["listener"], len(d["members"])) for d in host.json("status")["destinations"]}
        assert rows == {(8143, 1), (8993, 1)}
        assert "mail:8143" in host.ok("status")
        assert host.ok("explain", "tcp", "192.0.2.7", "993").count(" to 8993") == 1
        host.ok("unregister", "mail")
        assert both(host) == ("refused", "refused")


def test_rules_that_lose_their_listener_free_its_slot(host: Host) -> None:
    host.load("[mail]", "Bind=tcp 192.0.2.0/24 143", "Bind=tcp 192.0.2.0/24 993 to 8143")
    with serving(host, ("127.0.0.1", 8143)):
        for _ in range(3):
            host.apply("[mail]", "Bind=tcp 192.0.2.0/24 143")
            host.apply("[mail]", "Bind=tcp 192.0.2.0/24 143", "[other]", "Bind=tcp 192.0.2.1 1")
        slots = [d["slot"] for d in host.json("status")["destinations"]]
        assert max(slots) < 6, slots
        assert both(host) == (f"{MAIL} 8143", "refused")


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("143 to", "the port of a listener is expected after 'to'"),
        ("143 to 0", "one port from 1 to 65535 is expected after 'to'"),
        ("143 to 8000-8999", "one port from 1 to 65535 is expected after 'to'"),
        ("143 to 1 to 2", "'to' is given twice"),
    ],
)
def test_words_that_are_no_listener(host: Host, words: str, wrong: str) -> None:
    host.load()
    said = host.fails(EXIT_USAGE, "bind", "mail", "tcp", "192.0.2.0/24", *words.split())
    assert wrong in said


def test_bind_replaces_the_listener_and_unbind_need_not_repeat_it(host: Host) -> None:
    host.load()
    with serving(host, *TWO):
        rule = ("mail", "tcp", "192.0.2.0/24", "143")
        for listener in (8143, 8993):
            host.ok("bind", *rule, "to", str(listener))
            assert host.ask("192.0.2.7", 143) == f"{MAIL} {listener}"
        assert len(host.json("rules")) == 1
        assert "there is no rule" in host.fails(EXIT_CONFIG, "unbind", *rule, "to", "8143")
        host.ok("unbind", *rule)
        assert host.json("rules") == []


def test_protocols_are_told_apart_by_themselves(host: Host) -> None:
    host.load("[mail]", "Bind=tcp 192.0.2.0/24 143", "Bind=udp 192.0.2.0/24 143")
    with (
        host.namespace.serve("stream", "127.0.0.1", 8143, TCP) as stream,
        host.namespace.serve("datagram", "127.0.0.1", 8993, UDP) as datagram,
    ):
        sockets = [("mail", stream.sock), ("mail", datagram.sock)]
        assert host.register(sockets, unit=MAIL).status == EXIT_OK
        assert host.both("192.0.2.7", 143) == ("stream", "datagram")


def test_a_dual_stack_listener_beside_one_of_ipv4(host: Host) -> None:
    """The socket of the packet's own family is the only one, but `to` reaches the other, too."""
    host.load(
        "[mail]",
        "Bind=tcp 192.0.2.0/24 143",
        "Bind=tcp 192.0.2.0/24 993 to 8993",
        "Bind=tcp 2001:db8::/64 143",
    )
    with serving(host, ("127.0.0.1", 8143), ("::", 8993)):
        assert both(host) == (f"{MAIL} 8143", f"{MAIL} 8993")
        assert host.ask("2001:db8::7", 143) == f"{MAIL} 8993"


def test_the_shares_of_a_reuseport_group_are_one_listener(host: Host) -> None:
    host.load("[mail]", "Bind=tcp 192.0.2.0/24 143")
    with ExitStack() as stack:
        servers = [
            stack.enter_context(host.namespace.serve("mail", "127.0.0.1", 8143, reuseport=True))
            for _ in range(3)
        ]
        done = host.register([("mail", s.sock) for s in servers], unit=MAIL)
        assert done.status == EXIT_OK
        assert "skipped" not in done.err
        assert host.ask("192.0.2.7", 143) == "mail"
        assert all(s.sock.family == socket.AF_INET for s in servers)


def unit_file(host: Host, *listens: str, bind: str = "tcp 192.0.2.0/24 143") -> None:
    """mail.socket, enabled, with a rule and these listeners."""
    path = host.root / "etc/systemd/system" / MAIL
    wants = path.parent / "sockets.target.wants/sockreg@mail.service"
    wants.parent.mkdir(parents=True, exist_ok=True)
    wants.unlink(missing_ok=True)
    wants.symlink_to("../sockreg@.service")
    lines = ("[Socket]", *(f"ListenStream={at}" for at in listens), "FileDescriptorName=mail")
    path.write_text("\n".join((*lines, "[X-Sockreg]", f"Bind={bind}")) + "\n")


@pytest.fixture
def steady(host: Host, tmp_path: Path) -> Host:
    """A host that has run with one listener, and gets a second one with the next boot."""
    host.conf()
    unit_file(host, "127.0.0.1:8143")
    host.ok("load", "--state", str(tmp_path / "state"))
    with serving(host, TWO[0]):
        assert host.ask("192.0.2.7", 143) == f"{MAIL} 8143"
    return host


def boot(host: Host, tmp_path: Path) -> str:
    host.ok("unload")
    return host.run("load", "--state", str(tmp_path / "state")).text


def test_after_a_boot_a_second_listener_takes_nothing_from_the_first(
    steady: Host, tmp_path: Path
) -> None:
    unit_file(steady, "127.0.0.1:8143", "127.0.0.1:8993")
    for _ in range(2):  # what is kept for the boot after the next one remembers it, too
        said = boot(steady, tmp_path)
        assert "which listener of label mail is meant?" in said
        assert "until then, its rules lead to port 8143, as before" in said
        assert "but lead to no socket" not in said
        with serving(steady, *TWO):
            assert steady.ask("192.0.2.7", 143) == f"{MAIL} 8143"
    unit_file(steady, "127.0.0.1:8143", "127.0.0.1:8993", bind="tcp 192.0.2.0/24 143 to 8993")
    steady.ok("apply")
    with serving(steady, *TWO):
        assert steady.ask("192.0.2.7", 143) == f"{MAIL} 8993"


def test_nor_without_a_boot(steady: Host) -> None:
    unit_file(steady, "127.0.0.1:8143", "127.0.0.1:8993")
    steady.fails(EXIT_CONFIG, "apply")
    with serving(steady, TWO[0]):
        steady.ok("bind", "other", "tcp", "192.0.2.0/24", "25")
        assert steady.ask("192.0.2.7", 143) == f"{MAIL} 8143", "it is not open yet"
    with serving(steady, *TWO):
        assert steady.ask("192.0.2.7", 143) == f"{MAIL} 8143"


def test_the_first_listener_is_gone(steady: Host, tmp_path: Path) -> None:
    """Then no listener is meant, and nobody gets its traffic."""
    unit_file(steady, "127.0.0.1:8110", "127.0.0.1:8993")
    said = boot(steady, tmp_path)
    assert "but lead to no socket" in said
    assert "as before" not in said
    with serving(steady, ("127.0.0.1", 8110), TWO[1]):
        assert steady.ask("192.0.2.7", 143) == "refused"


def test_a_second_listener_beside_another_fault(steady: Host, tmp_path: Path) -> None:
    unit_file(steady, "127.0.0.1:8143", "127.0.0.1:8993", bind="nonsense")
    boot(steady, tmp_path)
    with serving(steady, *TWO):
        assert steady.ask("192.0.2.7", 143) == f"{MAIL} 8143"

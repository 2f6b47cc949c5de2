"""Rules bound to an interface, with packets that really come in there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from sockreg.errors import EXIT_CONFIG, SockregError
from sockreg.registry import generation_record, generations
from sockreg.systemd import journal
from tests.kernel.host import Host
from tests.netns import UDP, Namespace, connect

SERVICE = "192.0.2.7"
SERVICE6 = "2001:db8::7"


@pytest.fixture
def clients(host: Host) -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces, joined to the host by its devices ``left`` and ``right``."""
    with Namespace() as left, Namespace() as right:
        for number, (client, device) in enumerate(((left, "left"), (right, "right")), 1):
            ends = (f"10.0.{number}.1/24", f"10.0.{number}.2/24")
            ends6 = (f"fd00:{number}::1/64", f"fd00:{number}::2/64")
            connect(host.namespace, device, client, "up0", ends)
            for space, device_there, address in (
                (host.namespace, device, ends6[0]),
                (client, "up0", ends6[1]),
            ):
                # Usable at once, without looking for duplicates first.
                space.run("ip", "addr", "add", address, "dev", device_there, "nodad")
            client.run("ip", "route", "add", "192.0.2.0/24", "via", f"10.0.{number}.1")
            client.run("ip", "route", "add", "2001:db8::/64", "via", f"fd00:{number}::1")
        yield left, right


def test_a_rule_holds_for_its_interface_alone(
    host: Host, clients: tuple[Namespace, Namespace]
) -> None:
    left, right = clients
    host.load(
        "[inner]", "Bind=tcp 192.0.2.0/24 80 dev left", "Bind=tcp 2001:db8::/64 80 dev left",
        "Bind=udp 192.0.2.7 53 dev left",
        "[outer]", "Bind=tcp 192.0.2.0/24 80", "Bind=tcp 2001:db8::/64 80",
    )  # fmt: skip
    with (
        host.serve("inner", "::", 8080),
        host.serve("outer", "::", 8081),
        host.serve("inner", "0.0.0.0", 5353, UDP),
    ):
        for address in (SERVICE, SERVICE6):
            assert left.ask(address, 80) == "inner"
            assert right.ask(address, 80) == "outer"
            assert host.ask(address, 80) == "outer", "by way of lo"
        assert left.ask(SERVICE, 53, UDP) == "inner"
        assert right.ask(SERVICE, 53, UDP) == "refused"


def test_interface_source_and_prefix_by_precedence(
    host: Host, clients: tuple[Namespace, Namespace]
) -> None:
    """The longer prefix first, then the interface, then the longer source prefix."""
    left, right = clients
    host.load(
        "[host]", "Bind=tcp 192.0.2.7 80 from 10.0.2.0/24",
        "[device]", "Bind=tcp 192.0.2.0/24 80 dev right",
        "[client]", "Bind=tcp 192.0.2.0/24 80 from 10.0.2.2/32",
        "[near]", "Bind=tcp 192.0.2.0/24 80 from 10.0.0.0/16",
    )  # fmt: skip
    with (
        host.serve("host", "127.0.0.1", 8001),
        host.serve("device", "127.0.0.1", 8002),
        host.serve("client", "127.0.0.1", 8003),
        host.serve("near", "127.0.0.1", 8004),
    ):
        assert right.ask("192.0.2.7", 80) == "host"
        assert right.ask("192.0.2.8", 80) == "device"
        assert left.ask("192.0.2.7", 80) == "near"
        assert host.ask("192.0.2.8", 80, source="127.0.0.1") == "refused"


LEFT = ("[inner]", "Bind=tcp 192.0.2.0/24 80 dev left", "[outer]", "Bind=tcp 192.0.2.0/24 80")


def joined(host: Host, device: str, client: Namespace, *, index: int | None = None) -> None:
    """Join a client to the host by a device of this name, with an index of choice."""
    host.namespace.run(
        *("ip", "link", "add", device, *(("index", str(index)) if index else ()), "type", "veth"),
        *("peer", "name", "up0", "netns", client.path),
    )
    host.namespace.run("ip", "link", "set", device, "up")
    host.namespace.add_address("10.0.1.1/24", device)
    client.run("ip", "link", "set", "up0", "up")
    client.run("ip", "addr", "add", "10.0.1.2/24", "dev", "up0")
    client.run("ip", "route", "add", "192.0.2.0/24", "via", "10.0.1.1")


def gone(host: Host, device: str) -> None:
    host.namespace.run("ip", "link", "del", device)


@pytest.fixture
def served(host: Host) -> Iterator[Host]:
    """The host with LEFT in force, whose interface is not there, and servers for its labels."""
    host.load(*LEFT)
    with host.serve("inner", "127.0.0.1", 8080), host.serve("outer", "127.0.0.1", 8081):
        yield host


@pytest.fixture
def client() -> Iterator[Namespace]:
    with Namespace() as client:
        yield client


def look(host: Host) -> str:
    """What the command says that systemd starts when the kernel reports an interface."""
    return host.ok("apply", "--interfaces")


def test_a_rule_for_an_absent_interface_is_pending(host: Host) -> None:
    path = host.conf(*LEFT)
    said = host.ok("load")
    assert f"pending: bind inner: tcp 192.0.2.0/24 80 dev left ({path}:2): there is no" in said
    assert "2 rules, 1 pending" in said
    assert "there is no interface left" in host.ok("rules")
    assert "pending     1 rule: there is no interface left" in host.ok("status")
    assert [rule["pending"] for rule in host.json("rules")] == [True, False]
    assert [each["rules"] for each in host.json("status")["destinations"]] == [1]
    assert "pending: bind inner" in host.ok("explain", "tcp", SERVICE, "80", "dev", "left")
    assert "pending: there is no interface left" in host.ok("listeners")
    with host.serve("outer", "127.0.0.1", 8081):
        assert host.ask(SERVICE, 80) == "outer", "other rules are in force"


def test_rules_follow_an_interface_that_comes_and_goes(served: Host, client: Namespace) -> None:
    joined(served, "left", client)
    assert client.ask(SERVICE, 80) == "outer"
    assert "2 rules (0 added, 0 removed)" in look(served)
    assert "interface left is there: 1 rule for it is in force" in messages(served)
    assert client.ask(SERVICE, 80) == "inner"
    assert served.ask(SERVICE, 80) == "outer"
    gone(served, "left")
    assert "2 rules, 1 pending" in look(served)
    assert "interface left is gone: 1 rule for it is pending until it appears" in messages(served)
    assert served.ask(SERVICE, 80) == "outer"


def test_an_interface_that_is_made_again_keeps_its_rules(served: Host, client: Namespace) -> None:
    joined(served, "left", client, index=700)
    look(served)
    assert client.ask(SERVICE, 80) == "inner"
    gone(served, "left")
    joined(served, "left", client, index=800)
    assert client.ask(SERVICE, 80) == "outer"
    look(served)
    assert "left has index 800 instead of 700: 1 rule for it follows" in messages(served)[0]
    assert client.ask(SERVICE, 80) == "inner"


def test_a_stranger_with_the_index_gets_no_rules(served: Host, client: Namespace) -> None:
    joined(served, "left", client, index=700)
    look(served)
    gone(served, "left")
    joined(served, "other", client, index=700)
    look(served)
    assert client.ask(SERVICE, 80) == "outer"


def test_rules_follow_a_name(served: Host, client: Namespace) -> None:
    joined(served, "other", client)
    look(served)
    assert client.ask(SERVICE, 80) == "outer"
    served.namespace.run("ip", "link", "set", "other", "down")
    served.namespace.run("ip", "link", "set", "other", "name", "left")
    served.namespace.run("ip", "link", "set", "left", "up")
    look(served)
    assert client.ask(SERVICE, 80) == "inner"
    served.namespace.run("ip", "link", "set", "left", "down")
    served.namespace.run("ip", "link", "set", "left", "name", "other")
    served.namespace.run("ip", "link", "set", "other", "up")
    look(served)
    assert client.ask(SERVICE, 80) == "outer"


def test_an_alternative_name_is_a_name(served: Host, client: Namespace) -> None:
    joined(served, "other", client)
    served.namespace.run("ip", "link", "property", "add", "dev", "other", "altname", "left")
    look(served)
    assert client.ask(SERVICE, 80) == "inner"
    assert "goes to a socket of label inner" in served.ok(
        "explain", "tcp", SERVICE, "80", "dev", "other"
    )
    served.namespace.run("ip", "link", "property", "del", "dev", "other", "altname", "left")
    look(served)
    assert client.ask(SERVICE, 80) == "outer"


def test_of_two_names_for_one_interface_the_first_rule_wins(
    served: Host, client: Namespace
) -> None:
    joined(served, "left", client)
    served.namespace.run("ip", "link", "property", "add", "dev", "left", "altname", "west")
    said = served.apply(*LEFT, "Bind=tcp 192.0.2.0/24 80 dev west")
    assert "rules.conf:5: Bind=tcp 192.0.2.0/24 80 dev west is left out: it ties" in said
    assert client.ask(SERVICE, 80) == "inner"
    served.apply("[outer]", "Bind=tcp 192.0.2.0/24 80 dev west", *LEFT)
    assert client.ask(SERVICE, 80) == "outer"


def test_a_look_reads_no_file(served: Host, client: Namespace) -> None:
    served.conf("[inner]", "Bind=nonsense")
    joined(served, "left", client)
    look(served)
    assert client.ask(SERVICE, 80) == "inner"
    served.conf("[inner]")
    gone(served, "left")
    look(served)
    assert len(served.json("rules")) == 2


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the kernel refuses each table with rules for an interface, if this is not empty."""
    refuses: list[bool] = []
    build = generations.build

    def built(*arguments: Any, rules: bytes, **rest: Any) -> generations.Generation:
        if refuses and any(generation_record.decode_header(rules).indices):
            raise SockregError("the kernel refuses the table: Cannot allocate memory", "")
        return build(*arguments, rules=rules, **rest)

    monkeypatch.setattr(generations, "build", built)
    return refuses


def test_rules_whose_table_is_refused_are_pending(
    served: Host, client: Namespace, refusing: list[bool]
) -> None:
    """They must not stay with an index that is a stranger's now, and a look must come to an end."""
    joined(served, "left", client, index=700)
    look(served)
    assert client.ask(SERVICE, 80) == "inner"
    gone(served, "left")
    joined(served, "other", client, index=700)
    unused(served, "left", 800)
    refusing.append(True)
    said = look(served)
    assert "the rules for left are pending, although it is there: the kernel refuses" in said
    told = [entry["MESSAGE"][0] for entry in served.entries()]
    assert [text for text in told if "the rules for left are pending" in text]
    assert not [text for text in told if "is gone" in text]
    assert client.ask(SERVICE, 80) == "outer", "a stranger with the index"
    why = "the kernel refused a table with the rules for interface left"
    assert f"pending     1 rule: {why}" in served.ok("status")
    assert why in served.ok("rules")
    before = served.json("status")["generation"]
    assert "are pending, although" not in look(served)
    assert served.json("status")["generation"] == before, "tried once"
    # The next change of an interface, or an apply, tries again.
    gone(served, "left")
    look(served)
    assert "there is no interface left" in served.ok("status")
    refusing.clear()
    unused(served, "left", 900)
    look(served)
    assert "pending" not in served.ok("status")


def unused(host: Host, device: str, index: int) -> None:
    peer = ("peer", "name", f"{device}-peer")
    host.namespace.run("ip", "link", "add", device, "index", str(index), "type", "veth", *peer)


def test_rules_that_were_refused_come_with_an_apply(
    served: Host, client: Namespace, refusing: list[bool]
) -> None:
    joined(served, "left", client)
    refusing.append(True)
    look(served)
    assert client.ask(SERVICE, 80) == "outer"
    refusing.clear()
    served.ok("apply")
    assert client.ask(SERVICE, 80) == "inner"
    assert "nothing to change" in look(served)


def test_a_look_that_finds_nothing_new_changes_nothing(served: Host) -> None:
    before = served.json("status")["generation"]
    assert "nothing to change" in look(served)
    assert served.json("apply", "--interfaces")["swapped"] is False
    assert served.json("status")["generation"] == before


def test_an_apply_looks_as_well(served: Host, client: Namespace) -> None:
    joined(served, "left", client)
    served.ok("apply")
    assert client.ask(SERVICE, 80) == "inner"
    look(served)
    gone(served, "left")
    served.ok("apply")
    assert served.json("rules")[0]["pending"]


def test_a_rule_that_was_bound_for_an_absent_interface(host: Host, client: Namespace) -> None:
    host.load("[outer]", "Bind=tcp 192.0.2.0/24 80")
    assert "there is no interface left" in host.ok(
        "bind", "inner", "tcp", "192.0.2.0/24", "80", "dev", "left"
    )
    (message,) = [entry for entry in host.entries() if "SOCKREG_INTERFACE" in entry]
    assert message["MESSAGE_ID"] == [journal.PENDING]
    joined(host, "left", client)
    with host.serve("inner", "127.0.0.1", 8080), host.serve("outer", "127.0.0.1", 8081):
        look(host)
        assert client.ask(SERVICE, 80) == "inner"
        host.ok("unbind", "inner", "tcp", "192.0.2.0/24", "80", "dev", "left")
        assert client.ask(SERVICE, 80) == "outer"


def test_a_pending_rule_is_logged_once(host: Host) -> None:
    host.load(*LEFT)
    assert len([entry for entry in host.entries() if "SOCKREG_INTERFACE" in entry]) == 1
    assert "pending:" not in host.apply(*LEFT, "Bind=tcp 192.0.2.0/24 81")
    assert not [entry for entry in host.entries() if "SOCKREG_INTERFACE" in entry]


def test_what_comes_back_fits_the_interfaces_of_now(served: Host, client: Namespace) -> None:
    """A generation from before an interface was made again must not take a stranger's packets."""
    joined(served, "left", client, index=700)
    look(served)
    served.apply("[outer]", "Bind=tcp 192.0.2.0/24 80")
    gone(served, "left")
    joined(served, "stranger", client, index=700)
    assert "pending" in served.ok("rollback")
    assert client.ask(SERVICE, 80) == "outer"
    gone(served, "stranger")
    joined(served, "left", client, index=900)
    look(served)
    assert client.ask(SERVICE, 80) == "inner"


def test_a_look_keeps_the_generation_to_go_back_to(served: Host, client: Namespace) -> None:
    served.apply("[inner]", "Bind=tcp 192.0.2.0/24 80", "Bind=tcp 192.0.2.0/24 80 dev left")
    joined(served, "left", client)
    look(served)
    gone(served, "left")
    look(served)
    assert served.ask(SERVICE, 80) == "inner"
    served.ok("rollback")
    assert served.ask(SERVICE, 80) == "outer"


def test_a_trial_ends_as_it_began_whatever_interfaces_do(served: Host, client: Namespace) -> None:
    served.conf("[inner]", "Bind=tcp 192.0.2.0/24 80", "Bind=tcp 192.0.2.0/24 80 dev left")
    served.ok("apply", "--confirm", "600")
    joined(served, "left", client)
    look(served)
    assert "on trial" in served.ok("status")
    assert served.ask(SERVICE, 80) == "inner"
    served.ok("rollback")
    assert served.ask(SERVICE, 80) == "outer"
    assert client.ask(SERVICE, 80) == "inner"


def test_a_thousand_rules_for_one_interface_are_one_message(host: Host) -> None:
    rules = [f"Bind=tcp 10.1.{number >> 8}.{number & 255} 80 dev left" for number in range(1000)]
    said = host.load("[inner]", *rules)
    assert said.count("there is no interface left") == 1
    assert "and 999 more rules" in said
    assert "1000 rules for it are pending" in messages(host)[0]


def test_pending_rules_of_all_kinds(host: Host, client: Namespace) -> None:
    host.load(
        "[inner]", "Bind=tcp 192.0.2.7 80", "Reject=tcp 192.0.2.7 80 dev left",
        "Pass=tcp 192.0.2.7 81 dev left", "Bind=tcp 192.0.2.7 81",
    )  # fmt: skip
    with host.serve("inner", "127.0.0.1", 8080), host.namespace.serve("own", "0.0.0.0", 81):
        joined(host, "left", client)
        assert [client.ask("192.0.2.7", port) for port in (80, 81)] == ["inner", "inner"]
        look(host)
        assert [client.ask("192.0.2.7", port) for port in (80, 81)] == ["refused", "own"]


def test_packets_arrive_from_the_bridge_not_from_its_port(served: Host, client: Namespace) -> None:
    joined(served, "left", client)
    look(served)
    assert client.ask(SERVICE, 80) == "inner"
    for command in (
        "link add br0 type bridge",
        "link set br0 up",
        "addr del 10.0.1.1/24 dev left",
        "link set left master br0",
        "addr add 10.0.1.1/24 dev br0",
    ):
        served.namespace.run("ip", *command.split())
    assert client.ask(SERVICE, 80) == "outer"
    path = f"{served.root}/etc/sockreg/rules.conf"
    why = "left is a port of bridge br0: its packets arrive from br0"
    said = f"Bind=tcp 192.0.2.0/24 80 dev left never matches: {why}; write dev br0"
    assert f"{path}:2: {said}" in served.ok("apply")
    found = served.run("check").text
    assert f"Bind=tcp 192.0.2.0/24 80 dev left never matches\n  why  {why}" in found
    assert "fix  write dev br0" in found
    shown = " ".join(served.ok("listeners").split())
    assert f"never matches: {why}; write dev br0" in shown
    for interface in ("left", "br0"):
        explained = served.ok("explain", "tcp", SERVICE, "80", "dev", interface)
        assert "goes to a socket of label outer" in explained
        assert f"({path}:2) never matches: {why}; write dev br0" in explained
    served.apply("[inner]", "Bind=tcp 192.0.2.0/24 80 dev br0", *LEFT)
    assert client.ask(SERVICE, 80) == "inner"
    explained = served.ok("explain", "tcp", SERVICE, "80", "dev", "left")
    assert "goes to a socket of label inner" in explained
    assert f"note      {why}" in explained
    assert served.json("explain", "tcp", SERVICE, "80", "dev", "br0")["label"] == "inner"


def test_packets_arrive_from_a_macvlan_of_an_interface(served: Host, client: Namespace) -> None:
    """It has an address of its own, and nothing stands between it and the kernel."""
    served.namespace.sysctl("net.ipv4.conf.all.arp_ignore", "1")  # else both answer for it
    joined(served, "below", client)
    for command in (
        "addr del 10.0.1.1/24 dev below",
        "link add left link below type macvlan mode bridge",
        "link set left up",
        "addr add 10.0.1.1/24 dev left",
    ):
        served.namespace.run("ip", *command.split())
    look(served)
    assert client.ask(SERVICE, 80) == "inner"
    assert "never matches" not in served.run("check").text


def messages(host: Host) -> list[str]:
    """The journal entries about interfaces of the last command."""
    return [entry["MESSAGE"][0] for entry in host.entries() if "SOCKREG_INTERFACE" in entry]


def test_kernels_that_tell_no_interface_are_named(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.uname()
    fields = (real.sysname, real.nodename, "5.16.0-4-amd64", real.version, real.machine)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(fields))
    host.load()
    host.conf("[web]", "Bind=tcp 192.0.2.0/24 80 dev lo")
    assert "need Linux 5.17" in host.fails(EXIT_CONFIG, "apply")

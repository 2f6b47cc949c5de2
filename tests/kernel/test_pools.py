"""Several sockets behind one label: who gets which flow, and what changes when they change."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections import Counter
from math import sqrt

import pytest

from sockreg.errors import EXIT_FAILURE, EXIT_OK, EXIT_REFUSED, EXIT_USAGE
from sockreg.kernel import bpf
from sockreg.registry.maps import Maps
from sockreg.registry.members import read_members
from sockreg.registry.shares import MEMBERS_MAX
from sockreg.registry.slots import cookie_in
from tests.asking import asking
from tests.kernel.dying import deaths
from tests.kernel.host import Host, cookie
from tests.kernel.pool import (
    ADDRESS,
    LABEL,
    RULES,
    Pool,
    ask_flows,
    destination,
    moved,
    unit,
)
from tests.netns import TCP, UDP

BOTH = pytest.mark.parametrize("protocol", [TCP, UDP], ids=["tcp", "udp"])


@pytest.fixture
def host(host: Host) -> Host:
    """With rules that lead port 80 of 192.0.2.0/24 and 2001:db8::/64 to the label."""
    host.load(*RULES)
    return host


def is_share(count: int, total: int, share: float) -> bool:
    """Whether ``count`` of ``total`` can come from a share of the flows.

    Within 5 standard deviations, which chance alone leaves once in 1.7 million times. Flows
    are hashed by their addresses and ports, which are the same in each run, and so is the
    outcome.
    """
    return abs(count - total * share) <= 5 * sqrt(total * share * (1 - share))


# Shares


@BOTH
def test_flows_are_shared_by_weight(host: Host, protocol: int) -> None:
    weights = {1: 100, 2: 200, 3: 500}
    with Pool(host, protocol) as pool:
        for number, weight in weights.items():
            pool.add(number, "--weight", str(weight))
        count = Counter(pool.flows(2000))
        assert sum(count.values()) == 2000
        for number, weight in weights.items():
            assert is_share(count[f"web{number}"], 2000, weight / 800), count


def test_a_canary_of_one_percent_gets_one_percent(host: Host) -> None:
    with Pool(host) as pool:
        pool.add(1, "--weight", "99")
        canary = pool.add(2, "--weight", "1")
        count = Counter(pool.flows(5000))
        assert set(count) == {"web1", "web2"}
        assert is_share(count["web2"], 5000, 0.01), count
        assert canary.answered == count["web2"]


def test_weights_change_by_command_until_the_unit_registers_again(host: Host) -> None:
    with Pool(host, UDP) as pool:
        first, second = pool.add(1), pool.add(2, "--weight", "300")
        assert pool.members() == {unit(1): 100, unit(2): 300}
        host.ok("weight", LABEL, "0", "--unit", unit(1))
        assert set(pool.flows()) == {"web2"}
        host.ok("weight", LABEL, "10", "--unit", unit(1))
        host.ok("weight", LABEL, "30", "--unit", unit(2))
        assert is_share(Counter(pool.flows(2000))["web1"], 2000, 1 / 4)
        # Without a number: what the files of the units say; these have none.
        host.ok("weight", LABEL)
        assert pool.members() == {unit(1): 100, unit(2): 100}
        host.ok("weight", LABEL, "7")
        assert pool.register(1, first).status == EXIT_OK
        assert pool.members() == {unit(1): 100, unit(2): 7}
        assert pool.register(2, second, "--weight", "65535").status == EXIT_OK
        assert pool.members() == {unit(1): 100, unit(2): 65535}


@pytest.mark.parametrize("weight", ["65536", "-1", "many", "1_0"])
def test_a_weight_that_is_none_is_refused(host: Host, weight: str) -> None:
    with Pool(host) as pool:
        server = pool.add(1)
        refused = host.run("weight", LABEL, weight)
        assert refused.status == EXIT_USAGE
        assert f"{weight!r} is not a weight from 0 to 65535" in refused.err
        assert pool.register(2, server, f"--weight={weight}").status == EXIT_USAGE
        assert pool.members() == {unit(1): 100}


def test_commands_that_name_nobody_fail(host: Host) -> None:
    said = host.fails(EXIT_FAILURE, "drain", "nobody")
    assert "label nobody has no socket" in said
    with Pool(host) as pool:
        pool.add(1)
        said = host.fails(EXIT_FAILURE, "weight", LABEL, "5", "--unit", unit(2))
        assert f"label {LABEL} has no socket of {unit(2)}" in said
        assert pool.members() == {unit(1): 100}


# Flows


def test_a_flow_stays_with_its_member_whatever_else_changes(host: Host) -> None:
    with Pool(host, UDP) as pool:
        for number in (1, 2, 3):
            pool.add(number)
        before = pool.flows()
        assert len(set(before)) == 3
        assert pool.flows() == before
        host.apply(*RULES, "[other]", "Bind=udp 192.0.2.0/24 53")
        with host.serve("other", "127.0.0.1", 5353, UDP):
            assert pool.flows() == before
        host.ok("upgrade")
        assert pool.flows() == before
        host.ok("rollback")
        assert pool.flows() == before


@pytest.mark.parametrize("members", range(2, 7))
def test_a_member_that_comes_or_goes_moves_its_share(host: Host, members: int) -> None:
    with Pool(host, UDP) as pool:
        for number in range(1, members):
            pool.add(number)
        before = pool.flows(1000)
        new = pool.add(members)
        with_new = pool.flows(1000)
        assert moved(before, with_new) <= 1 / members + 0.10
        pool.remove(members)
        assert pool.flows(1000) == before
        assert pool.register(members, new).status == EXIT_OK
        assert pool.flows(1000) == with_new
        pool.remove(1)
        assert moved(with_new, pool.flows(1000)) <= 1 / members + 0.10


def test_new_weights_move_what_they_must(host: Host) -> None:
    with Pool(host, UDP) as pool:
        for number in (1, 2, 3, 4):
            pool.add(number)
        before = pool.flows(1000)
        host.ok("weight", LABEL, "50", "--unit", unit(4))
        # Its share goes from 1/4 to 1/7.
        assert moved(before, pool.flows(1000)) <= 1 / 4 - 1 / 7 + 0.10


@BOTH
def test_a_member_whose_socket_is_gone_is_skipped_at_once(host: Host, protocol: int) -> None:
    with Pool(host, protocol) as pool:
        servers = {f"web{number}": pool.add(number) for number in (1, 2, 3, 4)}
        before = pool.flows(400, "192.0.2.1")
        servers.pop("web2").close()
        after = pool.flows(400, "192.0.2.1" if protocol == UDP else "192.0.2.2")
        assert set(after) == set(servers)
        if protocol == UDP:
            assert all(b in ("web2", a) for b, a in zip(before, after, strict=True))
        servers.pop("web1").close()
        servers.pop("web4").close()
        assert set(pool.flows(400, "192.0.2.3")) == {"web3"}
        assert pool.members() == {unit(3): 100}
        lookups, misses, errors = host.counters(LABEL, "tcp" if protocol == TCP else "udp")
        assert (lookups, misses, errors) == (1200, 0, 0)
        servers.pop("web3").close()
        assert set(pool.flows(5, "192.0.2.4")) == {"refused"}
        assert pool.members() == {}


def test_missing_pass_holds_for_a_pool_of_nobody(host: Host) -> None:
    host.apply(f"[{LABEL}]", "Bind=tcp 192.0.2.0/24 80 missing=pass")
    with Pool(host) as pool, host.namespace.serve("ordinary", "0.0.0.0", 80):
        pool.add(1)
        pool.add(2)
        assert set(pool.flows(50)) == {"web1", "web2"}
        host.ok("drain", LABEL)
        assert set(pool.flows(5, "192.0.2.8")) == {"ordinary"}


# Draining


@BOTH
def test_drain_one_drain_all_and_back(host: Host, protocol: int) -> None:
    with Pool(host, protocol) as pool:
        pool.add(1)
        pool.add(2)
        assert set(pool.flows(50, "192.0.2.1")) == {"web1", "web2"}
        host.ok("drain", LABEL, unit(2))
        assert pool.members() == {unit(1): 100, unit(2): 0}
        assert set(pool.flows(200, "192.0.2.2")) == {"web1"}
        host.ok("drain", LABEL)
        assert set(pool.flows(10, "192.0.2.3")) == {"refused"}
        host.ok("weight", LABEL, "100", "--unit", unit(2))
        assert set(pool.flows(50, "192.0.2.4")) == {"web2"}
        host.ok("weight", LABEL)
        assert set(pool.flows(50, "192.0.2.5")) == {"web1", "web2"}


def test_a_lone_member_can_be_drained_and_register_drained(host: Host) -> None:
    with Pool(host) as pool:
        server = pool.add(1)
        host.ok("drain", LABEL)
        assert pool.members() == {unit(1): 0}
        assert set(pool.flows(5, "192.0.2.1")) == {"refused"}
        host.ok("weight", LABEL, "1")
        assert set(pool.flows(5, "192.0.2.2")) == {"web1"}
        assert pool.register(1, server, "--weight", "0").status == EXIT_OK
        assert set(pool.flows(5, "192.0.2.3")) == {"refused"}
        assert pool.register(1, server).status == EXIT_OK
        assert set(pool.flows(5, "192.0.2.4")) == {"web1"}
        pool.add(2, "--weight", "0")
        assert set(pool.flows(50, "192.0.2.5")) == {"web1"}
        host.ok("drain", LABEL)
        pool.remove(1)
        pool.remove(2)
        assert pool.members() == {}
        assert set(pool.flows(5, "192.0.2.6")) == {"refused"}


def test_what_a_drained_member_has_it_keeps(host: Host) -> None:
    """Connections that exist, and those that wait to be accepted."""
    with Pool(host) as pool, host.namespace.listen("127.0.0.1") as waiting:
        assert host.register([(LABEL, waiting)], unit=unit(1)).status == EXIT_OK
        with host.namespace.entered():
            clients = [socket.create_connection((ADDRESS, 80), 10) for _ in range(2)]
        accepted, _ = waiting.accept()
        pool.add(2)
        host.ok("drain", LABEL, unit(1))
        assert set(pool.flows(50)) == {"web2"}
        late, _ = waiting.accept()
        for client, server in zip(clients, (accepted, late), strict=True):
            server.sendall(b"still here")
            assert client.recv(99) == b"still here"
            client.close()
            server.close()


# Coming, going, and coming again


def test_a_pool_of_one_is_a_lone_member_again(host: Host) -> None:
    def slots() -> dict[str, int]:
        found = destination(host, TCP)["members"]
        return {member["unit"]: member["slot"] for member in found}

    with Pool(host) as pool:
        pool.add(1)
        lone = slots()
        assert lone == {unit(1): destination(host, TCP)["slot"]}
        pool.add(2)
        pool.add(3)
        assert len(set(slots().values()) | set(lone.values())) == 4
        pool.remove(3)
        pool.remove(2)
        assert slots() == lone
        assert set(pool.flows(20)) == {"web1"}


def test_the_same_unit_replaces_its_own_member_in_one_step(host: Host) -> None:
    with Pool(host) as pool:
        for number in (1, 2):
            pool.add(number)
        one, other = pool.serve(1), pool.serve(1)
        with asking(lambda: host.ask(ADDRESS, 80, timeout=20)) as answers:
            for server in [one, other] * 15:
                assert pool.register(1, server).status == EXIT_OK
                assert pool.members() == {unit(1): 100, unit(2): 100}
        assert set(answers) == {"web1", "web2"}
        assert one.answered + other.answered > 0
        registered = {m["unit"]: m["cookie"] for m in destination(host, TCP)["members"]}
        assert registered[unit(1)] == cookie(other.sock)


@BOTH
def test_nobody_is_refused_while_a_pool_grows_and_shrinks(host: Host, protocol: int) -> None:
    with Pool(host, protocol) as pool:
        servers = {1: pool.add(1), 2: pool.serve(2), 3: pool.serve(3)}
        with asking(lambda: host.ask(ADDRESS, 80, protocol, timeout=20)) as answers:
            for _ in range(8):
                for number in (2, 3):
                    assert pool.register(number, servers[number]).status == EXIT_OK
                host.ok("drain", LABEL, unit(1))
                host.ok("weight", LABEL)
                for number in (3, 2):
                    pool.remove(number)
        assert set(answers) <= {"web1", "web2", "web3"}


def test_readers_see_the_pool_before_a_change_or_after_it(host: Host) -> None:
    states = [{1}, {1, 2}, {1, 2, 3}]
    allowed = [{unit(number): 100 for number in state} for state in states]
    with Pool(host) as pool:
        servers = {1: pool.add(1), 2: pool.serve(2), 3: pool.serve(3)}

        def change() -> None:
            for _ in range(2):
                for number in (2, 3):
                    sockets = [(LABEL, servers[number].sock)]
                    options = ("--unit", unit(number))
                    host.process("register", *options, sockets=sockets, check=True)
                for number in (3, 2):
                    host.process("unregister", LABEL, "--unit", unit(number), check=True)

        changing = threading.Thread(target=change)
        changing.start()
        try:
            seen = []
            while changing.is_alive():
                seen.append(pool.members())
        finally:
            changing.join()
        assert all(members in allowed for members in seen), seen
        assert pool.members() == allowed[0]


def test_a_socket_is_one_member_whoever_registers_it(host: Host) -> None:
    """It goes over to the unit that registered it last, and does not get a double share."""
    with Pool(host, UDP) as pool:
        first, second = pool.add(1), pool.add(2)
        for number in (3, 4, 4, 1):
            assert pool.register(number, first).status == EXIT_OK
            assert pool.members() == {unit(2): 100, unit(number): 100}
        assert pool.register(1, second).status == EXIT_OK
        assert pool.members() == {unit(1): 100}
        assert set(pool.flows(50)) == {"web2"}
        assert pool.register(2, second).status == EXIT_OK
        assert pool.members() == {unit(2): 100}
        assert set(pool.flows(50)) == {"web2"}


def test_unregistering_the_label_empties_the_pool(host: Host) -> None:
    with Pool(host) as pool:
        servers = [pool.add(number) for number in (1, 2, 3)]
        host.ok("unregister", LABEL)
        assert pool.members() == {}
        assert set(pool.flows(5, "192.0.2.1")) == {"refused"}
        assert pool.register(2, servers[1]).status == EXIT_OK
        assert set(pool.flows(20, "192.0.2.2")) == {"web2"}


# Kinds of sockets


def test_each_family_and_protocol_has_a_pool_of_its_own(host: Host) -> None:
    with Pool(host) as tcp, Pool(host, UDP) as udp:
        tcp.add(1, address="::")
        tcp.add(2, address="127.0.0.1")
        tcp.add(3, address="::1")
        udp.add(4, address="::")
        assert set(tcp.flows(50)) == {"web1", "web2"}
        assert set(tcp.flows(50, "2001:db8::7")) == {"web1", "web3"}
        assert set(udp.flows(50)) == {"web4"}
        assert set(udp.flows(50, "2001:db8::7")) == {"web4"}
        assert tcp.members("ipv6") == {unit(1): 100, unit(3): 100}
        assert udp.members("ipv6") == {unit(4): 100}
        tcp.remove(1)
        assert set(tcp.flows(50, "192.0.2.8")) == {"web2"}
        assert set(tcp.flows(50, "2001:db8::8")) == {"web3"}


def test_flows_of_ipv6_are_shared_and_stay(host: Host) -> None:
    with Pool(host, UDP) as pool:
        for number in (1, 2, 3, 4):
            pool.add(number, address="::1")
        before = pool.flows(2000, "2001:db8::7")
        assert all(is_share(count, 2000, 1 / 4) for count in Counter(before).values()), before
        assert pool.flows(2000, "2001:db8::7") == before
        assert moved(before, pool.flows(2000, "2001:db8::8")) > 0.5


@BOTH
def test_a_reuseport_group_is_one_member(host: Host, protocol: int) -> None:
    """Its share is shared once more, by the kernel and between all sockets of the group."""
    with (
        Pool(host, protocol) as pool,
        host.namespace.serve("left", "127.0.0.1", 8080, protocol, reuseport=True) as left,
        host.namespace.serve("right", "127.0.0.1", 8080, protocol, reuseport=True),
    ):
        assert pool.register(1, left).status == EXIT_OK
        pool.add(2)
        count = Counter(pool.flows(2000))
        assert set(count) == {"left", "right", "web2"}
        assert is_share(count["web2"], 2000, 1 / 2), count


def test_connections_made_with_syn_cookies_are_shared_too(host: Host) -> None:
    """The kernel keeps nothing of them: the end of the handshake must find the same member."""
    host.namespace.sysctl("net.ipv4.tcp_syncookies", "2")  # always (ip-sysctl.rst)
    with Pool(host) as pool:
        for number in (1, 2, 3):
            pool.add(number)
        assert set(pool.flows(300)) == {"web1", "web2", "web3"}
        counted = host.namespace.run("nstat", "-asz", "TcpExtSyncookiesRecv").stdout
        assert "300" in counted.split()
        lookups, misses, errors = host.counters(LABEL)
        assert (lookups, misses, errors) == (600, 0, 0)


# Limits


def test_no_more_members_than_there_is_room_for(host: Host) -> None:
    with Pool(host, UDP) as pool:
        for number in range(1, MEMBERS_MAX + 1):
            pool.add(number)
        before = pool.flows(1000)
        assert len(set(before)) == MEMBERS_MAX
        late = pool.serve(MEMBERS_MAX + 1)
        outcome = pool.register(MEMBERS_MAX + 1, late)
        assert outcome.status == EXIT_REFUSED
        assert f"its pool has {MEMBERS_MAX} members already" in outcome.err
        assert pool.flows(1000) == before
        pool.remove(1)
        assert pool.register(MEMBERS_MAX + 1, late).status == EXIT_OK
        assert late.answered == 0
        assert f"web{MEMBERS_MAX + 1}" in pool.flows(1000)


def test_when_the_slots_run_out_nothing_changes(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not for the family that there would have been room for."""
    for name in ("SLOTS", "DESTINATION_SLOTS"):
        monkeypatch.setattr(f"sockreg.registry.slots.{name}", 16)
    host.ok("unload")
    # Two have a meaning of their own, four are the label's, eight the others': two are left.
    others = [f"[other{n}]\nBind=tcp 198.51.100.{n} 80" for n in range(8)]
    host.load(*RULES, *others)
    with Pool(host) as pool:
        pool.add(1, address="127.0.0.1")
        pool.add(2, address="127.0.0.1")
        late = pool.serve(3, "::")
        outcome = pool.register(3, late)
        assert outcome.status == EXIT_REFUSED
        assert f"no slot left for {unit(3)}: 14 are taken" in outcome.err
        assert pool.members() == {unit(1): 100, unit(2): 100}
        assert pool.members("ipv6") == {}
        assert set(pool.flows(50)) == {"web1", "web2"}
        assert set(pool.flows(5, "2001:db8::7")) == {"refused"}
        pool.remove(2)
        assert pool.register(3, late).status == EXIT_OK
        assert set(pool.flows(50, "192.0.2.8")) == {"web1", "web3"}


def test_a_kernel_that_cannot_copy_sockets_is_told_of(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_test_run(*_: object) -> bool:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    with Pool(host) as pool:
        pool.add(1)
        late = pool.serve(2)
        with monkeypatch.context() as patch:
            patch.setattr(bpf, "run_sk_lookup", without_test_run)
            outcome = pool.register(2, late)
        assert outcome.status == EXIT_REFUSED
        assert "the kernel cannot copy sk:" in outcome.err
        assert "several sockets under one label need Linux 5.13" in outcome.err
        with Maps(str(host.registry)) as maps:
            holders = {m.unit for m in read_members(maps) if cookie_in(maps, m.slot) == m.cookie}
        assert holders == {unit(1)}
        assert pool.members() == {unit(1): 100}
        assert set(pool.flows(20)) == {"web1"}


# Death


def test_a_death_while_a_pool_grows(host: Host) -> None:
    """One to two, two to three; the sockets left behind serve nobody else's label."""
    with Pool(host, UDP) as pool:
        servers = {1: pool.add(1), 2: pool.serve(2), 3: pool.serve(3)}
        for new in (2, 3):
            before = healed = pool.flows(60)
            for at in deaths(lambda new=new: pool.register(new, servers[new])):  # type: ignore[misc]
                assert set(pool.flows(60)) <= {f"web{number}" for number in range(1, new + 1)}
                assert unit(1) in pool.members()
                late = (f"late{at}", "udp", "192.0.2.99", "80")
                host.ok("bind", *late)
                assert set(ask_flows(host, range(3), "192.0.2.99")) == {"refused"}
                host.ok("unbind", *late)
                assert pool.register(new, servers[new]).status == EXIT_OK
                healed = pool.flows(60)
                assert set(healed) == {f"web{number}" for number in range(1, new + 1)}
                pool.remove(new)
                assert pool.flows(60) == before
            assert pool.flows(60) == healed


def test_a_death_while_a_pool_shrinks(host: Host) -> None:
    with Pool(host, UDP) as pool:
        servers = {number: pool.add(number) for number in (1, 2, 3)}
        for going in (3, 2):
            before = pool.flows(60)
            for _ in deaths(lambda going=going: pool.remove(going)):  # type: ignore[misc]
                assert set(pool.flows(60)) <= {f"web{number}" for number in range(1, going + 1)}
                assert unit(1) in pool.members()
                assert pool.register(going, servers[going]).status == EXIT_OK
                assert pool.flows(60) == before
            assert set(pool.flows(60)) == {f"web{number}" for number in range(1, going)}


def test_a_death_while_a_member_is_drained(host: Host) -> None:
    with Pool(host, UDP) as pool:
        for number in (1, 2):
            pool.add(number)
        before = pool.flows(60)
        for _ in deaths(lambda: host.ok("drain", LABEL, unit(2))):
            assert pool.flows(60) in (before, ["web1"] * 60)
            host.ok("drain", LABEL, unit(2))
            assert pool.flows(60) == ["web1"] * 60
            host.ok("weight", LABEL)
            assert pool.flows(60) == before

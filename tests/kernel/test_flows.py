"""Flows=sticky: a UDP flow stays with the member that got its first datagram."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter

import pytest

from sockreg.errors import EXIT_OK, EXIT_REFUSED
from sockreg.kernel.testrun import Question
from sockreg.registry import flows
from sockreg.registry.choice import chosen
from sockreg.registry.destinations import read_destinations
from sockreg.registry.layout import FLOWS
from sockreg.registry.maps import Maps
from sockreg.terms import INET
from tests.kernel.host import Host, cookie
from tests.kernel.pool import ADDRESS, RULES, Pool, ask_flows, moved, unit
from tests.netns import TCP, UDP

COUNT = 60


def write(host: Host, *lines: str) -> None:
    template = host.root / "etc/systemd/system/web@.socket"
    template.parent.mkdir(parents=True, exist_ok=True)
    binds = [line for line in RULES if line.startswith("Bind=")]
    template.write_text(
        "\n".join(
            [
                "[Socket]",
                "ListenStream=127.0.0.1:808%i",
                "ListenDatagram=127.0.0.1:808%i",
                "FileDescriptorName=web",
                "[X-Sockreg]",
                *binds,
                *lines,
                "",
            ]
        )
    )


def start(host: Host, *lines: str, members: int = 3) -> None:
    write(host, *lines)
    host.load()
    for number in range(1, members + 1):
        host.ok("apply", "--start", unit(number))


@pytest.fixture
def sticky(host: Host) -> Host:
    start(host, "Flows=sticky")
    return host


def noted(host: Host) -> flows.Flows:
    found = flows.read_flows(str(host.registry))
    assert found is not None
    return found


def test_a_flow_stays_when_the_pool_changes(sticky: Host) -> None:
    with Pool(sticky, UDP) as pool:
        pool.add(1)
        before = pool.flows(COUNT)
        assert set(before) == {"web1"}
        pool.add(2)
        pool.add(3, "--weight", "300")
        assert pool.flows(COUNT) == before
        # New flows go by weight.
        new = Counter(ask_flows(sticky, range(1000, 1200)))
        assert set(new) == {"web1", "web2", "web3"}
        assert new["web3"] > new["web2"]
        pool.remove(2)
        assert set(pool.flows(COUNT)) == {"web1"}
        assert "web2" not in ask_flows(sticky, range(1000, 1200))


def test_drain_means_what_it_means_for_tcp(sticky: Host) -> None:
    with Pool(sticky, UDP) as pool:
        pool.add(1)
        pool.add(2)
        before = pool.flows(COUNT)
        assert set(before) == {"web1", "web2"}
        sticky.ok("drain", "web", unit(1))
        assert pool.flows(COUNT) == before
        assert set(ask_flows(sticky, range(1000, 1200))) == {"web2"}
        sticky.ok("drain", "web", unit(2))
        assert pool.flows(COUNT) == before
        assert set(ask_flows(sticky, range(2000, 2020))) == {"refused"}
        sticky.ok("weight", "web", "--unit", unit(1))
        assert set(ask_flows(sticky, range(3000, 3020))) == {"web1"}


def test_without_it_a_drain_moves_flows(host: Host) -> None:
    start(host, members=2)
    with Pool(host, UDP) as pool:
        pool.add(1)
        pool.add(2)
        assert "web1" in pool.flows(COUNT)
        host.ok("drain", "web", unit(1))
        assert set(pool.flows(COUNT)) == {"web2"}
    assert flows.read_flows(str(host.registry)) is None
    assert not (host.registry / "owners").exists()


@pytest.mark.parametrize("address", ["127.0.0.1", "::"])
def test_a_replaced_socket_keeps_its_flows_while_it_lives(sticky: Host, address: str) -> None:
    asked = "2001:db8::7" if address == "::" else ADDRESS
    with Pool(sticky, UDP) as pool:
        old = pool.add(1, address=address)
        assert set(pool.flows(COUNT, asked)) == {"web1"}
        new = pool.serve(5, address)
        assert pool.register(1, new).status == EXIT_OK
        newest = pool.serve(6, address)
        assert set(ask_flows(sticky, range(1000, 1050), asked)) == {"web5"}
        assert pool.register(1, newest).status == EXIT_OK
        assert set(pool.flows(COUNT, asked)) == {"web1"}
        assert set(ask_flows(sticky, range(1000, 1050), asked)) == {"web5"}
        assert set(ask_flows(sticky, range(2000, 2050), asked)) == {"web6"}
        family = "ipv6" if address == "::" else "ipv4"
        assert pool.members(family) == {unit(1): 100}
        old.close()
        assert set(pool.flows(COUNT, asked)) == {"web6"}
        newest.close()
        # The flows of the one before it still have their socket; nobody is there for new ones.
        assert set(ask_flows(sticky, range(1000, 1050), asked)) == {"web5"}
        assert set(ask_flows(sticky, range(4000, 4010), asked)) == {"refused"}


def test_a_slot_that_another_socket_gets_takes_no_flows_along(sticky: Host) -> None:
    with Pool(sticky, UDP) as pool:
        first = pool.add(1)
        pool.add(2)
        before = pool.flows(COUNT)
        first.close()
        # The slot of web1 is free, and web3 gets it. Flows of web1 go by their hash, as new ones.
        pool.add(3, "--weight", "1")
        after = pool.flows(COUNT)
        assert [a for b, a in zip(before, after, strict=True) if b == "web2"] == ["web2"] * (
            before.count("web2")
        )
        assert after.count("web3") < COUNT / 10


def test_flows_outlive_rules_programs_and_what_attaches_them(sticky: Host) -> None:
    with Pool(sticky, UDP) as pool:
        pool.add(1)
        before = pool.flows(COUNT)
        pool.add(2)
        sticky.conf("[other]", "Bind=udp 198.51.100.0/24 80")
        sticky.ok("apply")
        assert pool.flows(COUNT) == before
        sticky.ok("upgrade")
        assert pool.flows(COUNT) == before
        sticky.ok("rollback")
        assert pool.flows(COUNT) == before
        sticky.ok("unload", "--keep")
        assert set(pool.flows(3)) == {"refused"}
        sticky.ok("load")
        assert pool.flows(COUNT) == before
        # More room takes the flows along.
        write(sticky, "Flows=sticky 131072")
        sticky.ok("apply")
        assert noted(sticky).room == 131072
        assert pool.flows(COUNT) == before


def test_it_comes_and_goes_with_the_files(host: Host) -> None:
    start(host, members=2)
    with Pool(host, UDP) as pool:
        pool.add(1)
        pool.add(2)
        before = pool.flows(COUNT)
        write(host, "Flows=sticky")
        host.ok("apply")
        assert pool.flows(COUNT) == before
        host.ok("drain", "web", unit(1))
        assert pool.flows(COUNT) == before
        write(host)
        host.ok("apply")
        # What a command has drained stays so: its weight in the files is as before.
        assert set(pool.flows(COUNT)) == {"web2"}
        for wrong in ("Flows=always", "Flows=sticky 7", "Flows=hash 4096"):
            write(host, wrong)
            assert wrong in host.run("apply").err
        write(host, "Flows=sticky", "Flows=")
        assert host.run("apply").err == ""


def test_tcp_is_not_concerned(sticky: Host) -> None:
    with Pool(sticky, TCP) as pool:
        pool.add(1)
        assert set(pool.flows(20)) == {"web1"}
        assert noted(sticky).flows == []


def test_flows_that_find_no_room_go_by_their_hash(host: Host) -> None:
    start(host, "Flows=sticky 1024", members=2)
    with Pool(host, UDP) as pool:
        pool.add(1)
        pool.add(2)
        before = pool.flows(1)
        ask_flows(host, range(1000, 2500))
        found = noted(host)
        assert len(found.flows) <= found.room == 1024
        assert found.evicted == 1501 - len(found.flows)
        assert pool.flows(1) == before
        assert sum(found.by_member().values()) == len(found.flows)


def test_a_trace_decides_the_same(sticky: Host) -> None:
    with Pool(sticky, UDP) as pool:
        pool.add(1)
        before = pool.flows(COUNT)
        pool.add(2)
        command = sticky.command("trace", "--seconds", "60", "--count", str(COUNT))
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tracer:
            while not list((sticky.registry / "generations").glob("*/tracing")):
                time.sleep(0.05)
            time.sleep(0.2)
            assert moved(before, pool.flows(COUNT)) == 0
            out, _ = tracer.communicate(timeout=60)
        assert len(out.splitlines()) >= COUNT


def test_a_registry_of_an_earlier_version_gets_what_it_needs(host: Host) -> None:
    start(host, members=2)
    with Pool(host, UDP) as pool:
        pool.add(1)
        pool.add(2)
        assert not (host.registry / "flows").exists()
        write(host, "Flows=sticky")
        host.ok("apply")
        assert noted(host).room == FLOWS
        pool.flows(COUNT)
        assert len(noted(host).flows) == COUNT


def test_what_is_shown(sticky: Host) -> None:
    text = sticky.fails(EXIT_REFUSED, "flows", "nobody")
    assert "no label nobody" in text
    with Pool(sticky, UDP) as pool:
        old = pool.add(1)
        pool.flows(3)
        assert pool.register(1, pool.serve(5)).status == EXIT_OK
        pool.add(2)
        ask_flows(sticky, range(1000, 1020))
        shown = sticky.json("flows", "web")
        assert shown["noted"] == 23
        assert shown["evicted"] == 0
        assert [(flow["remote"], flow["unit"], flow["cookie"]) for flow in shown["flows"][:3]] == [
            (f"127.0.0.1:2000{flow}", unit(1), cookie(old.sock)) for flow in range(3)
        ]
        assert {flow["local"] for flow in shown["flows"]} == {f"{ADDRESS}:80"}
        status = sticky.json("status")
        assert status["flows"] == {"noted": 23, "room": FLOWS, "evicted": 0}
        members = [
            member["flows"]
            for destination in status["destinations"]
            for member in destination["members"]
        ]
        assert sum(members) == 23
        text = sticky.ok("status")
        assert "23 flows noted, room for 65536, 0 had to give way" in text
        assert "FLOWS" in text
        text = sticky.ok("metrics")
        of_units = re.findall(r"sockreg_member_flows\{.*\} (\S+)", text)
        assert sum(map(float, of_units)) == 23
        assert "sockreg_flows_evicted_total 0.0" in text
        old.close()
        assert f"{cookie(pool.serve(9).sock)}" not in sticky.ok("flows")
        assert ", closed" in sticky.ok("flows", "web")


def test_without_it_flows_says_what_to_do(host: Host) -> None:
    start(host, members=1)
    assert "no unit says Flows=sticky" in host.fails(EXIT_REFUSED, "flows")


def test_explain_says_where_a_flow_goes(sticky: Host) -> None:
    with Pool(sticky, UDP) as pool:
        first = pool.add(1)
        pool.flows(8)
        pool.add(2)
        with Maps(str(sticky.registry), read_only=True) as maps:
            (slot,) = (
                slot
                for (label, family, protocol, listener), slot in read_destinations(maps).items()
                if (label, family, protocol, listener) == ("web", INET, UDP, 0)
            )
            for number in range(8):
                source = f"127.0.0.1:{20000 + number}"
                told = sticky.json("explain", "udp", ADDRESS, "80", "from", source)
                assert told["target"]["cookie"] == cookie(first.sock)
                question = Question(INET, UDP, (ADDRESS, 80), ("127.0.0.1", 20000 + number))
                assert f"sk:{chosen(maps, slot, question):x}" == cookie(first.sock)


def test_a_label_that_keeps_none_is_told_so(sticky: Host) -> None:
    sticky.apply("[plain]", "Bind=udp 192.0.2.0/24 90")
    with sticky.namespace.serve("plain", "127.0.0.1", 8090, UDP) as server:
        assert sticky.ok("flows", "plain").startswith("LABEL")  # nobody has registered
        assert sticky.register([("plain", server.sock)]).status == EXIT_OK
        said = sticky.fails(EXIT_REFUSED, "flows", "plain")
        assert "no unit of label plain says Flows=sticky" in said
        assert "plain" not in sticky.ok("flows")

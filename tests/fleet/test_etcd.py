"""etcd as the source of rules: three members, and three hosts that follow them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sockreg.follow import files
from sockreg.systemd import journal
from tests.fleet.conftest import SERVICE
from tests.fleet.etcd import NAMES, Cluster
from tests.sandbox import Sandbox
from tests.systemd.units import messages

KEY = "/sockreg/rules/web.conf"
CONF = "/etc/sockreg/etcd-web.conf"
UNIT = "sockreg-etcd.service"
Hosts = dict[str, Sandbox]


def rules(port: int) -> str:
    return f"[web]\nBind=tcp 192.0.2.0/24 {port}\n"


@pytest.fixture
def cluster(hosts: Hosts, tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, hosts) as made:
        for name, box in hosts.items():
            box.run(["mkdir", "-p", "/etc/sockreg"])
            box.write(
                "/etc/sockreg/etcd.env",
                f"SOCKREG_ETCD={' '.join(made.endpoints)}\nSOCKREG_ETCD_HOST={name}\n",
            )
            box.systemctl("enable", "--now", "sockreg@web", UNIT)
        yield made


def all_serve(hosts: Hosts, port: int) -> None:
    """Wait until each host is steered by the rules for this port, and by no other."""
    for name, box in hosts.items():
        box.wait(
            lambda name=name, box=box: (box.ask(SERVICE, port) or "").split()[:1] == [name],  # type: ignore[misc]
            f"{name} serving port {port}",
            deadline=120,
        )


def all_report(
    hosts: Hosts, cluster: Cluster, state: str, said: str = ""
) -> dict[str, dict[str, Any]]:
    """Wait until each host has reported this state, for the same files; returns the reports.

    ``said`` is in what each reports as a problem, or the text of the only file that is in force.
    """
    digest = files.digest({CONF: said})

    def is_meant(report: Mapping[str, Any]) -> bool:
        return not said or report["digest"] == digest or said in str(report["problems"])

    def reported() -> bool:
        found = cluster.reports().values()
        return (
            {it["host"] for it in found} == hosts.keys()
            and {it["state"] for it in found} == {state}
            and len({it["digest"] for it in found}) == 1
            and all(map(is_meant, found))
        )

    next(iter(hosts.values())).wait(reported, f"all reports: {state} {said}", deadline=120)
    return cluster.reports()


def all_have(hosts: Hosts, cluster: Cluster, port: int) -> None:
    """Wait until the only rules are those for a port, and confirmed."""
    all_serve(hosts, port)
    all_report(hosts, cluster, "in force", rules(port))


def generation(box: Sandbox) -> int:
    text = box.run(["sockreg", "status", "--lines", "0"]).stdout
    return int(text.partition("generation ")[2].partition(",")[0])


def test_rules_come_change_and_go(hosts: Hosts, cluster: Cluster) -> None:
    cluster.put(KEY, rules(80))
    all_serve(hosts, 80)
    reports = all_report(hosts, cluster, "in force")
    for name, box in hosts.items():
        assert box.read(CONF) == rules(80)
        assert reports[name]["generation"] == generation(box)
        assert reports[name]["rules"] == 2  # with that of web.socket
        assert "trial" not in box.run(["sockreg", "status"]).stdout
    cluster.put("/sockreg/rules/more", "# a comment\n")
    cluster.put(KEY, rules(81))
    all_serve(hosts, 81)
    assert {box.ask(SERVICE, 80) for box in hosts.values()} == {"refused"}
    cluster.delete(KEY)
    for box in hosts.values():
        box.wait(lambda box=box: box.ask(SERVICE, 81) == "refused", deadline=60)  # type: ignore[misc]
        box.wait(lambda box=box: CONF not in _files(box), deadline=60)  # type: ignore[misc]
    # As after a restore of an empty store: nobody means that.
    cluster.put(KEY, rules(82))
    all_serve(hosts, 82)
    cluster.delete(KEY)
    cluster.delete("/sockreg/rules/more")
    all_report(hosts, cluster, "refused", "there is no key below /sockreg/rules/")
    all_serve(hosts, 82)


def test_what_is_wrong_is_refused_everywhere_and_told(hosts: Hosts, cluster: Cluster) -> None:
    cluster.put(KEY, rules(80))
    all_have(hosts, cluster, 80)
    cluster.put(KEY, rules(81) + "Bind=tcp 192.0.2.300 80\n")
    for name, report in all_report(hosts, cluster, "refused", f"{CONF}:3").items():
        assert f"{CONF}:3" in str(report["problems"])
        box = hosts[name]
        assert box.read(CONF) == rules(80)
        told = messages(box, f"MESSAGE_ID={journal.APPLY_REFUSED}", "-u", UNIT)
        assert [f"{CONF}:3" in text for text in told] == [True]
    all_serve(hosts, 80)
    cluster.put("/sockreg/rules/..%2f", "")
    cluster.put(KEY, rules(82))
    all_report(hosts, cluster, "refused", "names no file")
    cluster.delete("/sockreg/rules/..%2f")
    all_serve(hosts, 82)
    with ExitStack() as servers:
        for box in hosts.values():
            servers.enter_context(box.network.serve("sshd", "0.0.0.0", 22))
        cluster.put(KEY, "[web]\nBind=tcp 0.0.0.0/0 *\n")
        all_report(hosts, cluster, "refused", "which ssh listens on")
        assert {box.ask("127.0.0.1", 22) for box in hosts.values()} == {"sshd"}
    # Wrong on one host only: it ties with a file of its own there.
    hosts["two"].write("/etc/sockreg/own.conf", "[own]\nBind=tcp 192.0.2.0/24 83\n")
    cluster.put(KEY, rules(83))
    all_serve({name: box for name, box in hosts.items() if name != "two"}, 83)
    hosts["two"].wait(lambda: cluster.reports()["two"]["state"] == "refused", deadline=60)
    assert hosts["two"].ask(SERVICE, 82).startswith("two")
    hosts["two"].run(["rm", "/etc/sockreg/own.conf"])
    all_serve(hosts, 83)  # by itself, at the next look
    all_report(hosts, cluster, "in force")


def test_etcd_goes_and_comes_back(hosts: Hosts, cluster: Cluster) -> None:
    """Rules stay, also over a reboot; what has changed meanwhile comes by itself."""
    cluster.put(KEY, rules(80))
    all_have(hosts, cluster, 80)
    cluster.kill(NAMES[0])
    cluster.put(KEY, rules(81))
    all_have(hosts, cluster, 81)
    # It has no majority any more: what it knows may be old, and it answers no question.
    cluster.kill(NAMES[1])
    box = hosts["one"]
    box.wait(
        lambda: any("etcd does not answer" in text for text in messages(box, "-u", UNIT)),
        "the entry about it",
        deadline=120,
    )
    cluster.kill(NAMES[2])
    box.reboot()
    box.network.add_local("192.0.2.0/24")
    cluster.join(box.network, 11)
    all_serve(hosts, 81)
    assert box.show(UNIT, "ActiveState") == "active"
    cluster.start(*NAMES)
    cluster.put(KEY, rules(82))
    all_have(hosts, cluster, 82)
    told = [text for text in messages(hosts["two"], "-u", UNIT) if "etcd" in text]
    assert len([text for text in told if "does not answer" in text]) <= 3


def test_a_member_that_hangs(hosts: Hosts, cluster: Cluster) -> None:
    """Its connections stay, and nothing comes from it."""
    cluster.put(KEY, rules(80))
    all_have(hosts, cluster, 80)
    cluster.pause(NAMES[2])
    try:
        cluster.put(KEY, rules(81))
        all_serve(hosts, 81)
    finally:
        cluster.pause(NAMES[2], on=False)


def test_a_hundred_changes_a_second_are_few_generations(hosts: Hosts, cluster: Cluster) -> None:
    cluster.put(KEY, rules(80))
    all_have(hosts, cluster, 80)
    before = {name: generation(box) for name, box in hosts.items()}
    begun = time.monotonic()
    with cluster.burst(KEY, [rules(1000 + number) for number in range(800)], 0.01):
        pass
    seconds = time.monotonic() - begun
    all_have(hosts, cluster, 1799)
    for name, box in hosts.items():
        assert generation(box) - before[name] <= seconds + 3
        assert box.read(CONF) == rules(1799)


def test_a_host_that_is_not_well_goes_back_and_reports(hosts: Hosts, cluster: Cluster) -> None:
    box = hosts["two"]
    add(box, "SOCKREG_ETCD_HEALTH=/usr/local/bin/well\n")
    health = f"python3 -c \"import socket; socket.create_connection(('{SERVICE}', 80), 5)\""
    box.write("/usr/local/bin/well", f"#!/bin/sh\nexec {health}\n")
    box.run(["chmod", "+x", "/usr/local/bin/well"])
    box.systemctl("restart", UNIT)
    cluster.put(KEY, rules(80))
    all_have(hosts, cluster, 80)
    all_report(hosts, cluster, "in force")
    cluster.put(KEY, rules(81))
    box.wait(lambda: cluster.reports()["two"]["state"] == "not well", deadline=60)
    assert "/usr/local/bin/well: status 1" in str(cluster.reports()["two"]["problems"])
    assert box.ask(SERVICE, 80).startswith("two")
    assert box.read(CONF) == rules(80)
    all_serve({name: box for name, box in hosts.items() if name != "two"}, 81)
    cluster.put(KEY, "[web]\nBind=tcp 192.0.2.0/24 80,81\n")
    all_serve(hosts, 81)
    all_report(hosts, cluster, "in force")


def test_a_follower_that_dies_in_a_trial(hosts: Hosts, cluster: Cluster) -> None:
    """Nobody confirms, so the host goes back by itself; the next one tries again."""
    box = hosts["one"]
    cluster.put(KEY, rules(80))
    all_have(hosts, cluster, 80)
    add(box, "SOCKREG_ETCD_HEALTH=test -e /run/well || sleep 60\nSOCKREG_ETCD_CONFIRM=5\n")
    box.systemctl("restart", UNIT)
    cluster.put(KEY, rules(81))
    box.wait(lambda: box.ask(SERVICE, 81).startswith("one"), "the trial", deadline=60)
    box.write("/run/well", "")
    box.systemctl("kill", "--signal=KILL", UNIT)
    all_have(hosts, cluster, 81)
    assert "trial" not in box.run(["sockreg", "status"]).stdout


def test_a_follower_that_starts_again_before_a_trial_ends(hosts: Hosts, cluster: Cluster) -> None:
    """What it finds in force is only on trial, and goes back by itself; it does not stay so."""
    box = hosts["one"]
    add(box, "SOCKREG_ETCD_HEALTH=test -e /run/well || sleep 60\nSOCKREG_ETCD_CONFIRM=20\n")
    box.systemctl("restart", UNIT)
    cluster.put(KEY, rules(80))
    box.wait(lambda: box.ask(SERVICE, 80).startswith("one"), "the trial", deadline=60)
    box.write("/run/well", "")
    box.systemctl("restart", UNIT)
    box.wait(lambda: box.ask(SERVICE, 80) == "refused", "the end of the trial", deadline=60)
    all_have(hosts, cluster, 80)


def test_a_registry_that_is_loaded_again(hosts: Hosts, cluster: Cluster) -> None:
    """The unit sees the directory of the one before, until it starts again."""
    cluster.put(KEY, rules(80))
    all_have(hosts, cluster, 80)
    box = hosts["one"]
    box.run(["sockreg", "unload"])
    box.run(["sockreg", "load", "--units", "--state", "/var/lib/sockreg"])
    assert box.ask(SERVICE, 80).startswith("one")
    cluster.put(KEY, rules(81))
    all_have(hosts, cluster, 81)


def test_a_user_of_etcd_who_may_do_no_more_than_he_must(hosts: Hosts, cluster: Cluster) -> None:
    """Read the rules, and write the report of his host. His token is renewed."""
    for words in (
        ("user", "add", "root:secret"),
        ("user", "grant-role", "root", "root"),
        ("role", "add", "host"),
        ("role", "grant-permission", "host", "--prefix=true", "read", "/sockreg/rules/"),
        ("role", "grant-permission", "host", "write", "/sockreg/hosts/one"),
        ("user", "add", "one:hush"),
        ("user", "grant-role", "one", "host"),
        ("auth", "enable"),
    ):
        cluster.control(*words)
    box = hosts["one"]
    add(box, "SOCKREG_ETCD_USER=one\nSOCKREG_ETCD_PASSWORD=hush\n")
    box.systemctl("restart", UNIT)
    cluster.control("put", KEY, rules(80), user="root:secret")
    all_serve({"one": box}, 80)
    mine = ("get", "--print-value-only", "/sockreg/hosts/one")
    box.wait(lambda: '"in force"' in cluster.control(*mine, user="root:secret"), deadline=60)
    cluster.control("user", "delete", "one", user="root:secret")
    cluster.control("put", KEY, rules(81), user="root:secret")
    box.wait(
        lambda: any("etcd does not answer" in text for text in messages(box, "-u", UNIT)),
        "the entry about the user who is no more",
        deadline=120,
    )
    assert box.ask(SERVICE, 80).startswith("one")


def test_a_wrong_environment_is_said(hosts: Hosts) -> None:
    box = hosts["one"]
    box.systemctl("start", "sockreg.service", UNIT)
    assert box.show(UNIT, "ActiveState") == "inactive"  # there is no etcd.env
    for text, said in (
        ("", "names no member of etcd"),
        ("SOCKREG_ETCD=http://192.0.2.1\n", "is not the URL of a member"),
        ("SOCKREG_ETCD=http://192.0.2.1:2379\nSOCKREG_ETCD_CONFIRM=soon\n", "number of seconds"),
    ):
        box.write("/etc/sockreg/etcd.env", text)
        box.systemctl("start", UNIT, check=False)
        box.wait(lambda: box.show(UNIT, "ActiveState") == "failed", deadline=30)
        assert any(said in line for line in messages(box, "-u", UNIT))
    assert box.show(UNIT, "NRestarts") == "0"


def add(box: Sandbox, lines: str) -> None:
    """Add settings for the unit."""
    box.write("/etc/sockreg/etcd.env", box.read("/etc/sockreg/etcd.env") + lines)


def _files(box: Sandbox) -> str:
    return box.run(["sh", "-c", "echo /etc/sockreg/*"]).stdout

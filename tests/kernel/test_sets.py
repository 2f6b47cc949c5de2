"""Rules that name sets of prefixes, in the kernel."""

from __future__ import annotations

from sockreg.errors import EXIT_CONFIG, EXIT_USAGE
from tests.kernel.host import Host
from tests.kernel.test_ending import wait_until

SETS = "etc/sockreg/sets.conf"


def put(host: Host, name: str, *lines: str) -> None:
    path = host.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]))


def answers(host: Host, *addresses: str, port: int = 80) -> list[str]:
    return [host.ask(address, port) for address in addresses]


def test_a_changed_set_changes_all_its_rules_in_one_step(host: Host) -> None:
    put(host, SETS, "[:prefixes]", "all=192.0.2.1 file:/etc/sockreg/more.txt", "v6=2001:db8::1")
    put(host, "etc/sockreg/more.txt", "192.0.2.4-192.0.2.5  # two")
    host.load("[web]", "Bind=tcp @all,@v6 http", "[dns]", "Bind=udp @all 53", "Bind=tcp @all 81")
    with host.serve("web", "::", 8080), host.serve("dns", "127.0.0.1", 8081):
        assert answers(host, "192.0.2.1", "192.0.2.3", "192.0.2.4", "192.0.2.5", "2001:db8::1") == [
            "web", "refused", "web", "web", "web",
        ]  # fmt: skip
        assert answers(host, "192.0.2.5", port=81) == ["dns"]
        put(host, "etc/sockreg/more.txt", "192.0.2.3")
        assert "generation 2 in force" in host.ok("apply")
        assert answers(host, "192.0.2.1", "192.0.2.3", "192.0.2.4", "192.0.2.5", "2001:db8::1") == [
            "web", "web", "refused", "refused", "web",
        ]  # fmt: skip
        assert answers(host, "192.0.2.3", "192.0.2.5", port=81) == ["dns", "refused"]
        put(host, SETS, "[:prefixes]", "all=192.0.2.9/33", "v6=2001:db8::1")
        refused = host.run("apply")
        assert refused.status == EXIT_CONFIG
        assert f"{SETS}:2: set all: prefix '192.0.2.9/33'" in refused.err
        assert "Bind=tcp @all,@v6 http: set @all of " in refused.err
        assert answers(host, "192.0.2.1", "192.0.2.3", "192.0.2.9") == ["web", "web", "refused"]


def test_sets_are_listed_with_their_uses(host: Host) -> None:
    put(host, SETS, "[:prefixes]", "all=192.0.2.1 @more", "more=192.0.2.4-192.0.2.9", "none=@lost")
    path = host.conf("[web]", "Bind=tcp @all,@more 80")
    found = {it["name"]: it for it in host.json("rules", "--sets")}
    assert found["all"]["prefixes"] == ["192.0.2.1", "192.0.2.4/30", "192.0.2.8/31"]
    assert found["all"]["users"] == [{"file": str(path), "line": 2}]
    assert [user["line"] for user in found["more"]["users"]] == [2, 2]
    assert found["none"]["problem"] == "there is no set @lost"
    listed = host.ok("rules", "--sets")
    assert "192.0.2.1, 192.0.2.4/30, 192.0.2.8/31" in listed
    assert "there is no set @lost" in listed


def test_a_bound_set_stays_a_set(host: Host) -> None:
    put(host, SETS, "[:prefixes]", "all=192.0.2.1 2001:db8::1", "more=192.0.2.5")
    host.load()
    bound = host.root / "etc/sockreg/90-bind.conf"
    with host.serve("web", "::", 8080), host.serve("canary", "::", 8081):
        assert "+ bind web: tcp 2001:db8::1 80" in host.ok("bind", "web", "tcp", "@all", "80,http")
        assert "Bind=tcp @all 80\n" in bound.read_text()
        host.ok("bind", "web", "tcp", "@more,192.0.2.7", "80", "from", "127.0.0.0/8")
        asked = ("192.0.2.1", "192.0.2.2", "192.0.2.5", "192.0.2.7")
        assert answers(host, *asked, "2001:db8::1") == ["web", "refused", "web", "web", "web"]
        assert "nothing to change" in host.ok("bind", "web", "tcp", "@all", "80")
        put(host, SETS, "[:prefixes]", "all=192.0.2.2", "more=192.0.2.5")
        host.ok("apply")
        assert answers(host, *asked, "2001:db8::1") == ["refused", "web", "web", "web", "refused"]
        # Another label in one step.
        assert "ties with" in host.fails(EXIT_CONFIG, "bind", "canary", "tcp", "@all", "80")
        assert "Bind=tcp @all 80 (web) of " in host.ok(
            "bind", "--replace", "canary", "tcp", "@all", "80"
        )
        assert answers(host, *asked) == ["refused", "canary", "web", "web"]
        host.ok("unbind", "web", "tcp", "@more", "80", "from", "127.0.0.0/8")
        assert answers(host, *asked) == ["refused", "canary", "refused", "web"]
        host.ok("unbind", "canary", "tcp", "@all", "80")
        assert [rule["rule"] for rule in host.json("rules")] == [
            "tcp 192.0.2.7 80 from 127.0.0.0/8"
        ]


def test_a_bound_set_ends_by_itself(host: Host) -> None:
    put(host, SETS, "[:prefixes]", "all=192.0.2.1")
    host.load()
    with host.serve("web", "127.0.0.1", 8080):
        told = host.ok("bind", "--for", "1s", "web", "udp", "@all", "80", "from", "127.0.0.1")
        assert "this ends by itself in " in told
        (rule,) = host.json("rules")
        assert rule["until"] is not None
        wait_until(lambda: host.json("rules") == [])


def test_what_is_wrong_with_a_bound_set_is_said(host: Host) -> None:
    put(host, SETS, "[:prefixes]", "all=192.0.2.1 192.0.2.2", "none=")
    host.load()
    for name in ("@lost", "@", "@a,@b,", "@all/24"):
        refused = host.run("bind", "web", "tcp", name, "80")
        assert refused.status in (EXIT_CONFIG, EXIT_USAGE), name
    assert "there is no set @lost" in host.fails(EXIT_CONFIG, "bind", "web", "tcp", "@lost", "80")
    assert host.json("rules") == []
    assert "set @none is empty" in host.ok("bind", "web", "tcp", "@none", "80")
    host.ok("bind", "web", "tcp", "@all", "80")
    part = host.fails(EXIT_CONFIG, "unbind", "web", "tcp", "192.0.2.1", "80")
    assert "90-bind.conf:" in part
    assert "take it out of the set, or 'sockreg unbind' the set" in part
    absent = host.fails(EXIT_CONFIG, "unbind", "web", "tcp", "@lost", "80")
    assert "bind has not added Bind=tcp @lost 80 (web)" in absent
    assert "'sockreg rules --sets'" in absent


def test_a_set_without_a_socket_is_one_remark(host: Host) -> None:
    put(host, SETS, "[:prefixes]", "all=192.0.2.1 192.0.2.3 192.0.2.5")
    host.load("[web]", "Bind=udp @all 53 until=2199-01-02T03:04:05Z", "Bind=udp 192.0.2.7 53")
    shown = host.ok("listeners", "--udp")
    assert shown.count("none    label web") == 4
    assert shown.count("the label has no socket") == 2
    assert "udp 192.0.2.1 53 (and 2 more rules of the line) ends in " in host.ok("status")

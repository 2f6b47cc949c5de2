"""Rules that name sets of prefixes, in the kernel."""

from __future__ import annotations

from sockreg.errors import EXIT_CONFIG
from tests.kernel.host import Host

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


def test_bind_takes_no_set_and_leaves_lines_with_one_alone(host: Host) -> None:
    put(host, SETS, "[:prefixes]", "all=192.0.2.1 192.0.2.2")
    host.load("[web]", "Bind=tcp 192.0.2.9 80")
    refused = host.run("bind", "web", "tcp", "@all", "80")
    assert refused.status != 0
    assert "@all: only rules in files name sets" in refused.err
    host.ok("bind", "web", "tcp", "192.0.2.7", "80")
    bound = host.root / "etc/sockreg/90-bind.conf"
    bound.write_text(bound.read_text().replace("[web]\n", "[web]\nBind=tcp @all 80\n"))
    host.ok("apply")
    with host.serve("web", "127.0.0.1", 8080):
        host.ok("bind", "web", "tcp", "192.0.2.8", "80")
        elsewhere = host.run("unbind", "web", "tcp", "192.0.2.1", "80")
        assert elsewhere.status == EXIT_CONFIG
        assert "is in " in elsewhere.err
        host.ok("unbind", "web", "tcp", "192.0.2.7", "80")
        assert "Bind=tcp @all 80\n" in bound.read_text()
        assert answers(host, "192.0.2.1", "192.0.2.7", "192.0.2.8") == ["web", "refused", "web"]

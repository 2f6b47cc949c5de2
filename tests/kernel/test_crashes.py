"""A command killed before any of its changes leaves what the next one can put right."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockreg.errors import EXIT_NOT_LOADED, EXIT_OK
from tests.kernel.dying import deaths
from tests.kernel.host import Host, cookie
from tests.netns import Server

OLD = ["[old]", "Bind=tcp 192.0.2.0/24 80", "[new]", "Bind=tcp 192.0.2.0/24 443"]
NEW = ["[new]", "Bind=tcp 192.0.2.0/24 80", "[more]", "Bind=tcp 192.0.2.0/24 443"]
RULES_OLD, RULES_NEW = ("old", "new"), ("new", "refused")
NOT_LOADED = ("ordinary", "refused")


def answers(host: Host) -> tuple[str, str]:
    return host.ask("192.0.2.7", 80), host.ask("192.0.2.7", 443)


def unfinished(host: Host) -> list[Path]:
    return list(host.bpffs.rglob("new-*"))


def servers(host: Host) -> tuple[Server, Server, Server]:
    return (
        host.namespace.serve("old", "127.0.0.1", 8080),
        host.namespace.serve("new", "127.0.0.1", 8081),
        host.namespace.serve("ordinary", "0.0.0.0", 80),
    )


def register_both(host: Host, old: Server, new: Server) -> None:
    assert host.register([("old", old.sock), ("new", new.sock)]).status == EXIT_OK


def looks_right(host: Host) -> None:
    """Readers work on whatever is there."""
    for verb in ("status", "rules"):
        outcome = host.run(verb)
        assert outcome.status in (EXIT_OK, EXIT_NOT_LOADED), outcome.text


@pytest.mark.long  # the calls around each point of no return are tried in tests/faults
def test_load(host: Host) -> None:
    old, new, ordinary = servers(host)
    host.conf(*OLD)
    with old, new, ordinary:
        for _ in deaths(lambda: host.ok("load")):
            assert answers(host) in (NOT_LOADED, ("refused", "refused"))
            looks_right(host)
            host.ok("load")
            assert not unfinished(host)
            register_both(host, old, new)
            assert answers(host) == RULES_OLD
            host.ok("unload")
            assert answers(host) == NOT_LOADED


@pytest.mark.long
def test_apply(host: Host) -> None:
    old, new, ordinary = servers(host)
    with old, new, ordinary:
        host.load(*OLD)
        register_both(host, old, new)
        host.conf(*NEW)
        seen = set()
        for number in deaths(lambda: host.ok("apply")):
            seen.add(answers(host))
            looks_right(host)
            host.ok("load" if number % 2 else "apply")
            assert answers(host) == RULES_NEW
            assert not unfinished(host)
            host.apply(*OLD)
            assert answers(host) == RULES_OLD
            assert len(list((host.registry / "generations").iterdir())) == 2
            host.conf(*NEW)
        assert seen == {RULES_OLD, RULES_NEW}


def test_following_an_interface(host: Host) -> None:
    def add() -> None:
        host.namespace.run("ip", "link", "add", "br0", "type", "bridge")

    def is_pending() -> bool:
        return bool(host.json("rules")[2]["pending"])

    old, new, ordinary = servers(host)
    with old, new, ordinary:
        host.load(*OLD, "Bind=tcp 192.0.2.0/24 80 dev br0")
        register_both(host, old, new)
        add()
        seen = set()
        for number in deaths(lambda: host.ok("apply", "--interfaces")):
            seen.add(is_pending())
            assert answers(host) == RULES_OLD
            looks_right(host)
            host.ok("apply", *(["--interfaces"] if number % 2 else []))
            assert not is_pending()
            host.namespace.run("ip", "link", "del", "br0")
            host.ok("apply", "--interfaces")
            assert is_pending()
            assert not unfinished(host)
            add()
        assert seen == {True, False}


def test_bind(host: Host) -> None:
    old, new, ordinary = servers(host)
    with old, new, ordinary:
        host.load(*OLD)
        register_both(host, old, new)
        rule = ("old", "tcp", "192.0.2.7", "443")
        for _ in deaths(lambda: host.ok("bind", *rule)):
            assert answers(host) in (RULES_OLD, ("old", "old"))
            host.ok("apply")
            assert answers(host) in (RULES_OLD, ("old", "old"))
            if answers(host) == RULES_OLD:
                host.ok("bind", *rule)
            assert answers(host) == ("old", "old")
            assert not unfinished(host)
            host.ok("unbind", *rule)
            assert answers(host) == RULES_OLD
            left = [path.name for path in (host.root / "etc/sockreg").glob("*.conf")]
            assert left == ["rules.conf"]


def test_unload(host: Host) -> None:
    old, new, ordinary = servers(host)
    with old, new, ordinary:
        host.load(*OLD)
        register_both(host, old, new)
        seen = set()
        for number in deaths(lambda: host.ok("unload")):
            seen.add(answers(host))
            looks_right(host)
            if number % 2:
                assert host.run("unload").status in (EXIT_OK, EXIT_NOT_LOADED)
            host.ok("load")
            assert not unfinished(host)
            register_both(host, old, new)
            assert answers(host) == RULES_OLD
        assert seen == {RULES_OLD, NOT_LOADED}
        assert host.run("unload").status == EXIT_NOT_LOADED
        assert answers(host) == NOT_LOADED


def test_register_and_replace(host: Host) -> None:
    old, new, ordinary = servers(host)
    host.load("[web]", "Bind=tcp 192.0.2.0/24 80")
    with old, new, ordinary:
        host.register([("web", old.sock)], unit="web.socket")
        for _ in deaths(lambda: host.register([("web", new.sock)], unit="web.socket")):
            registered = host.registered("web")
            assert host.ask("192.0.2.7", 80) == ("old" if registered == cookie(old.sock) else "new")
            assert host.register([("web", new.sock)], unit="web.socket").status == EXIT_OK
            assert host.ask("192.0.2.7", 80) == "new"
            assert host.registered("web") == cookie(new.sock)
            assert host.register([("web", old.sock)], unit="web.socket").status == EXIT_OK
            assert host.ask("192.0.2.7", 80) == "old"
        assert host.ask("192.0.2.7", 80) == "new"


def test_register_first(host: Host) -> None:
    old, new, ordinary = servers(host)
    host.load(*NEW)
    with old, new, ordinary:
        for _ in deaths(lambda: host.register([("new", new.sock)])):
            assert host.ask("192.0.2.7", 80) in ("new", "refused")
            looks_right(host)
            assert host.register([("new", new.sock)]).status == EXIT_OK
            assert answers(host) == RULES_NEW
            host.ok("unregister", "new")
            assert answers(host) == ("refused", "refused")


def test_unregister(host: Host) -> None:
    old, new, ordinary = servers(host)
    host.load(*OLD)
    with old, new, ordinary:
        register_both(host, old, new)
        for _ in deaths(lambda: host.ok("unregister", "old")):
            assert host.ask("192.0.2.7", 80) in ("old", "refused")
            looks_right(host)
            assert host.register([("old", old.sock)]).status == EXIT_OK
            assert answers(host) == RULES_OLD
        assert answers(host) == ("refused", "new")

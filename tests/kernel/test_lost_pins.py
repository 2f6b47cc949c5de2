"""Pins that somebody removed, or put something else in the place of: named, with a way out."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockreg.errors import EXIT_NOT_LOADED, EXIT_OK
from sockreg.kernel import bpf, libbpf
from tests.kernel.host import Host
from tests.netns import Server

RULES = ("[web]", "Bind=tcp 192.0.2.0/24 80", "[api]", "Bind=tcp 192.0.2.0/24 81")
LOOKS = [
    ["status"], ["rules"], ["explain", "tcp", "192.0.2.7", "80"], ["listeners"],
    ["inspect", "web"], ["check"], ["graph"], ["metrics"], ["report"],
]  # fmt: skip
CHANGES = [
    ["apply"], ["bind", "web", "tcp", "192.0.2.9", "80"],
    ["unbind", "web", "tcp", "192.0.2.9", "80"], ["weight", "web", "9"], ["rollback"],
    ["upgrade"], ["load"],
]  # fmt: skip
# The in-force generation is the second one; its number is 2.
PINS = [
    "sockets", "pools", "counters", "destinations", "members", "units", "copy_socket",
    "published", "link", "lock", "generations", "generations/2", "generations/2/program",
    "generations/2/rules", "generations/2/table", "generations/1/program", "generations/1/rules",
    "sockops", "sockops/link", "sockops/expected", "sockops/program",
]  # fmt: skip
SOME = {"sockets", "destinations", "generations/2/rules", "link"}
CASES = [
    pytest.param(pin, foreign, marks=[] if pin in SOME else pytest.mark.long)
    for pin in PINS
    for foreign in (False, True)
]


@pytest.fixture
def servers(host: Host) -> Iterator[list[Server]]:
    with (
        host.namespace.serve("web", "127.0.0.1", 8080) as one,
        host.namespace.serve("web", "127.0.0.1", 8081) as two,
    ):
        yield [one, two]


def furnish(host: Host, servers: list[Server]) -> None:
    host.load(*RULES)
    register(host, servers)
    host.ok("load", "--sock-ops")
    host.apply(*RULES, "Bind=tcp 192.0.2.0/24 82")


def register(host: Host, servers: list[Server]) -> None:
    for number, server in enumerate(servers):
        done = host.register([("web", server.sock)], unit=f"web@{number}.socket")
        assert done.status == EXIT_OK, done.text


def lose(path: Path, *, foreign: bool) -> None:
    if path.is_dir():
        shutil.rmtree(path)
        return
    path.unlink()
    if foreign:
        fd = libbpf.create_array("foreign", 24)
        bpf.obj_pin(fd, str(path))
        os.close(fd)


@pytest.mark.parametrize(("pin", "foreign"), CASES)
def test_what_is_lost_is_named_and_comes_back(
    host: Host, servers: list[Server], pin: str, foreign: bool
) -> None:
    furnish(host, servers)
    lost = host.registry / pin
    lose(lost, foreign=foreign)
    if not pin.startswith(("link", "generations", "sockets")):
        assert host.ask("192.0.2.7", 80) == "web", "traffic goes on"
    for command in LOOKS:
        done = host.run(*command)  # a traceback would end the test
        assert "Errno" not in done.err, done.err
        if done.status == EXIT_NOT_LOADED:
            assert "nothing is loaded" not in done.err, done.err
    for command in CHANGES:
        done = host.run(*command)
        assert "Errno" not in done.err, (command, done.err)
    # What commands have not healed by themselves, what they print does.
    done = host.run("apply")
    way = re.search(r"'rm -f (\S+)', then 'sockreg apply'", done.err)
    if done.status != EXIT_OK and way is not None:
        Path(way[1]).unlink(missing_ok=True)
        done = host.run("apply")
    if done.status != EXIT_OK or host.ask("192.0.2.7", 80) != "web":
        host.ok("unload")
        host.ok("load")
        register(host, servers)
    host.ok("apply")
    assert {host.ask("192.0.2.7", 80) for _ in range(10)} == {"web"}
    assert host.ask("192.0.2.7", 82) == "refused"
    host.ok("unload")
    assert list(host.home.iterdir()) == []


def test_maps_are_put_back_with_their_sockets(host: Host, servers: list[Server]) -> None:
    """An apply is all it takes: the program in force still has them."""
    furnish(host, servers)
    for pin in ("sockets", "pools", "counters"):
        (host.registry / pin).unlink()
        said = host.run("status").err
        assert f"{host.registry}/{pin} is missing, or is not what sockreg had pinned there" in said
        host.ok("apply")
        assert host.ask("192.0.2.7", 80) == "web"
        assert len(host.json("inspect", "web")["members"]) == 2

"""Sockets that are registered when their server listens, without a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sockreg import shipped
from sockreg.errors import EXIT_NOT_LOADED, EXIT_PERMISSION, EXIT_REFUSED, EXIT_USAGE
from sockreg.host import cgroup
from sockreg.registry import sockops_expected
from tests.btf import Structures
from tests.kernel import privileges
from tests.kernel.cgroups import Cgroups, own_cgroups
from tests.kernel.host import Host, bpftool
from tests.netns import UDP, Namespace
from tests.process import run
from tests.tree import ROOT

RULES = ("[web]", "Bind=tcp 127.0.0.1 80", "Bind=tcp ::1 80", "Bind=udp 127.0.0.1 80")


@pytest.fixture
def cgroups() -> Iterator[Cgroups]:
    with own_cgroups() as tree:
        yield tree


@pytest.fixture
def loaded(cgroups: Cgroups, host: Host) -> Iterator[Host]:
    host.conf(*RULES)
    host.ok("load", "--sock-ops")
    yield host
    host.run("unload")


class Unit:
    """A unit of its own cgroup: what it expects, and a server in it."""

    def __init__(self, host: Host, cgroups: Cgroups, name: str) -> None:
        self.name = name
        self._host = host
        self._prefix = cgroups.unit(name)

    def expect(self, *arguments: str) -> str:
        """ExecStartPre=+sockreg expect ARGUMENTS"""
        return self._host.process("expect", *arguments, prefix=self._prefix, check=True).text

    @contextmanager
    def server(self, *words: str, answer: str = "") -> Iterator[subprocess.Popen[str]]:
        """A server that has opened these sockets (tests/servers/opener.py)."""
        opener = [sys.executable, "-m", "tests.servers.opener", answer or self.name]
        with (
            self._host.namespace.entered(),
            subprocess.Popen(
                [*self._prefix, *opener],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as process,
        ):
            try:
                for line in words:
                    do(process, line)
                yield process
            finally:
                process.kill()


def do(process: subprocess.Popen[str], words: str) -> None:
    """Have the server open a socket, or close all."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(words + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n", words


@pytest.fixture
def unit(loaded: Host, cgroups: Cgroups) -> Unit:
    """web.service, expected as web."""
    fresh = Unit(loaded, cgroups, "web.service")
    fresh.expect("web")
    return fresh


def members(host: Host) -> dict[str, str]:
    """``"web ipv4"`` -> ``"web.service 127.0.0.1:8080"`` of every TCP destination with a socket."""
    return {
        f"{it['label']} {it['family']}": f"{member['unit']} {member['address']}"
        for it in host.json("status")["destinations"]
        for member in it["members"]
    }


def test_a_listener_is_registered_when_it_listens(loaded: Host, unit: Unit) -> None:
    assert loaded.ask("127.0.0.1", 80) == "refused"
    with unit.server("tcp 127.0.0.1 8080"):
        assert loaded.ask("127.0.0.1", 80) == "web.service"
        assert loaded.ask("::1", 80) == "refused"
        assert members(loaded) == {"web ipv4": "web.service 127.0.0.1:8080"}
    assert loaded.ask("127.0.0.1", 80) == "refused"
    assert members(loaded) == {}


def test_status_shows_the_cookie_and_the_time(loaded: Host, unit: Unit) -> None:
    with unit.server("tcp 127.0.0.1 8080"):
        sockets = loaded.namespace.run("ss", "-Htlne", "sport", "=", "8080").stdout
        (destination,) = [d for d in loaded.json("status")["destinations"] if d["members"]]
        (member,) = destination["members"]
        assert f" {member['cookie']} " in sockets
        assert member["weight"] == 100
        now = run(["date", "+%s"]).stdout
        assert abs(member["registered"] / 10**9 - int(now)) < 60


def test_a_dual_stack_listener_serves_both_families(loaded: Host, unit: Unit) -> None:
    with unit.server("tcp :: 8080"):
        assert loaded.ask("127.0.0.1", 80) == "web.service"
        assert loaded.ask("::1", 80) == "web.service"
        assert members(loaded) == {
            "web ipv4": "web.service [::]:8080",
            "web ipv6": "web.service [::]:8080",
        }


@pytest.mark.parametrize("words", ["tcp :: 8080 v6only", "tcp ::1 8080"])
def test_an_ipv6_only_listener_serves_ipv6_alone(loaded: Host, unit: Unit, words: str) -> None:
    with unit.server(words):
        assert loaded.ask("::1", 80) == "web.service"
        assert loaded.ask("127.0.0.1", 80) == "refused"
        assert list(members(loaded)) == ["web ipv6"]
        assert loaded.counters("web", "tcp", "ipv4") == (1, 1, 0)


@pytest.mark.parametrize(
    "words",
    [
        ("tcp 127.0.0.1 8080", "tcp :: 8080 v6only"),
        ("tcp :: 8080 v6only", "tcp 127.0.0.1 8080"),
        ("tcp 127.0.0.1 8080", "tcp ::1 8080"),
        ("tcp 127.0.0.1 8080 reuseport", "tcp :: 8080 reuseport"),
        ("tcp :: 8080 reuseport", "tcp 127.0.0.1 8080 reuseport"),
    ],
)
def test_one_listener_for_each_family(loaded: Host, unit: Unit, words: tuple[str, str]) -> None:
    with unit.server(*words):
        assert loaded.ask("127.0.0.1", 80) == "web.service"
        assert loaded.ask("::1", 80) == "web.service"
        assert members(loaded)["web ipv4"] == "web.service 127.0.0.1:8080"
        assert members(loaded)["web ipv6"].startswith("web.service [::")


def test_others_are_left_alone(loaded: Host, unit: Unit, cgroups: Cgroups) -> None:
    with Unit(loaded, cgroups, "other.service").server("tcp 127.0.0.1 8080"):
        assert loaded.ask("127.0.0.1", 80) == "refused"
        assert members(loaded) == {}


def test_udp_does_not_listen(loaded: Host, unit: Unit) -> None:
    with unit.server("udp 127.0.0.1 8080"):
        assert loaded.ask("127.0.0.1", 80, UDP) == "refused"
        assert members(loaded) == {}


def test_the_first_of_several_listeners_is_taken(loaded: Host, unit: Unit) -> None:
    with unit.server("tcp 127.0.0.1 8080", "tcp 127.0.0.1 9090"):
        assert members(loaded) == {"web ipv4": "web.service 127.0.0.1:8080"}


def test_a_listener_made_anew_replaces_the_first(loaded: Host, unit: Unit) -> None:
    with unit.server("tcp 127.0.0.1 8080 reuseport") as server:
        first = loaded.ask("127.0.0.1", 80)
        do(server, "close")
        assert loaded.ask("127.0.0.1", 80) == "refused"
        do(server, "tcp 127.0.0.1 8080")
        assert loaded.ask("127.0.0.1", 80) == first == "web.service"


def test_several_listeners_go_by_port(loaded: Host, cgroups: Cgroups) -> None:
    loaded.apply(*RULES, "[admin]", "Bind=tcp 127.0.0.1 81")
    unit = Unit(loaded, cgroups, "web.service")
    unit.expect("web", "8080")
    unit.expect("admin", "9090")
    with unit.server("tcp 127.0.0.1 7070", "tcp 127.0.0.1 9090", "tcp :: 8080"):
        assert members(loaded) == {
            "admin ipv4": "web.service 127.0.0.1:9090",
            "web ipv4": "web.service [::]:8080",
            "web ipv6": "web.service [::]:8080",
        }
        assert loaded.ask("127.0.0.1", 81) == "web.service"


def test_listeners_of_one_label_are_told_apart(loaded: Host, cgroups: Cgroups) -> None:
    rules = ["[web]", "Bind=tcp 127.0.0.1 80 to 8080", "Bind=tcp 127.0.0.1 81 to 9090"]
    loaded.apply(*rules, "Bind=tcp 127.0.0.1 82")
    unit = Unit(loaded, cgroups, "web.service")
    unit.expect("web", "8080")
    unit.expect("web", "9090")
    with unit.server("tcp 127.0.0.1 9090", "tcp :: 8080") as server:
        shown = {
            (it["family"], it["listener"], member["address"])
            for it in loaded.json("status")["destinations"]
            for member in it["members"]
        }
        assert shown == {
            ("ipv4", 8080, "[::]:8080"),
            ("ipv4", 9090, "127.0.0.1:9090"),
            ("ipv6", 8080, "[::]:8080"),
        }
        assert loaded.ask("127.0.0.1", 80) == "web.service"
        assert loaded.ask("127.0.0.1", 81) == "web.service"
        assert loaded.ask("127.0.0.1", 82) == "refused"
        do(server, "close")
        do(server, "tcp 127.0.0.1 8080")
        assert loaded.ask("127.0.0.1", 80) == "web.service"
        assert loaded.ask("127.0.0.1", 81) == "refused"


def test_one_listener_with_a_port_serves_rules_with_and_without(
    loaded: Host, cgroups: Cgroups
) -> None:
    loaded.apply("[web]", "Bind=tcp 127.0.0.1 80", "Bind=tcp 127.0.0.1 81 to 8080")
    unit = Unit(loaded, cgroups, "web.service")
    unit.expect("web", "8080")
    with unit.server("tcp 127.0.0.1 9090", "tcp 127.0.0.1 8080"):
        assert loaded.ask("127.0.0.1", 80) == "web.service"
        assert loaded.ask("127.0.0.1", 81) == "web.service"


def test_a_restart_is_a_new_cgroup(loaded: Host, cgroups: Cgroups) -> None:
    for life in ("first", "second", "third"):
        unit = Unit(loaded, cgroups, "web.service")
        unit.expect("web")
        with unit.server("tcp 127.0.0.1 8080", answer=life):
            assert loaded.ask("127.0.0.1", 80) == life
            (shown,) = loaded.json("status")["expected"]
            assert shown == {"unit": "web.service", "label": "web", "port": 0, "failed": 0}
    entries = bpftool("map", "dump", "pinned", str(loaded.registry / "sockops/expected"))
    assert len(entries) == 1
    # Records of the sockets that are gone do not pile up either.
    assert len(bpftool("map", "dump", "pinned", str(loaded.registry / "members"))) == 1


def test_listeners_of_another_namespace_are_left_alone(loaded: Host, unit: Unit) -> None:
    with Namespace() as other:
        home, loaded.namespace = loaded.namespace, other
        try:
            with unit.server("tcp 127.0.0.1 9090"):
                loaded.namespace = home
                assert members(loaded) == {}
                with unit.server("tcp 127.0.0.1 8080"):
                    assert loaded.ask("127.0.0.1", 80) == "web.service"
        finally:
            loaded.namespace = home


def test_mptcp_listeners_are_not_steered_to(loaded: Host, unit: Unit) -> None:
    with unit.server("mptcp 127.0.0.1 8080"):
        assert loaded.ask("127.0.0.1", 80) == "refused"
        said = loaded.ok("status")
        assert "expects web.service for web, 1 socket refused by the kernel" in said
        assert "make it listen with plain TCP (a Go server: " in loaded.run("check").text
    with unit.server("tcp 127.0.0.1 8080"):
        assert loaded.ask("127.0.0.1", 80) == "web.service"


def test_a_label_that_others_serve_is_refused(loaded: Host, cgroups: Cgroups) -> None:
    with loaded.serve("web", "127.0.0.1", 8081, unit="web.socket"):
        unit = Unit(loaded, cgroups, "web.service")
        outcome = loaded.process("expect", "web", prefix=cgroups.inside("web.service"))
        assert outcome.status == EXIT_REFUSED
        assert "web.service: label web belongs to web.socket (" in outcome.err
        with unit.server("tcp 127.0.0.1 8080"):
            assert loaded.ask("127.0.0.1", 80) == "web"


def test_a_unit_that_listens_late_takes_nothing_from_the_first(
    loaded: Host, unit: Unit, cgroups: Cgroups
) -> None:
    """What is expected has no right to a label that another unit has registered meanwhile."""
    with (
        loaded.serve("web", "127.0.0.1", 8081, unit="shop.socket"),
        unit.server("tcp 127.0.0.1 8080"),
    ):
        assert {loaded.ask("127.0.0.1", 80) for _ in range(40)} == {"web"}
        assert members(loaded) == {"web ipv4": "shop.socket 127.0.0.1:8081"}
        (shown,) = loaded.json("status")["expected"]
        assert shown["failed"] == 1
        said = loaded.run("check").text
        assert (
            "expect web.service under another label, or stop shop.socket and restart web.service"
            in " ".join(said.split())
        )
    with unit.server("tcp 127.0.0.1 8080"):
        assert loaded.ask("127.0.0.1", 80) == "web.service"


def test_a_unit_that_listens_late_under_another_label(
    loaded: Host, unit: Unit, cgroups: Cgroups
) -> None:
    """The other way out."""
    with (
        loaded.serve("web", "127.0.0.1", 8081, unit="shop.socket"),
        unit.server("tcp 127.0.0.1 8080"),
    ):
        unit.expect("web2")
        loaded.apply(*RULES, "[web2]", "Bind=tcp 127.0.0.1 81")
    with (
        loaded.serve("web", "127.0.0.1", 8081, unit="shop.socket"),
        unit.server("tcp 127.0.0.1 8080"),
    ):
        assert loaded.ask("127.0.0.1", 80) == "web"
        assert loaded.ask("127.0.0.1", 81) == "web.service"


def test_nor_from_a_pool(loaded: Host, unit: Unit) -> None:
    with ExitStack() as pool:
        for number in (1, 2, 3):
            server = loaded.namespace.serve(f"web{number}", "127.0.0.1", 9000 + number)
            pool.enter_context(server)
            name = f"web@{number}.socket"
            assert loaded.register([("web", server.sock)], unit=name).status == 0
        with unit.server("tcp 127.0.0.1 8080"):
            landed = {loaded.ask("127.0.0.1", 80) for _ in range(100)}
            assert landed == {"web1", "web2", "web3"}
            (shown,) = loaded.json("status")["expected"]
            assert shown["failed"] == 1
            assert "expects web.service for web, 1 socket refused" in loaded.ok("status")
            said = loaded.run("check").text
            assert "error (refused-listener): web.service" in said
            assert "the label belongs to web@1.socket, web@2.socket, web@3.socket" in said


def test_a_socket_that_was_closed_gives_no_right_to_its_slot(loaded: Host, unit: Unit) -> None:
    with unit.server("tcp 127.0.0.1 8080") as server:
        assert loaded.ask("127.0.0.1", 80) == "web.service"
        do(server, "close")
        with loaded.serve("web", "127.0.0.1", 8081, unit="shop.socket"):
            do(server, "tcp 127.0.0.1 8080")
            assert loaded.ask("127.0.0.1", 80) == "web"
            assert members(loaded) == {"web ipv4": "shop.socket 127.0.0.1:8081"}
        do(server, "close")
        do(server, "tcp 127.0.0.1 8080")
        assert loaded.ask("127.0.0.1", 80) == "web.service"


def test_others_cannot_register_what_it_serves(loaded: Host, unit: Unit) -> None:
    with (
        unit.server("tcp 127.0.0.1 8080"),
        loaded.namespace.serve("shop", "127.0.0.1", 8081) as shop,
    ):
        refused = loaded.register([("web", shop.sock)], "--weight", "9", unit="shop.socket")
        assert refused.status == EXIT_REFUSED
        assert "label web belongs to web.service (sk:" in refused.err
        assert loaded.ask("127.0.0.1", 80) == "web.service"


def test_one_unit_is_expected_for_a_label(loaded: Host, unit: Unit, cgroups: Cgroups) -> None:
    with unit.server():  # it runs, so that its cgroup is there
        done = loaded.process("expect", "web", prefix=cgroups.unit("other.service"))
        assert done.status == EXIT_REFUSED
        assert "other.service: label web belongs to web.service (expected to listen)" in done.err


def test_a_socket_opened_beside_its_predecessor_replaces_it(loaded: Host, unit: Unit) -> None:
    """As in a reload without a gap: both are open for a while, then only the later one."""
    with (
        unit.server("tcp 127.0.0.1 8080 reuseport") as first,
        unit.server("tcp 127.0.0.1 8080 reuseport", answer="second"),
    ):
        do(first, "close")
        assert {loaded.ask("127.0.0.1", 80) for _ in range(10)} == {"second"}
        (shown,) = loaded.json("status")["expected"]
        assert shown["failed"] == 0


def test_a_label_keeps_its_slots_while_it_is_expected(loaded: Host, unit: Unit) -> None:
    loaded.apply("[other]", "Bind=tcp 127.0.0.1 80")
    loaded.apply("[third]", "Bind=tcp 127.0.0.1 80")
    loaded.apply("[fourth]", "Bind=tcp 127.0.0.1 80")
    with unit.server("tcp 127.0.0.1 8080"):
        assert members(loaded) == {"web ipv4": "web.service 127.0.0.1:8080"}
        assert loaded.ask("127.0.0.1", 80) == "refused"
        loaded.apply(*RULES)
        assert loaded.ask("127.0.0.1", 80) == "web.service"


def test_wrong_arguments_are_refused(loaded: Host) -> None:
    assert "contains ':'" in loaded.fails(EXIT_USAGE, "expect", "we:b")
    for port in ("0", "65536", "http", "-1"):
        assert loaded.run("expect", "web", port).status == EXIT_USAGE


def test_without_the_program_nobody_can_be_expected(cgroups: Cgroups, host: Host) -> None:
    assert "nothing is loaded" in host.fails(EXIT_NOT_LOADED, "expect", "web")
    host.load(*RULES)
    said = host.fails(EXIT_NOT_LOADED, "expect", "web")
    assert "no sock_ops program is loaded" in said
    assert "systemctl start sockreg-sockops.service" in said
    assert host.json("status")["expected"] is None
    assert "was not attached" in host.ok("unload", "--sock-ops")


def test_loading_again_keeps_who_is_expected(loaded: Host, unit: Unit) -> None:
    loaded.ok("load", "--sock-ops")
    loaded.ok("upgrade")
    assert len(attached()) == 1
    with unit.server("tcp 127.0.0.1 8080"):
        assert loaded.ask("127.0.0.1", 80) == "web.service"


def test_unloading_it_keeps_the_sockets(loaded: Host, unit: Unit) -> None:
    with unit.server("tcp 127.0.0.1 8080") as server:
        assert "detached" in loaded.ok("unload", "--sock-ops")
        assert attached() == []
        assert loaded.ask("127.0.0.1", 80) == "web.service"
        do(server, "close")
        do(server, "tcp 127.0.0.1 8080")
        assert loaded.ask("127.0.0.1", 80) == "refused"


def test_json_is_all_that_is_printed(loaded: Host) -> None:
    from tests.schemas import validated  # needs jsonschema, which guests of tests/kernels lack

    kind, _ = validated(loaded.run("--json", "load", "--sock-ops").out)
    assert kind == "change"
    kind, only = validated(loaded.run("--json", "unload", "--sock-ops").out)
    assert (kind, only["sock_ops_only"]) == ("unloaded", True)
    assert Path(only["registry"]).is_dir()
    _, everything = validated(loaded.run("--json", "unload").out)
    assert everything == only | {"sock_ops_only": False, "kept": False}


def test_unloading_everything_takes_it_along(loaded: Host, unit: Unit) -> None:
    assert len(attached()) == 1
    loaded.ok("unload")
    assert attached() == []
    assert list(loaded.home.iterdir()) == []


def attached() -> list[str]:
    """The lines of bpftool(8) about our programs at the root cgroup."""
    shown = run(["bpftool", "cgroup", "list", cgroup.root()]).stdout
    return [line for line in shown.splitlines() if "sockreg_listen" in line]


@pytest.mark.parametrize("missing", privileges.LOADING.split(","))
def test_a_missing_capability_is_named(cgroups: Cgroups, host: Host, missing: str) -> None:
    host.load(*RULES)
    capabilities = ",".join(set(privileges.LOADING.split(",")) - {missing})
    done = privileges.run(host, capabilities, "load", "--sock-ops")
    assert done.status == EXIT_PERMISSION, done
    assert f"this process has no CAP_{missing[1:].upper()}" in done.err
    assert attached() == []


def test_it_loads_with_three_capabilities(cgroups: Cgroups, host: Host) -> None:
    host.load(*RULES)
    done = privileges.run(host, privileges.LOADING, "load", "--sock-ops")
    assert done.status == 0, done
    assert len(attached()) == 1


def test_layout_is_that_of_the_object() -> None:
    structures = Structures(shipped.sock_ops_object_path())
    for name, (layout, names) in sockops_expected.STRUCTURES.items():
        size, fields = structures.structure(name)
        assert size == layout.size, name
        assert tuple(field.name for field in fields) == names, name

"""A label is shared on purpose, or not at all: every way in, and where connections land."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sockreg.cli import progress
from sockreg.errors import EXIT_OK, EXIT_REFUSED
from sockreg.registry import trial
from tests.kernel.host import Host, Outcome
from tests.netns import TCP, UDP, Server
from tests.tree import ROOT

RULES = (
    "[http]",
    "Bind=tcp 192.0.2.0/24 80",
    "Bind=tcp 2001:db8::/64 80",
    "Bind=udp 192.0.2.0/24 80",
)
SHOP, ADMIN = "shop.socket", "admin.socket"


@pytest.fixture
def host(host: Host) -> Host:
    host.load(*RULES)
    return host


def landings(host: Host, times: int = 40) -> Counter[str]:
    """Where connections by the rule land."""
    return Counter(host.ask("192.0.2.7", 80) for _ in range(times))


def units(host: Host) -> set[str]:
    """The units that status shows under the label."""
    return {
        member["unit"]
        for destination in host.json("status")["destinations"]
        for member in destination["members"]
        if destination["label"] == "http"
    }


@pytest.fixture
def shop(host: Host) -> Iterator[Host]:
    """shop.socket serves the label."""
    server = host.namespace.serve("shop", "127.0.0.1", 8080)
    with server:
        assert host.register([("http", server.sock)], unit=SHOP).status == EXIT_OK
        yield host
        assert landings(host) == {"shop": 40}
        assert units(host) == {SHOP}


@pytest.mark.parametrize("unit", [ADMIN, "shop.service", "shop@1.socket", "-", "uid:1000"])
def test_another_unit_is_refused_and_the_first_keeps_its_traffic(shop: Host, unit: str) -> None:
    with shop.namespace.serve("admin", "127.0.0.1", 8081) as admin:
        refused = shop.register([("http", admin.sock)], unit=unit)
        assert refused.status == EXIT_REFUSED
        assert f"label http belongs to {SHOP} (sk:" in refused.err
        assert "which does not share it with" in refused.err
        assert "--replace" in refused.err or "Label=" in refused.err


@pytest.mark.parametrize("weights", [("5", None), (None, "5")])
def test_one_weight_does_not_make_two_share(host: Host, weights: tuple[str | None, ...]) -> None:
    options = [["--weight", weight] if weight else [] for weight in weights]
    with (
        host.namespace.serve("shop", "127.0.0.1", 8080) as shop,
        host.namespace.serve("admin", "127.0.0.1", 8081) as admin,
    ):
        assert host.register([("http", shop.sock)], *options[0], unit=SHOP).status == EXIT_OK
        refused = host.register([("http", admin.sock)], *options[1], unit=ADMIN)
        assert refused.status == EXIT_REFUSED, refused
        assert landings(host) == {"shop": 40}


def test_both_weights_do(host: Host) -> None:
    with (
        host.namespace.serve("shop", "127.0.0.1", 8080) as shop,
        host.namespace.serve("admin", "127.0.0.1", 8081) as admin,
    ):
        assert host.register([("http", shop.sock)], "--weight", "1", unit=SHOP).status == EXIT_OK
        assert host.register([("http", admin.sock)], "--weight", "1", unit=ADMIN).status == EXIT_OK
        assert set(landings(host)) == {"shop", "admin"}
        # A command's weight is for a while and changes nothing about who shares.
        host.ok("weight", "http", "0", "--unit", ADMIN)
        assert host.register([("http", admin.sock)], unit=ADMIN).status == EXIT_REFUSED
        assert landings(host) == {"shop": 40}


@pytest.mark.parametrize(("address", "protocol"), [("::1", TCP), ("127.0.0.1", UDP)])
def test_neither_in_another_family_or_protocol(shop: Host, address: str, protocol: int) -> None:
    """A label is one service: what its first unit does not serve is nobody else's either."""
    with shop.namespace.serve("admin", address, 8081, protocol) as admin:
        assert shop.register([("http", admin.sock)], unit=ADMIN).status == EXIT_REFUSED
    assert shop.ask("2001:db8::7", 80) == "refused"
    assert shop.ask("192.0.2.7", 80, UDP) == "refused"


def test_a_closed_socket_holds_no_label(host: Host) -> None:
    with host.namespace.serve("shop", "127.0.0.1", 8080) as shop:
        assert host.register([("http", shop.sock)], unit=SHOP).status == EXIT_OK
    with host.namespace.serve("admin", "127.0.0.1", 8081) as admin:
        assert host.register([("http", admin.sock)], unit=ADMIN).status == EXIT_OK
        assert landings(host) == {"admin": 40}


def test_a_unit_replaces_its_own_socket(host: Host) -> None:
    with (
        host.namespace.serve("old", "127.0.0.1", 8080) as old,
        host.namespace.serve("new", "127.0.0.1", 8081) as new,
    ):
        assert host.register([("http", old.sock)], unit=SHOP).status == EXIT_OK
        assert host.register([("http", new.sock)], unit=SHOP).status == EXIT_OK
        assert landings(host) == {"new": 40}


@pytest.mark.parametrize("drained", [False, True])
def test_a_label_is_taken_over_by_replace(host: Host, *, drained: bool) -> None:
    """web.socket moves to web.service, which opens its own socket."""
    with (
        host.namespace.serve("old", "::", 8080) as old,
        host.namespace.serve("new", "127.0.0.1", 8081) as new,
    ):
        assert host.register([("http", old.sock)], unit="web.socket").status == EXIT_OK
        if drained:
            host.ok("drain", "http")
        assert host.register([("http", new.sock)], unit="web.service").status == EXIT_REFUSED
        taken = host.register([("http", new.sock)], "--replace", unit="web.service")
        assert taken.status == EXIT_OK, taken
        assert landings(host) == {"new": 40}
        assert units(host) == {"web.service"}
        assert host.ask("2001:db8::7", 80) == "refused"


def test_the_same_socket_goes_to_the_unit_that_registers_it_last(host: Host) -> None:
    with host.namespace.serve("web", "127.0.0.1", 8080) as web:
        assert host.register([("http", web.sock)], unit="web.socket").status == EXIT_OK
        assert host.register([("http", web.sock)], unit="web.service").status == EXIT_OK
        assert units(host) == {"web.service"}


@contextmanager
def process(host: Host, name: str, port: int) -> Iterator[int]:
    """A server that opens its own socket; yields its pid."""
    opener = [sys.executable, "-m", "tests.servers.opener", name]
    with (
        host.namespace.entered(),
        subprocess.Popen(
            opener, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server,
    ):
        try:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(f"tcp 127.0.0.1 {port}\n")
            server.stdin.flush()
            assert server.stdout.readline() == "done\n"
            yield server.pid
        finally:
            server.kill()


def test_a_socket_of_a_process_is_refused_too(shop: Host) -> None:
    with process(shop, "admin", 8081) as pid:
        said = shop.fails(
            EXIT_REFUSED, "register", "http", "--pid", str(pid), "--unit", "admin.service"
        )
        assert f"admin.service: label http belongs to {SHOP}" in said
        sockets = shop.namespace.run("ss", "-Htlne", "sport", "=", "8081").stdout
        (cookie,) = [word for word in sockets.split() if word.startswith("sk:")]
        shop.fails(EXIT_REFUSED, "register", "http", "--cookie", cookie, "--unit", "admin.service")


def unit_file(host: Host, name: str, *lines: str) -> None:
    """A .socket unit that counts, with the name that its server wants and lines of sockreg."""
    path = host.root / "etc/systemd/system" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    own = "\n".join(("[Socket]", "ListenStream=8080", "FileDescriptorName=http", "[X-Sockreg]"))
    path.write_text("\n".join((own, *lines)) + "\n")


@pytest.fixture
def renamed(host: Host) -> Iterator[Host]:
    """The label of shop.socket was changed, and now another unit has the one of before."""
    unit_file(host, SHOP, "Bind=tcp 192.0.2.0/24 80")
    host.conf()
    host.ok("apply", "--start", SHOP)
    with (
        host.namespace.serve("shop", "127.0.0.1", 8080) as shop,
        host.namespace.serve("admin", "127.0.0.1", 8081) as admin,
    ):
        assert host.register([("http", shop.sock)], unit=SHOP).status == EXIT_OK
        unit_file(host, SHOP, "Bind=tcp 192.0.2.0/24 80", "Label=shop")
        host.ok("apply", "--confirm", "60")
        assert landings(host) == {"shop": 40}
        assert host.register([("http", admin.sock)], unit=ADMIN).status == EXIT_OK
        yield host


def test_a_rollback_does_not_put_a_unit_under_the_label_of_another(renamed: Host) -> None:
    told = renamed.fails(EXIT_REFUSED, "rollback")
    assert f"label http belongs to {ADMIN}" in told
    assert landings(renamed) == {"shop": 40}
    assert units(renamed) == {ADMIN}
    renamed.ok("rollback", "--force")
    assert landings(renamed) == {"shop": 40}
    assert units(renamed) == {SHOP}


def test_the_end_of_a_trial_takes_back_what_it_gave_away(renamed: Host) -> None:
    (waiting,) = trial.read(str(renamed.registry))
    over = waiting._replace(deadline=1)
    trial.write(str(renamed.registry), [over])
    renamed.ok("rollback", "--unconfirmed", over.token)
    assert landings(renamed) == {"shop": 40}
    assert units(renamed) == {SHOP}


# Somebody registers under a label between the look at it and the swap.

OLD, NEW = "192.0.2.7", "192.0.2.8"  # by rules for http and, before anybody has it, for shop


@pytest.fixture
def moving(host: Host) -> Iterator[tuple[Host, Server]]:
    """shop.socket is about to get another label than http, to which rules point already."""
    host.conf("[shop]", f"Bind=tcp {NEW} 80", name="shop.conf")
    host.conf()
    unit_file(host, SHOP, f"Bind=tcp {OLD} 80")
    host.ok("apply", "--start", SHOP)
    with (
        host.namespace.serve("shop", "127.0.0.1", 8080) as shop,
        host.namespace.serve("admin", "127.0.0.1", 8081) as admin,
    ):
        assert host.register([("http", shop.sock)], unit=SHOP).status == EXIT_OK
        assert host.ask(OLD, 80) == "shop"
        unit_file(host, SHOP, f"Bind=tcp {OLD} 80", "Label=shop")
        yield host, admin


def arriving(
    host: Host, monkeypatch: pytest.MonkeyPatch, step: str, admin: Server, label: str
) -> list[Outcome]:
    """Have admin.socket register under a label when a command comes to a step."""
    arrived: list[Outcome] = []

    def stepping(text: str) -> None:
        if text.startswith(step) and not arrived:
            arrived.append(host.register([(label, admin.sock)], unit=ADMIN))

    monkeypatch.setattr(progress, "steps", lambda: stepping)
    return arrived


def numbers(host: Host) -> list[str]:
    return sorted(path.name for path in Path(host.registry, "generations").iterdir())


@pytest.mark.parametrize("step", ["compiling", "loading a table"])
def test_a_label_that_is_taken_while_rules_compile_is_not_shared(
    moving: tuple[Host, Server], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    host, admin = moving
    before = numbers(host)
    arriving(host, monkeypatch, step, admin, "shop")
    told = host.fails(EXIT_REFUSED, "apply")
    assert f"label shop belongs to {ADMIN}" in told
    assert [host.ask(OLD, 80) for _ in range(20)] == ["shop"] * 20
    assert [host.ask(NEW, 80) for _ in range(20)] == ["admin"] * 20
    assert numbers(host) == before, "nothing is left behind"


def test_a_command_about_another_part_leaves_that_unit_as_it_was(
    moving: tuple[Host, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, admin = moving
    arriving(host, monkeypatch, "compiling", admin, "shop")
    assert f"label shop belongs to {ADMIN}" in host.ok("bind", "shop", "tcp", "192.0.2.9", "80")
    assert [host.ask(OLD, 80) for _ in range(20)] == ["shop"] * 20
    assert [host.ask("192.0.2.9", 80) for _ in range(20)] == ["admin"] * 20


def test_a_boot_leaves_that_unit_as_it_was(
    moving: tuple[Host, Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host, admin = moving
    unit_file(host, SHOP, f"Bind=tcp {OLD} 80")
    host.ok("unload", "--keep")
    host.ok("load", "--state", str(tmp_path / "state"))
    host.ok("unload", "--keep")
    unit_file(host, SHOP, f"Bind=tcp {OLD} 80", "Label=shop")
    arriving(host, monkeypatch, "compiling", admin, "shop")
    outcome = host.run("load", "--state", str(tmp_path / "state"))
    assert f"label shop belongs to {ADMIN}" in outcome.text
    assert [host.ask(OLD, 80) for _ in range(20)] == ["shop"] * 20
    assert [host.ask(NEW, 80) for _ in range(20)] == ["admin"] * 20
    host.ok("unregister", "shop", "--unit", ADMIN)
    host.run("apply")
    assert host.ask(OLD, 80) == host.ask(NEW, 80) == "shop"


def test_a_unit_without_an_earlier_form_keeps_out_of_the_label(
    moving: tuple[Host, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sockets stay where they are, and join nobody."""
    host, admin = moving
    unit_file(host, SHOP, "Label=shop")
    host.ok("unload", "--keep")
    arriving(host, monkeypatch, "compiling", admin, "shop")
    outcome = host.run("load")
    assert f"label shop belongs to {ADMIN}" in outcome.text
    assert [host.ask(NEW, 80) for _ in range(20)] == ["admin"] * 20


def test_a_label_that_is_taken_during_a_rollback_is_not_shared(
    moving: tuple[Host, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    host, admin = moving
    host.ok("apply")
    assert host.ask(OLD, 80) == host.ask(NEW, 80) == "shop"
    arrived = arriving(host, monkeypatch, "swapping", admin, "http")
    host.ok("rollback")
    assert [outcome.status for outcome in arrived] == [EXIT_REFUSED]
    assert [host.ask(OLD, 80) for _ in range(20)] == ["shop"] * 20
    assert units(host) == {SHOP}

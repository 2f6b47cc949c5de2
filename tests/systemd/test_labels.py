"""Units whose server software wants the same FileDescriptorName=, and units that share a label."""

from __future__ import annotations

from collections import Counter

import pytest

from sockreg.errors import EXIT_REFUSED
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, service_unit, socket_unit

SHOP, ADMIN = "192.0.2.1", "192.0.2.2"
OWN_LABEL = f"{UNITS}/admin.socket.d/label.conf"


def both(*settings: str) -> dict[str, str]:
    """shop.socket and admin.socket: unrelated, but of one software."""
    files = {}
    for name, port, address in (("shop", 8080, SHOP), ("admin", 8081, ADMIN)):
        rules = [f"Bind=tcp {address} 80", *settings]
        files[f"{UNITS}/{name}.socket"] = socket_unit(
            f"127.0.0.1:{port}", label="http", rules=rules
        )
        files[f"{UNITS}/{name}.service"] = service_unit(
            f"event_loop {name}", dependencies=[f"Requires={name}.socket"]
        )
    return files


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    return make_box(files=both())


def asked(box: Sandbox, address: str, times: int = 40) -> Counter[str]:
    return Counter(box.ask(address, 80, source="127.0.0.1") for _ in range(times))


def only_shop(box: Sandbox) -> None:
    """The shop has all of its traffic, and nobody has that of admin.socket."""
    assert asked(box, SHOP) == {f"shop {SHOP}:80": 40}
    assert asked(box, ADMIN, 3) == {"refused": 3}


def refused(box: Sandbox, *command: str) -> str:
    done = box.run(command, check=False)
    assert done.returncode == EXIT_REFUSED, done
    return done.stderr


@pytest.fixture
def shop(box: Sandbox) -> Sandbox:
    box.run(["ip", "addr", "add", f"{SHOP}/32", "dev", "lo"])
    box.run(["ip", "addr", "add", f"{ADMIN}/32", "dev", "lo"])
    box.run(["sockreg", "enable", "shop.socket"])
    return box


def test_enable_refuses_the_second_before_anything_changes(shop: Sandbox) -> None:
    before = shop.run(["find", UNITS]).stdout
    said = refused(shop, "sockreg", "enable", "admin.socket")
    assert f"admin.socket: label http belongs to shop.socket ({UNITS}/shop.socket:4)" in said
    assert "set Label= in [X-Sockreg] of admin.socket" in said
    assert shop.run(["find", UNITS]).stdout == before
    assert shop.show("admin.socket", "ActiveState") == "inactive"
    only_shop(shop)


def test_systemctl_gets_it_no_traffic_either(shop: Sandbox) -> None:
    done = shop.systemctl("start", "sockreg@admin.service", check=False)
    assert done.returncode != 0
    only_shop(shop)
    told = messages(shop, "-t", "sockreg")
    assert any("admin.socket: label http belongs to shop.socket" in text for text in told), told


def test_a_label_of_its_own_is_all_it_takes(shop: Sandbox) -> None:
    """From its first registration on, which comes before the loader knows the unit."""
    shop.write(OWN_LABEL, "[X-Sockreg]\nLabel=%p-web\n")
    shop.systemctl("daemon-reload")
    shop.run(["sockreg", "enable", "admin.socket"])
    for _ in range(2):
        assert asked(shop, SHOP) == {f"shop {SHOP}:80": 40}
        assert asked(shop, ADMIN) == {f"admin {ADMIN}:80": 40}
        told = messages(shop, "-b", "-t", "sockreg")
        assert any("label admin-web: registered" in text for text in told), told
        of_admin = [text for text in told if "8081" in text and "label http" in text]
        assert of_admin == []
        shop.reboot()
        shop.run(["ip", "addr", "add", f"{SHOP}/32", "dev", "lo"])
        shop.run(["ip", "addr", "add", f"{ADMIN}/32", "dev", "lo"])


def test_the_server_still_gets_its_sockets_by_the_name_it_wants(shop: Sandbox) -> None:
    shop.write(OWN_LABEL, "[X-Sockreg]\nLabel=admin\n")
    shop.systemctl("daemon-reload")
    shop.run(["sockreg", "enable", "admin.socket"])
    assert asked(shop, ADMIN) == {f"admin {ADMIN}:80": 40}
    assert shop.show("admin.socket", "FileDescriptorName") == "http"


def test_sockets_follow_a_changed_label(shop: Sandbox) -> None:
    """A reload moves the rules and the sockets; nothing is registered again."""
    shop.write(f"{UNITS}/shop.socket.d/label.conf", "[X-Sockreg]\nLabel=shop\n")
    shop.systemctl("reload", "sockreg.service")
    assert asked(shop, SHOP) == {f"shop {SHOP}:80": 40}
    for verb in ("rollback", "apply"):
        shop.run(["sockreg", verb])
        assert asked(shop, SHOP) == {f"shop {SHOP}:80": 40}
    shop.run(["sockreg", "enable", "admin.socket"])
    assert asked(shop, SHOP) == {f"shop {SHOP}:80": 40}
    assert asked(shop, ADMIN) == {f"admin {ADMIN}:80": 40}
    shop.run(["rm", f"{UNITS}/shop.socket.d/label.conf"])
    done = shop.systemctl("reload", "sockreg.service", check=False)
    assert done.returncode != 0
    assert asked(shop, SHOP) == {f"shop {SHOP}:80": 40}
    assert asked(shop, ADMIN) == {f"admin {ADMIN}:80": 40}


def test_weights_in_both_units_share_the_label(make_box: MakeBox) -> None:
    box = make_box(files=both("Weight=1"))
    box.run(["ip", "addr", "add", f"{SHOP}/32", "dev", "lo"])
    for name in ("shop", "admin"):
        box.run(["sockreg", "enable", f"{name}.socket"])
    assert set(asked(box, SHOP)) == {f"shop {SHOP}:80", f"admin {SHOP}:80"}


def test_weights_that_are_written_later_share_the_label(shop: Sandbox) -> None:
    """The way out that the refusal names, typed as it says."""
    said = refused(shop, "sockreg", "enable", "admin.socket")
    assert "to share the traffic, Weight= in both units" in said
    for name in ("shop", "admin"):
        shop.write(f"{UNITS}/{name}.socket.d/weight.conf", "[X-Sockreg]\nWeight=1\n")
    said = refused(shop, "sockreg", "enable", "admin.socket")
    assert "Weight= in both units and then 'systemctl reload sockreg'; " in said
    shop.systemctl("reload", "sockreg")
    shop.run(["sockreg", "enable", "admin.socket"])
    assert set(asked(shop, SHOP)) == {f"shop {SHOP}:80", f"admin {SHOP}:80"}


def test_a_unit_that_joins_a_label_by_a_reload(shop: Sandbox) -> None:
    own = f"{UNITS}/admin.socket.d/label.conf"
    shop.write(own, "[X-Sockreg]\nLabel=admin\n")
    shop.run(["sockreg", "enable", "admin.socket"])
    for name, text in (("shop", ""), ("admin", "Label=http\n")):
        shop.write(f"{UNITS}/{name}.socket.d/label.conf", f"[X-Sockreg]\nWeight=1\n{text}")
    shop.systemctl("reload", "sockreg.service")
    for address in (SHOP, ADMIN):
        assert set(asked(shop, address)) == {f"shop {address}:80", f"admin {address}:80"}


def test_a_boot_gives_the_label_to_the_unit_that_had_it(shop: Sandbox) -> None:
    """Whichever companion comes first, and although admin.socket sorts first."""
    shop.run(["systemctl", "enable", "sockreg@admin.service"])
    for _ in range(2):
        shop.reboot()
        shop.run(["ip", "addr", "add", f"{SHOP}/32", "dev", "lo"])
        shop.run(["ip", "addr", "add", f"{ADMIN}/32", "dev", "lo"])
        assert shop.show("sockreg.service", "ActiveState") == "active"
        only_shop(shop)
        assert "label http belongs to shop.socket" in shop.run(["sockreg", "status"]).stdout
    shop.write(OWN_LABEL, "[X-Sockreg]\nLabel=admin\n")
    shop.systemctl("daemon-reload")
    shop.reboot()
    shop.run(["ip", "addr", "add", f"{SHOP}/32", "dev", "lo"])
    shop.run(["ip", "addr", "add", f"{ADMIN}/32", "dev", "lo"])
    assert asked(shop, SHOP) == {f"shop {SHOP}:80": 40}
    assert asked(shop, ADMIN) == {f"admin {ADMIN}:80": 40}


def left_out_at_boot(shop: Sandbox) -> None:
    shop.run(["systemctl", "enable", "sockreg@admin.service"])
    shop.reboot()
    shop.run(["ip", "addr", "add", f"{SHOP}/32", "dev", "lo"])
    shop.run(["ip", "addr", "add", f"{ADMIN}/32", "dev", "lo"])
    only_shop(shop)


def test_a_unit_that_was_left_out_comes_back_with_a_reload(shop: Sandbox) -> None:
    left_out_at_boot(shop)
    shop.write(OWN_LABEL, "[X-Sockreg]\nLabel=admin\n")
    shop.systemctl("daemon-reload")
    shop.systemctl("reload", "sockreg.service")
    assert asked(shop, ADMIN) == {f"admin {ADMIN}:80": 40}
    assert asked(shop, SHOP) == {f"shop {SHOP}:80": 40}
    assert shop.show("sockreg@admin.service", "ActiveState") == "active"


def test_a_unit_that_was_left_out_comes_back_when_the_label_is_free(shop: Sandbox) -> None:
    left_out_at_boot(shop)
    shop.run(["sockreg", "disable", "shop.socket"])
    shop.systemctl("reload", "sockreg.service")
    assert asked(shop, ADMIN) == {f"admin {ADMIN}:80": 40}


def test_a_stopped_socket_stays_stopped_when_its_unit_is_taken_in(shop: Sandbox) -> None:
    left_out_at_boot(shop)
    shop.systemctl("stop", "admin.socket")
    shop.write(OWN_LABEL, "[X-Sockreg]\nLabel=admin\n")
    shop.systemctl("daemon-reload")
    shop.systemctl("reload", "sockreg.service")
    assert shop.show("admin.socket", "ActiveState") == "inactive"
    assert asked(shop, ADMIN, 3) == {"refused": 3}


def test_check_names_both(shop: Sandbox) -> None:
    shop.run(["systemctl", "enable", "sockreg@admin.service"])
    said = shop.run(["sockreg", "check"], check=False).stdout
    assert f"error (same-label): {UNITS}/admin.socket:4" in said
    assert "label http belongs to shop.socket" in said
    only_shop(shop)

"""Rules for interfaces that come and go, with a systemd that starts sockreg for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sockreg.systemd import journal
from tests.netns import Namespace
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, service_unit, socket_unit

SERVICE = "192.0.2.7"
SOCKET, LOOK = "sockreg-interfaces.socket", "sockreg-interfaces.service"
# Two services that have nothing to do with each other; only the second one needs an interface.
FILES = {
    f"{UNITS}/pub.socket": socket_unit(
        "127.0.0.1:8080", label="pub", rules=["Bind=tcp 192.0.2.0/24 80"]
    ),
    f"{UNITS}/pub.service": service_unit("accept_loop pub"),
    f"{UNITS}/vpn.socket": socket_unit(
        "127.0.0.1:8081", label="vpn", rules=["Bind=tcp 192.0.2.0/24 443 dev wg0"]
    ),
    f"{UNITS}/vpn.service": service_unit("accept_loop vpn"),
}
PUB, VPN = f"pub {SERVICE}:80", f"vpn {SERVICE}:443"


@pytest.fixture
def client() -> Iterator[Namespace]:
    with Namespace() as client:
        yield client


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    """A box in which both are enabled, after a boot without wg0."""
    box = make_box(files=FILES)
    box.systemctl("enable", "sockreg@pub", "sockreg@vpn")
    box.reboot()
    return served(box)


def served(box: Sandbox) -> Sandbox:
    box.network.add_local("192.0.2.0/24")
    box.wait(lambda: box.show("sockreg@vpn.service", "ActiveState") == "active")
    box.wait(lambda: box.show("sockreg@pub.service", "ActiveState") == "active")
    return box


def joined(box: Sandbox, client: Namespace, device: str = "wg0", *, index: int = 0) -> None:
    """Join the client to the box by a device of this name."""
    network = box.network
    network.run(
        *("ip", "link", "add", device, *(("index", str(index)) if index else ()), "type", "veth"),
        *("peer", "name", "up0", "netns", client.path),
    )
    network.run("ip", "link", "set", device, "up")
    network.add_address("10.0.1.1/24", device)
    client.run("ip", "link", "set", "up0", "up")
    client.run("ip", "addr", "add", "10.0.1.2/24", "dev", "up0")
    client.run("ip", "route", "add", "192.0.2.0/24", "via", "10.0.1.1")


def is_steered(box: Sandbox, client: Namespace) -> None:
    """Wait until the client is served by the rule for wg0."""
    box.wait(lambda: client.ask(SERVICE, 443) == VPN, "the rule coming into force")


def is_listening(box: Sandbox) -> bool:
    return box.show(SOCKET, "ActiveState") == "active"


def is_quiet(box: Sandbox) -> bool:
    """Whether systemd listens and nothing is being looked at."""
    return box.show(SOCKET, "SubState") == "listening"


def pending(box: Sandbox) -> bool:
    return "there is no interface wg0" in box.run(["sockreg", "rules"]).stdout


def test_a_boot_before_the_interface(box: Sandbox, client: Namespace) -> None:
    assert box.show("sockreg.service", "ActiveState") == "active"
    assert box.ask(SERVICE, 80) == PUB
    assert box.ask(SERVICE, 443) == "refused"
    assert pending(box)
    assert len(messages(box, "-b", f"MESSAGE_ID={journal.PENDING}")) == 1
    box.wait(lambda: is_quiet(box))
    joined(box, client)
    is_steered(box, client)
    assert client.ask(SERVICE, 80) == PUB
    assert not pending(box)
    box.network.run("ip", "link", "del", "wg0")
    box.wait(lambda: pending(box))
    joined(box, client, index=900)
    is_steered(box, client)
    box.wait(lambda: is_quiet(box))
    assert (
        messages(box, "-b", f"MESSAGE_ID={journal.CAME}")
        == ["interface wg0 is there: 1 rule for it is in force"] * 2
    )
    assert len(messages(box, "-b", f"MESSAGE_ID={journal.WENT}")) == 1
    assert box.show(LOOK, "Result") == "success"


def test_an_interface_that_is_renamed_or_made_again_at_once(
    box: Sandbox, client: Namespace
) -> None:
    joined(box, client, "other")
    box.network.run("ip", "link", "set", "other", "down")
    box.network.run("ip", "link", "set", "other", "name", "wg0")
    box.network.run("ip", "link", "set", "wg0", "up")
    is_steered(box, client)
    box.network.run("ip", "link", "del", "wg0")
    joined(box, client, index=900)
    is_steered(box, client)
    assert "900" in str(box.run(["sockreg", "--json", "status"]).stdout)
    box.network.run("ip", "link", "set", "wg0", "down")
    box.network.run("ip", "link", "set", "wg0", "name", "other")
    box.network.run("ip", "link", "set", "other", "up")
    box.wait(lambda: pending(box))
    assert client.ask(SERVICE, 443) == "refused"


def test_a_flood_of_changes(box: Sandbox, client: Namespace) -> None:
    box.wait(lambda: is_quiet(box))
    flaps = "link add x0 type ifb\n" + "link set x0 up\nlink set x0 down\n" * 2000
    comes_and_goes = "link add wg0 type ifb\nlink del wg0\n" * 100
    box.write("/root/flood", flaps + comes_and_goes)
    box.run(["ip", "-batch", "/root/flood"], timeout=300)
    assert is_listening(box)
    joined(box, client)
    is_steered(box, client)
    box.wait(lambda: is_quiet(box), deadline=60)
    assert box.show(SOCKET, "Result") == "success"
    assert box.show(LOOK, "Result") == "success"
    box.network.run("ip", "link", "del", "wg0")
    box.wait(lambda: pending(box))


def test_more_changes_than_the_socket_has_room_for(make_box: MakeBox, client: Namespace) -> None:
    """They overflow after the service has read the last one, before systemd listens again."""
    slow = (
        "[Service]\nExecStopPost=/usr/bin/sh -c 'until test -e /run/flooded; do sleep 0.1; done'\n"
    )
    box = make_box(files=FILES | {f"{UNITS}/{LOOK}.d/slow.conf": slow})
    box.systemctl("enable", "--now", "sockreg@pub", "sockreg@vpn")
    served(box)
    box.wait(lambda: box.show(LOOK, "SubState") == "stop-post")
    flood = "link add x0 type ifb\n" + "link set x0 up\nlink set x0 down\n" * 3000
    box.write("/root/flood", flood)
    box.run(["ip", "-batch", "/root/flood"], timeout=300)
    joined(box, client)
    box.write("/run/flooded", "")
    is_steered(box, client)
    assert is_listening(box)


def test_who_has_no_such_rules_pays_nothing(make_box: MakeBox) -> None:
    files = {path: text for path, text in FILES.items() if "pub" in path}
    box = make_box(files=files)
    box.systemctl("enable", "--now", "sockreg@pub")
    assert not is_listening(box)
    rule = ["vpn", "tcp", "192.0.2.0/24", "443", "dev", "wg0"]
    box.run(["sockreg", "bind", *rule])
    box.wait(lambda: is_listening(box))
    box.run(["sockreg", "bind", "vpn", "tcp", "192.0.2.0/24", "444", "dev", "wg0"])
    box.run(["sockreg", "unbind", *rule])
    assert is_listening(box)
    box.run(["sockreg", "unbind", "vpn", "tcp", "192.0.2.0/24", "444", "dev", "wg0"])
    box.wait(lambda: not is_listening(box))
    box.run(["sockreg", "rollback"])
    box.wait(lambda: is_listening(box))
    box.systemctl("stop", "sockreg.service")
    box.wait(lambda: not is_listening(box))
    box.systemctl("start", "sockreg.service")
    assert not is_listening(box)


def test_a_socket_that_outlives_its_registry_closes(box: Sandbox) -> None:
    box.wait(lambda: is_quiet(box))
    box.run(["sockreg", "unload"])
    box.run(["ip", "link", "add", "br0", "type", "bridge"])
    box.wait(lambda: not is_listening(box))
    assert box.show(SOCKET, "Result") == "success"


def test_a_restart_of_the_loader(box: Sandbox, client: Namespace) -> None:
    box.systemctl("restart", "sockreg.service")
    box.wait(lambda: is_quiet(box))
    joined(box, client)
    is_steered(box, client)
    box.systemctl("restart", "sockreg.service")
    is_steered(box, client)
    box.wait(lambda: is_quiet(box))
    box.network.run("ip", "link", "del", "wg0")
    box.wait(lambda: pending(box))


def test_what_changes_while_systemd_does_not_listen(box: Sandbox, client: Namespace) -> None:
    box.wait(lambda: is_quiet(box))
    box.systemctl("stop", SOCKET)
    joined(box, client)
    assert client.ask(SERVICE, 443) == "refused"
    found = box.run(["sockreg", "check"], check=False).stdout
    assert f"rules in force name interfaces, but {SOCKET} is inactive" in found
    box.run(["sockreg", "bind", "pub", "tcp", "192.0.2.0/24", "81"])
    is_steered(box, client)
    box.wait(lambda: is_quiet(box))


def test_broken_files_do_not_keep_rules_from_following(box: Sandbox, client: Namespace) -> None:
    box.write("/etc/sockreg/10-wrong.conf", "[web]\nBind=tcp nowhere 80\n")
    joined(box, client)
    is_steered(box, client)


@pytest.mark.long
def test_a_look_that_fails_does_not_take_the_socket_with_it(
    make_box: MakeBox, client: Namespace
) -> None:
    """A program that ends before it reads would be started again at once, for ever."""
    broken = "[Service]\nExecStart=\nExecStart=/usr/bin/false\n"
    box = make_box(files=FILES | {f"{UNITS}/{LOOK}.d/broken.conf": broken})
    box.systemctl("enable", "--now", "sockreg@pub", "sockreg@vpn")
    served(box)
    joined(box, client)
    box.wait(lambda: box.show(LOOK, "SubState") == "auto-restart")
    assert is_listening(box)
    box.run(["rm", f"{UNITS}/{LOOK}.d/broken.conf"])
    box.systemctl("daemon-reload")
    is_steered(box, client)


def test_systemd_finds_nothing_to_complain_about(make_box: MakeBox) -> None:
    box = make_box()
    done = box.run(["systemd-analyze", "verify", "--man=no", SOCKET, LOOK])
    assert done.stdout + done.stderr == ""

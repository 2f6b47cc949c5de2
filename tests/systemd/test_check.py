"""The lint on a real systemd: its own units are clean, and drop-ins that break them are not."""

from __future__ import annotations

import pytest

from tests.asking import asking
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.lint import edit_listen_line, follow, kinds
from tests.systemd.units import UNITS, service_unit, socket_unit, web


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    fresh = make_box(files=web(rules=["Bind=tcp 127.0.0.2 80"]))
    fresh.systemctl("enable", "--now", "sockreg@web.service")
    return fresh


def test_what_we_ship_is_clean(box: Sandbox) -> None:
    assert box.ask("127.0.0.2", 80).startswith("web ")
    assert box.run(["sockreg", "check"]).stdout == "nothing found\n"
    box.reboot()
    assert kinds(box) == []
    box.systemctl("stop", "sockreg.service")
    assert kinds(box) == ["not-loaded"]
    assert kinds(box, "--files") == []


def test_a_stopped_socket(box: Sandbox) -> None:
    box.systemctl("stop", "web.socket")
    assert kinds(box) == ["inactive-socket", "no-socket"]
    box.systemctl("start", "sockreg@web.service")
    assert kinds(box) == []


def test_a_drop_in_that_loads_into_nowhere(box: Sandbox) -> None:
    dropin = f"{UNITS}/sockreg.service.d/network.conf"
    box.write(dropin, "[Service]\nPrivateNetwork=yes\n")
    told = box.run(["sockreg", "check"], check=False).stdout
    assert f"error (private-network): {dropin}:2" in told


def test_a_server_without_requires(box: Sandbox) -> None:
    """The trap is real: the restart that the lint warns of leaves the socket dead."""
    service = box.run(["cat", f"{UNITS}/web.service"]).stdout
    box.write(f"{UNITS}/web.service", service.replace("Requires=web.socket\n", ""))
    box.systemctl("daemon-reload")
    assert kinds(box) == ["no-requires"]
    box.ask("127.0.0.2", 80)
    box.systemctl("restart", "web.socket", check=False)
    assert box.show("web.socket", "ActiveState") in ("inactive", "failed")
    assert "inactive-socket" in kinds(box)


def test_a_server_that_failed(box: Sandbox) -> None:
    box.write(f"{UNITS}/web.service.d/fail.conf", "[Service]\nExecStart=\nExecStart=/bin/false\n")
    box.systemctl("daemon-reload")
    box.systemctl("start", "web.service", check=False)
    box.wait(lambda: box.show("web.service", "ActiveState") == "failed")
    assert "dead-server" in kinds(box)


def test_a_pool_of_instances_is_no_fault(make_box: MakeBox) -> None:
    """By files and live, in ports that come from the names of instances."""
    rules = ["Bind=tcp 127.0.0.2 80", "Bind=tcp ::1 80"]
    box = make_box(
        files={
            f"{UNITS}/web@.socket": socket_unit("%i", rules=rules),
            f"{UNITS}/web@.service": service_unit(
                "accept_loop web%i", dependencies=["Requires=web@%i.socket"]
            ),
        }
    )
    box.systemctl("enable", "--now", "sockreg@web@8081.service", "sockreg@web@8082.service")
    assert box.ask("127.0.0.2", 80).startswith("web80")
    assert box.ask("::1", 80).startswith("web80")
    assert kinds(box) == kinds(box, "--files") == []
    box.run(["sockreg", "unregister", "web", "--unit", "web@8082.socket"])
    assert kinds(box) == ["not-registered"]
    follow(box, "not-registered")
    assert kinds(box) == []


@pytest.mark.long
@pytest.mark.parametrize("listen", ["[::ffff:127.0.0.1]:8082", "[0::0]:8082", "8082"])
def test_a_listener_of_both_families(make_box: MakeBox, listen: str) -> None:
    rules = ["Bind=tcp 127.0.0.2 80", "Bind=tcp ::1 80"]
    box = make_box(files=web(listen=[listen], rules=rules))
    assert kinds(box, "--files") == ["no-companion"]
    box.systemctl("enable", "--now", "sockreg@web.service")
    assert kinds(box) == kinds(box, "--files") == []
    assert box.ask("127.0.0.2", 80) == "web 127.0.0.2:80"
    assert box.ask("::1", 80) == "web [::1]:80"


@pytest.mark.long
@pytest.mark.parametrize("listen", ["127.0.0.1:8090", "[::]:8080"])
def test_edited_listen_lines(box: Sandbox, listen: str) -> None:
    """The fix leads to the new address although the server runs."""
    edit_listen_line(box, listen)
    port = int(listen.rpartition(":")[2])
    assert box.ask("127.0.0.1", port) == f"web 127.0.0.1:{port}"
    assert box.ask("127.0.0.2", 80) == "web 127.0.0.2:80"


def test_edited_listen_lines_of_a_server_without_requires(make_box: MakeBox) -> None:
    """systemd refuses to restart the socket of such a server."""
    box = make_box(files=web(rules=["Bind=tcp 127.0.0.2 80"], requires_socket=False))
    box.systemctl("enable", "--now", "sockreg@web.service")
    edit_listen_line(box, "127.0.0.1:8090", ["no-requires"])
    assert box.ask("127.0.0.1", 8090) == "web 127.0.0.1:8090"
    assert box.ask("127.0.0.2", 80) == "web 127.0.0.2:80"


@pytest.mark.long
def test_edited_listen_lines_of_one_of_several_sockets(make_box: MakeBox) -> None:
    """While clients of the other socket could start the server at any moment."""
    files = web(rules=["Bind=tcp 127.0.0.2 80"], server="each_port")
    files[f"{UNITS}/tls.socket"] = socket_unit(
        "127.0.0.1:8443", label="tls", settings=["Service=web.service"]
    )
    files[f"{UNITS}/web.service"] += "Sockets=web.socket tls.socket\nNonBlocking=yes\n"
    box = make_box(files=files)
    box.systemctl("enable", "--now", "sockreg@web.service")
    box.systemctl("start", "tls.socket")
    with asking(lambda: box.ask("127.0.0.1", 8443)):
        edit_listen_line(box, "127.0.0.1:8090")
    assert box.ask("127.0.0.1", 8090) == box.ask("127.0.0.2", 80) == "8090"
    assert box.ask("127.0.0.1", 8443) == "8443"


def test_an_accepting_socket_without_a_template(make_box: MakeBox) -> None:
    files = web()
    files[f"{UNITS}/web.socket"] = socket_unit(
        "127.0.0.1:8080", rules=["Bind=tcp 127.0.0.2 80"], settings=["Accept=yes"]
    )
    box = make_box(files=files)
    box.systemctl("enable", "--now", "sockreg@web.service", check=False)
    assert "no-server" in kinds(box, "--files")
    box.write(
        f"{UNITS}/web@.service", "[Service]\nExecStart=/bin/echo hello\nStandardOutput=socket\n"
    )
    box.systemctl("daemon-reload")
    box.systemctl("restart", "sockreg@web.service")
    assert kinds(box) == kinds(box, "--files") == []
    assert box.ask("127.0.0.2", 80) == "hello"

"""A unit of the distribution with several listeners, steered by a drop-in."""

from __future__ import annotations

import pytest

from sockreg.errors import EXIT_CONFIG
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, service_unit

PREFIX, ADDRESS = "192.0.2.0/24", "192.0.2.7"
DROPIN = f"{UNITS}/mail.socket.d/steer.conf"
# As a distribution ships it; the server answers on each of its sockets with the socket's port.
MAIL = {
    "/usr/lib/systemd/system/mail.socket": (
        "[Socket]\nListenStream=127.0.0.1:8143\nListenStream=127.0.0.1:8993\n"
        "[Install]\nWantedBy=sockets.target\n"
    ),
    "/usr/lib/systemd/system/mail.service": service_unit(
        "each_port", dependencies=["Requires=mail.socket"]
    ),
}


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    fresh = make_box(files=MAIL)
    fresh.run(["ip", "route", "add", "local", PREFIX, "dev", "lo"])
    return fresh


def steer(box: Sandbox, *rules: str) -> None:
    box.write(DROPIN, "\n".join(["[X-Sockreg]", *rules]) + "\n")
    box.systemctl("daemon-reload")


def landed(box: Sandbox, *ports: int) -> list[str]:
    return [box.ask(ADDRESS, port, source="127.0.0.1") for port in ports]


@pytest.mark.long
def test_a_drop_in_says_which_listener_each_rule_means(box: Sandbox) -> None:
    steer(box, f"Bind=tcp {PREFIX} 143 to 8143", f"Bind=tcp {PREFIX} 993 to 8993")
    box.run(["sockreg", "enable", "mail.socket"])
    for _ in range(2):
        assert landed(box, 143, 993) == ["8143", "8993"]
        box.reboot()
        box.run(["ip", "route", "add", "local", PREFIX, "dev", "lo"])


def test_the_listener_whose_port_is_in_the_rule_needs_no_word(box: Sandbox) -> None:
    steer(box, f"Bind=tcp {PREFIX} 8143,8900-8999")
    box.run(["sockreg", "enable", "mail.socket"])
    assert landed(box, 8143, 8993, 8994) == ["8143", "8993", "8993"]


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ("143", "which listener of label mail.socket is meant?"),
        ("*", "which listener of label mail.socket is meant?"),
        ("143 to 9143", "no listener of mail.socket has port 9143"),
    ],
)
def test_what_is_unclear_is_refused_with_the_listeners(box: Sandbox, rule: str, wrong: str) -> None:
    steer(box, f"Bind=tcp {PREFIX} 993 to 8993")
    box.run(["sockreg", "enable", "mail.socket"])
    steer(box, f"Bind=tcp {PREFIX} 993 to 8993", f"Bind=tcp {PREFIX} {rule}")
    done = box.run(["sockreg", "apply"], check=False)
    assert done.returncode == EXIT_CONFIG, done
    assert f"{DROPIN}:3: Bind=tcp {PREFIX} {rule}: {wrong}" in done.stderr
    assert "mail.socket 127.0.0.1:8143 and mail.socket 127.0.0.1:8993" in done.stderr
    assert landed(box, 143, 993) == ["refused", "8993"]
    said = box.run(["sockreg", "check"], check=False).stdout
    assert f"{DROPIN}:3" in said
    assert "127.0.0.1:8993" in said


def test_conf_files_mean_listeners_too_and_are_refused_traffic_otherwise(box: Sandbox) -> None:
    """Enabled last, so that the loader knew nothing of the unit when it read the rules."""
    conf = f"[mail.socket]\nBind=tcp {PREFIX} 993 to 8993\nBind=tcp {PREFIX} 143\n"
    box.write("/etc/sockreg/mail.conf", conf)
    box.systemctl("start", "sockreg.service")
    box.run(["sockreg", "enable", "mail.socket"])
    assert landed(box, 143, 993) == ["refused", "8993"]
    said = box.run(["sockreg", "status"]).stdout
    assert "which listener of label mail.socket is meant?" in said
    told = messages(box, "-t", "sockreg")
    assert any(
        text.startswith("/etc/sockreg/mail.conf:3:") and "which listener" in text for text in told
    ), told
    box.run(["sed", "-i", "s/143$/143 to 8143/", "/etc/sockreg/mail.conf"])
    box.systemctl("reload", "sockreg.service")
    assert landed(box, 143, 993) == ["8143", "8993"]


def test_a_second_listener_arrives(box: Sandbox) -> None:
    """With one listener no word is needed; with the second, rules for the first keep theirs."""
    box.write(f"{UNITS}/mail.socket.d/one.conf", "[Socket]\nListenStream=\nListenStream=8143\n")
    steer(box, f"Bind=tcp {PREFIX} 143")
    box.run(["sockreg", "enable", "mail.socket"])
    assert landed(box, 143) == ["8143"]
    box.run(["rm", f"{UNITS}/mail.socket.d/one.conf"])
    steer(box, f"Bind=tcp {PREFIX} 143 to 8143", f"Bind=tcp {PREFIX} 993 to 8993")
    box.systemctl("stop", "mail.service")
    box.systemctl("restart", "mail.socket")
    box.systemctl("start", "sockreg@mail.service")
    box.run(["sockreg", "apply"])
    assert landed(box, 143, 993) == ["8143", "8993"]


@pytest.mark.long
def test_a_second_listener_that_no_rule_knows_of_is_told_truly(box: Sandbox) -> None:
    """The rules that stay in force lead to the first one."""
    one = "[Socket]\nListenStream=\nListenStream=127.0.0.1:8143\n"
    box.write(f"{UNITS}/mail.socket.d/one.conf", one)
    steer(box, f"Bind=tcp {PREFIX} 143")
    box.run(["sockreg", "enable", "mail.socket"])
    assert landed(box, 143) == ["8143"]
    box.run(["rm", f"{UNITS}/mail.socket.d/one.conf"])
    box.systemctl("daemon-reload")
    assert box.run(["sockreg", "apply"], check=False).returncode == EXIT_CONFIG
    assert landed(box, 143) == ["8143"]
    box.reboot()
    box.run(["ip", "route", "add", "local", PREFIX, "dev", "lo"])
    assert landed(box, 143) == ["8143"]
    truth = "until then, its rules lead to port 8143, as before"
    listeners = "There are mail.socket 127.0.0.1:8143 and mail.socket 127.0.0.1:8993"
    for said in (
        box.run(["sockreg", "status", "-n", "0"]).stdout,
        box.run(["sockreg", "check"], check=False).stdout,
        "\n".join(messages(box, "-u", "sockreg.service")),
    ):
        assert truth in " ".join(said.split())
        assert listeners in " ".join(said.split())
    steer(box, f"Bind=tcp {PREFIX} 143 to 8143")
    box.run(["sockreg", "apply"])
    assert landed(box, 143) == ["8143"]

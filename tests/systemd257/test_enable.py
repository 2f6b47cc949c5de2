"""Sockets that register themselves: PassFileDescriptorsToExec= of systemd 256 and later."""

from __future__ import annotations

import json

import pytest

from sockreg.errors import EXIT_CONFIG, EXIT_FAILURE, EXIT_PARTLY, EXIT_USAGE
from sockreg.systemd import journal
from tests.asking import asking
from tests.sandbox import Sandbox
from tests.systemd.test_enable import dies, fails, refused, state
from tests.systemd.units import UNITS, messages, service_unit, socket_unit, web
from tests.systemd257.conftest import MakeBox

ANSWER = "web 127.0.0.1:80"
DROPIN = f"{UNITS}/web.socket.d/50-sockreg.conf"
COMPANION = "/usr/lib/python3/dist-packages/sockreg/companion/__main__.py"
TEXT = f"""\
# Written by 'sockreg enable'; 'sockreg disable' removes it.
[Unit]
Wants=sockreg-needed.service
After=sockreg-needed.service sockreg.service

[Socket]
PassFileDescriptorsToExec=yes
ExecStartPost=-/usr/bin/python3 -I -S {COMPANION} open %n /usr/bin/sockreg
"""


def units(box: Sandbox) -> str:
    """The units of sockreg that systemd has in memory, but for the loader and what starts it."""
    shown = box.systemctl("list-units", "--all", "--plain", "--no-legend", "sockreg*").stdout
    names = [line.split()[0] for line in shown.splitlines()]
    return " ".join(set(names) - {"sockreg.service", "sockreg-needed.service"})


def members(box: Sandbox) -> dict[str, str]:
    status = json.loads(box.run(["sockreg", "--json", "status"]).stdout)["status"]
    return {
        f"{it['label']} {it['protocol']} {it['family']}": f"{member['unit']} {member['address']}"
        for it in status["destinations"]
        for member in it["members"]
    }


@pytest.fixture
def enabled(make_box: MakeBox) -> Sandbox:
    """A box with web.socket, whose server runs on demand, enabled with sockreg."""
    box = make_box(files=web())
    box.run(["sockreg", "enable", "web.socket"])
    return box


def test_a_dry_run_shows_the_dropin(make_box: MakeBox) -> None:
    box = make_box(files=web())
    said = box.run(["sockreg", "enable", "web", "--dry-run"]).stdout
    assert said == (
        "would enable web.socket in mode exec:\n"
        f"  write {DROPIN}\n"
        + "".join(f"    {line}".rstrip() + "\n" for line in TEXT.splitlines())
        + "  systemctl start sockreg.service\n"
        "  systemctl enable --quiet --no-reload web.socket\n"
        "  systemctl daemon-reload\n"
        "  systemctl start web.socket\n"
    )
    assert box.run(["test", "-e", DROPIN], check=False).returncode == 1
    assert box.systemctl("is-active", "web.socket", check=False).stdout == "inactive\n"


def test_the_socket_registers_itself(make_box: MakeBox) -> None:
    box = make_box(files=web())
    said = box.run(["sockreg", "enable", "web.socket"]).stdout
    assert "web.socket is registered for 1 destination" in said
    assert box.read(DROPIN) == TEXT
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert members(box) == {"web tcp ipv4": "web.socket 127.0.0.1:8080"}
    assert units(box) == ""
    done = box.run(["systemd-analyze", "verify", "--man=no", "web.socket"])
    assert done.stdout + done.stderr == ""


def test_boot_has_one_generation_and_no_companion(enabled: Sandbox) -> None:
    box = enabled
    box.reboot()
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert units(box) == ""
    assert len(box.journal(f"MESSAGE_ID={journal.APPLIED}")) == 1
    assert box.systemctl("is-system-running").stdout == "running\n"


def test_starting_waits_for_the_registration(enabled: Sandbox) -> None:
    box = enabled
    for _ in range(3):  # five in ten seconds are the most that systemd lets it
        box.systemctl("stop", "web.service", "web.socket")
        assert box.ask("127.0.0.1", 80) == "refused"
        box.systemctl("start", "web.socket")
        assert box.ask("127.0.0.1", 80) == ANSWER


def test_restarting_both_registers_the_new_socket(enabled: Sandbox) -> None:
    box = enabled
    assert box.ask("127.0.0.1", 80) == ANSWER
    before = messages(box, "SOCKREG_LABEL=web")
    box.systemctl("restart", "web.socket")
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert len(messages(box, "SOCKREG_LABEL=web")) > len(before)


def test_enabling_leaves_a_running_server_alone(make_box: MakeBox) -> None:
    files = web(server="event_loop web")
    box = make_box(files=files)
    box.systemctl("start", "web.socket", "web.service")
    pid = box.show("web.service", "MainPID")
    with asking(lambda: box.ask("127.0.0.1", 8080)) as answers:
        box.run(["sockreg", "enable", "web.socket"])
        assert box.ask("127.0.0.1", 80) == ANSWER
        box.systemctl("daemon-reload")
    assert set(answers) == {"web 127.0.0.1:8080"}
    assert box.show("web.service", "MainPID") == pid
    box.reboot()
    assert box.ask("127.0.0.1", 80) == ANSWER


def test_names_and_several_listeners(make_box: MakeBox) -> None:
    listen = ("127.0.0.1:8080", "[::1]:8080", "ListenDatagram=127.0.0.1:8080", "/run/web.sock")
    rules = ("Bind=tcp 127.0.0.1 80", "Bind=tcp ::1 80", "Bind=udp 127.0.0.1 80")
    files = {
        f"{UNITS}/sp\\x20ace@.socket": socket_unit(*listen, label="l %i", rules=rules),
        f"{UNITS}/sp\\x20ace@.service": service_unit("event_loop web"),
    }
    box = make_box(files=files)
    # The UNIX socket cannot be registered, which is said.
    done = box.run(["sockreg", "enable", "sp\\x20ace@1.socket"], check=False)
    assert done.returncode == EXIT_PARTLY, done
    assert members(box) == {
        "l 1 tcp ipv4": "sp\\x20ace@1.socket 127.0.0.1:8080",
        "l 1 tcp ipv6": "sp\\x20ace@1.socket [::1]:8080",
        "l 1 udp ipv4": "sp\\x20ace@1.socket 127.0.0.1:8080",
    }
    assert box.ask("::1", 80) == "web [::1]:80"


def test_a_failing_registration_leaves_the_socket_alone(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.run(["sockreg", "enable", "web.socket"])
    box.systemctl("stop", "web.socket")
    box.systemctl("mask", "--now", "--runtime", "sockreg.service")
    box.run(["sockreg", "unload"])
    box.systemctl("start", "web.socket")
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    assert any("nothing is loaded" in text for text in messages(box, "-u", "web.socket"))


def test_disable_undoes_it(enabled: Sandbox) -> None:
    box = enabled
    assert box.ask("127.0.0.1", 80) == ANSWER
    said = box.run(["sockreg", "disable", "web.socket"]).stdout
    assert said == (
        f"disable web.socket:\n  remove {DROPIN}\n"
        "  take out of force: the rules of web.socket\n"
        "  unregister: the sockets of web.socket\n"
    )
    assert box.run(["test", "-e", f"{UNITS}/web.socket.d"], check=False).returncode == 1
    assert box.ask("127.0.0.1", 80) == "refused"
    assert box.run(["sockreg", "rules"]).stdout.count("\n") == 1
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    box.reboot()
    assert box.ask("127.0.0.1", 80) == "refused"


def test_the_companion_can_be_had_here_too(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.run(["sockreg", "enable", "web", "--mode", "companion"])
    assert box.ask("127.0.0.1", 80) == ANSWER
    done = box.run(["sockreg", "enable", "web", "--mode", "exec"], check=False)
    assert done.returncode == EXIT_USAGE
    assert "web.socket is enabled already, in mode companion" in done.stderr
    box.run(["sockreg", "disable", "web"])
    box.run(["sockreg", "enable", "web"])
    assert box.read(DROPIN) == TEXT
    assert box.ask("127.0.0.1", 80) == ANSWER


def test_a_refusal_leaves_nothing(make_box: MakeBox) -> None:
    """Foretold or not: no drop-in, no link, no socket, no rule."""
    files = web()
    files[f"{UNITS}/shop.socket"] = socket_unit(
        "127.0.0.1:8081", label="shop", rules=["Bind=tcp 127.0.0.1 80"]
    )
    files[f"{UNITS}/shop.service"] = service_unit("accept_loop shop")
    files[f"{UNITS}/mail.socket"] = socket_unit(
        "192.0.2.77:8082", label="mail", rules=["Bind=tcp 127.0.0.1 25"]
    )
    files[f"{UNITS}/mail.service"] = service_unit("accept_loop mail")
    box = make_box(files=files)
    box.run(["sockreg", "enable", "web"])
    before = state(box)
    said = refused(box, EXIT_CONFIG, "shop")
    assert "ties with" in said
    said = fails(box, EXIT_FAILURE, "enable", "mail")
    assert "mail.socket: Failed to create listening socket (192.0.2.77:8082)" in said
    assert state(box) == before
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert box.ask("127.0.0.1", 25) == "refused"
    assert box.ask("127.0.0.1", 8081) == "refused"


@pytest.mark.parametrize("command", range(1, 5))
def test_a_death_is_healed(make_box: MakeBox, command: int) -> None:
    box = make_box(files=web())
    before = state(box)
    dies(box, command)
    box.run(["sockreg", "disable", "web"])
    assert state(box) == before
    assert box.ask("127.0.0.1", 8080) == "refused"
    dies(box, command)
    box.run(["sockreg", "enable", "web"])
    assert box.ask("127.0.0.1", 80) == ANSWER


def test_several_sockets_register_themselves(make_box: MakeBox) -> None:
    files = web()
    files[f"{UNITS}/shop.socket"] = socket_unit(
        "127.0.0.1:8081", label="shop", rules=["Bind=tcp 127.0.0.1 81"]
    )
    files[f"{UNITS}/shop.service"] = service_unit("accept_loop shop")
    box = make_box(files=files)
    box.run(["sockreg", "enable", "web", "shop"])
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert box.ask("127.0.0.1", 81) == "shop 127.0.0.1:81"
    box.reboot()
    assert box.ask("127.0.0.1", 81) == "shop 127.0.0.1:81"
    box.run(["sockreg", "disable", "web", "shop"])
    assert box.ask("127.0.0.1", 81) == "refused"
    assert box.ask("127.0.0.1", 8081) == "shop 127.0.0.1:8081"

"""`sockreg enable` and `disable` where systemd is too old to let a socket register itself."""

from __future__ import annotations

import pytest

from sockreg.errors import EXIT_FAILURE, EXIT_USAGE
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, socket_unit, web

ANSWER = "web 127.0.0.1:80"
DROPIN = f"{UNITS}/web.socket.d/50-sockreg.conf"


def fails(box: Sandbox, status: int, *arguments: str) -> str:
    done = box.run(["sockreg", *arguments], check=False)
    assert done.returncode == status, done
    return done.stderr


@pytest.fixture
def installed_web(make_box: MakeBox) -> Sandbox:
    """A box where web.socket is installed, and nothing of it enabled."""
    return make_box(files=web())


def test_enable_takes_the_companion(installed_web: Sandbox) -> None:
    box = installed_web
    said = box.run(["sockreg", "enable", "web.socket"]).stdout
    assert said == (
        "enable web.socket in mode companion:\n"
        "  systemctl enable --now sockreg@web.service\n"
        "web.socket is registered for 1 destination\n"
    )
    assert box.ask("127.0.0.1", 80) == ANSWER
    box.reboot()
    assert box.ask("127.0.0.1", 80) == ANSWER

    said = box.run(["sockreg", "disable", "web"]).stdout
    assert said == (
        "disable web.socket, which is enabled in mode companion:\n"
        "  systemctl disable --now sockreg@web.service\n"
    )
    assert box.ask("127.0.0.1", 80) == "refused"
    assert box.run(["sockreg", "rules"]).stdout.count("\n") == 1
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    assert box.run(["sockreg", "disable", "web"]).stdout == "web is not enabled with sockreg\n"


def test_a_dry_run_changes_nothing(installed_web: Sandbox) -> None:
    box = installed_web
    said = box.run(["sockreg", "enable", "web", "--dry-run"]).stdout
    assert said == (
        "would enable web.socket in mode companion:\n  systemctl enable --now sockreg@web.service\n"
    )
    assert box.systemctl("is-enabled", "sockreg@web", check=False).stdout == "disabled\n"
    assert box.systemctl("is-active", "web.socket", check=False).stdout == "inactive\n"


def test_exec_mode_is_refused_here(installed_web: Sandbox) -> None:
    said = fails(installed_web, EXIT_USAGE, "enable", "web", "--mode", "exec")
    assert "--mode exec needs systemd 256; this is 252" in said
    assert "--mode companion works with any" in said


def test_another_root_is_told_the_mode(installed_web: Sandbox) -> None:
    box = installed_web
    box.run(["/bin/sh", "-c", "mkdir -p /tmp/other/etc; cp -a /etc/systemd /tmp/other/etc"])
    box.run(
        ["/bin/sh", "-c", "mkdir -p /tmp/other/usr/lib; cp -a /usr/lib/systemd /tmp/other/usr/lib"]
    )
    root = ("--root", "/tmp/other")
    assert "the systemd version of /tmp/other is unknown" in fails(
        box, EXIT_USAGE, *root, "enable", "web"
    )
    said = box.run(["sockreg", *root, "enable", "web", "--mode", "companion"]).stdout
    assert "  systemctl --root=/tmp/other enable sockreg@web.service\n" in said
    assert (
        "sockreg@web.service"
        in box.run(["find", f"/tmp/other{UNITS}", "-name", "sockreg@*"]).stdout
    )
    box.run(["sockreg", *root, "disable", "web"])
    said = box.run(["sockreg", *root, "enable", "web", "--mode", "exec"]).stdout
    assert f"  write /tmp/other{DROPIN}\n" in said
    assert "PassFileDescriptorsToExec=yes\n" in box.read(f"/tmp/other{DROPIN}")
    said = fails(box, EXIT_USAGE, *root, "enable", "web", "--mode", "companion")
    assert "web.socket is enabled already, in mode exec" in said
    box.run(["sockreg", *root, "disable", "web"])
    assert box.run(["ls", f"/tmp/other{UNITS}"]).stdout.split().count("web.socket.d") == 0
    # Nothing of all this is about the system that runs.
    assert box.systemctl("is-enabled", "sockreg@web", check=False).stdout == "disabled\n"


def test_wrong_units_are_refused(installed_web: Sandbox) -> None:
    box = installed_web
    box.write(f"{UNITS}/many@.socket", socket_unit("127.0.0.1:8081"))
    box.run(["ln", "-s", "/dev/null", f"{UNITS}/masked.socket"])
    assert "there is no nothing.socket" in fails(box, EXIT_USAGE, "enable", "nothing")
    assert "there is no masked.socket, or it is masked" in fails(
        box, EXIT_USAGE, "enable", "masked"
    )
    assert "name an instance" in fails(box, EXIT_USAGE, "enable", "many@")
    assert "there is no nothing.socket" in fails(box, EXIT_USAGE, "disable", "nothing")


def test_a_socket_that_does_not_register_is_said(make_box: MakeBox) -> None:
    files = web()
    files[f"{UNITS}/web.socket"] = socket_unit("/run/web.sock")
    box = make_box(files=files)
    said = fails(box, EXIT_FAILURE, "enable", "web")
    assert "'systemctl enable --now sockreg@web.service' failed: " in said


def test_missing_units_are_said(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.run(["rm", "/usr/lib/systemd/system/sockreg@.service"])
    said = fails(box, EXIT_FAILURE, "enable", "web")
    assert "there is no sockreg@web.service" in said
    assert "sockreg install-units" in said


def test_an_enabled_socket_that_wants_the_loader_counts(make_box: MakeBox) -> None:
    """As the drop-in of mode exec says, also where this systemd does not know the rest of it."""
    files = web()
    files[f"{UNITS}/web.socket.d/wants.conf"] = "[Unit]\nWants=sockreg.service\n"
    box = make_box(files=files)
    box.systemctl("start", "sockreg.service")
    assert box.run(["sockreg", "rules"]).stdout.count("\n") == 1
    box.systemctl("enable", "web.socket")
    box.systemctl("reload", "sockreg.service")
    assert "tcp 127.0.0.1 80" in box.run(["sockreg", "rules"]).stdout

"""What refused commands tell an operator to run, done as it is printed. tests/fixes.py names what
does each of them.
"""

from __future__ import annotations

import re

import pytest

from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.lint import kinds
from tests.systemd.units import UNITS, messages, service_unit, web

ADDRESS = "127.0.0.2"
RULES = ["Bind=tcp 127.0.0.2 80"]
LIBRARY = "/usr/lib/systemd/system"

pytestmark = pytest.mark.long


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    fresh = make_box(files=web(rules=RULES))
    fresh.systemctl("start", "sockreg.service")
    return fresh


def served(box: Sandbox) -> bool:
    return box.ask(ADDRESS, 80).startswith("web ")


def told(box: Sandbox, *command: str) -> list[str]:
    """The commands between quotes that a refused command prints."""
    done = box.run(["sockreg", *command], check=False)
    assert done.returncode != 0, done.stdout
    return re.findall(r"'((?:systemctl|sockreg) [^']*)'", done.stderr)


def test_enable_where_nothing_can_be_written(box: Sandbox) -> None:
    box.run(["mount", "--bind", "-o", "ro", UNITS, UNITS])
    box.run(["mount", "-o", "remount,ro,bind", UNITS])
    (command,) = told(box, "enable", "web")
    assert not served(box)
    box.run(command.replace("NAME", "web").split())
    assert served(box)
    box.run(["umount", UNITS])


def test_enable_a_masked_socket(make_box: MakeBox) -> None:
    files = web(rules=RULES)
    files[f"{LIBRARY}/web.socket"] = files.pop(f"{UNITS}/web.socket")
    box = make_box(files=files)
    box.systemctl("mask", "web.socket")
    (command,) = told(box, "enable", "web")
    box.run(command.split())
    box.run(["sockreg", "enable", "web"])
    assert served(box)


def test_enable_a_transient_socket(box: Sandbox) -> None:
    """What systemd-run(1) makes is gone with its stop, and so is its registration."""
    transient = "/run/systemd/transient"
    box.run(["mkdir", "-p", transient])
    files = web(rules=RULES, listen=["127.0.0.1:8081"])
    box.write(f"{transient}/some.socket", files[f"{UNITS}/web.socket"].replace("=web", "=some"))
    box.write(f"{transient}/some.service", service_unit("accept_loop web"))
    box.systemctl("daemon-reload")
    (command,) = told(box, "enable", "some")
    box.run(command.split())
    box.run(["sockreg", "apply"])
    assert served(box)


def test_a_note_of_another_version(box: Sandbox) -> None:
    box.run(["sockreg", "enable", "web"])
    box.write("/run/sockreg/enable/unfinished", "{}")
    said = box.run(["sockreg", "disable", "web"], check=False).stderr
    (path,) = re.findall(r"(/\S+) is not a note of this version", said)
    assert "remove the file; 'sockreg disable UNIT' takes out what is left of a unit" in said
    box.run(["rm", path])
    assert served(box)
    box.run(["sockreg", "disable", "web"])
    assert box.ask(ADDRESS, 80) == "refused"
    assert "unfinished-enable" not in kinds(box)


def test_systemd_does_not_say_why_it_stops(box: Sandbox) -> None:
    """Both ways out: the unit starts again, or stops whole."""
    box.systemctl("enable", "--now", "sockreg@web.service")
    for again in ("restart", "stop"):
        box.write("/run/mute", '#!/bin/sh\n[ "$1" != list-jobs ] && exec /run/systemctl "$@"\n')
        box.run(["cp", "/usr/bin/systemctl", "/run/systemctl"])
        box.run(["chmod", "+x", "/run/mute"])
        box.run(["mount", "--bind", "/run/mute", "/usr/bin/systemctl"])
        box.run(["/run/systemctl", "stop", "sockreg@web.service"], check=False)
        box.run(["umount", "/usr/bin/systemctl"])
        said = " ".join(messages(box, "-u", "sockreg@web.service"))
        (command,) = set(re.findall(r"its state stays as it is: run '(systemctl [^']*)'", said))
        assert served(box)
        if again == "restart":
            box.run(command.split())
            assert served(box)
            assert kinds(box) == []
        else:
            box.systemctl("start", "sockreg@web.service")
            box.systemctl("stop", "sockreg@web.service")
            assert box.ask(ADDRESS, 80) == "refused"


def test_the_receiver_is_not_started(box: Sandbox) -> None:
    """It receives from a server that passes its sockets itself."""
    box.systemctl("stop", "sockreg-receive.socket")
    box.write(
        f"{UNITS}/web.service",
        service_unit("accept_loop web", dependencies=["Requires=web.socket"]).replace(
            "ExecStart=", "ExecStart=/usr/bin/sockreg send web -- "
        ),
    )
    box.systemctl("daemon-reload")
    box.systemctl("start", "web.service", check=False)
    box.wait(lambda: box.show("web.service", "ActiveState") in ("failed", "inactive"))
    said = " ".join(messages(box, "-u", "web.service"))
    (command,) = set(re.findall(r"start it: '([^']*)'", said))
    box.run(command.split())
    box.run(["sockreg", "bind", "web", "tcp", ADDRESS, "80"])
    box.systemctl("restart", "web.service")
    box.wait(lambda: served(box))


def test_sock_ops_is_not_loaded(box: Sandbox) -> None:
    box.run(["sockreg", "bind", "web", "tcp", ADDRESS, "80"])
    for number in range(2):
        box.write(
            f"{UNITS}/web.service",
            "[Service]\nExecStartPre=+/usr/bin/sockreg expect web\n"
            "ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 8080\n",
        )
        box.systemctl("daemon-reload")
        box.systemctl("start", "web.service", check=False)
        said = " ".join(messages(box, "-u", "web.service"))
        (ways,) = set(re.findall(r"start it: '([^']*)' or '([^']*)'", said))
        box.run(ways[number].split())
        box.systemctl("start", "web.service")
        box.wait(
            lambda: box.ask(ADDRESS, 80, request=b"GET / HTTP/1.0\r\n\r\n").startswith("HTTP/")
        )
        box.systemctl("stop", "web.service", "sockreg-sockops.service")

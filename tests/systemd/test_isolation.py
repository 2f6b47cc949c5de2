"""Neither the environment, the working directory nor a home says what the command and units run."""

from __future__ import annotations

import re

import pytest

from sockreg.errors import EXIT_USAGE
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, web
from tests.tree import ROOT

HOSTILE = "/opt/hostile"
MODULE = "import sys\nprint('HOSTILE', __name__, file=sys.stderr)\nraise SystemExit(99)\n"
NAMES = ("sitecustomize", "usercustomize", "sockreg", "json", "socket", "numpy", "systemd")
USER_SITE = "/root/.local/lib/python3.{}/site-packages"
ENVIRONMENT = {
    "PYTHONPATH": HOSTILE,
    "PYTHONSTARTUP": f"{HOSTILE}/json.py",
    "PYTHONUSERBASE": "/root/.local",
    "PYTHONINSPECT": "1",
    "PYTHONHOME": HOSTILE,
    "PYTHONPLATLIBDIR": HOSTILE,
}
TELL_RECEIVER = """\
import socket
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
    peer.connect("/run/sockreg/receive.sock")
    peer.send(b"nothing")
    print(peer.recv(1000).decode())
"""
SERVICES = (
    *("sockreg.service", "sockreg@web.service", "sockreg-add@web.service"),
    *("sockreg-sockops.service", "sockreg-interfaces.service", "sockreg-receive@.service"),
    *("sockreg-metrics.service", "sockreg-needed.service", "sockreg-stalled.service"),
    *("sockreg-files-apply.service",),
)


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    modules = {f"{HOSTILE}/{name}.py": MODULE for name in NAMES}
    for minor in range(11, 16):
        modules |= {f"{USER_SITE.format(minor)}/{name}.py": MODULE for name in NAMES}
        modules[f"{USER_SITE.format(minor)}/own.pth"] = "import sys; print('HOSTILE')\n"
    box = make_box(files=web() | modules)
    box.run(["systemd-sysusers"])
    return box


def test_the_command_imports_what_is_its_own(box: Sandbox) -> None:
    command = ["sh", "-c", f'cd {HOSTILE} && exec "$@"', "sh"]
    box.run(["ln", "-s", "/usr/bin/sockreg", "/usr/local/bin/by-a-link"])
    # It would be taken, were it not for -I.
    taken = box.run([*command, "python3", "-c", "import json"], check=False,
                    env={"PYTHONPATH": HOSTILE})  # fmt: skip
    assert "HOSTILE" in taken.stdout + taken.stderr
    for name in ("sockreg", "/usr/bin/sockreg", "by-a-link"):
        for environment in ({}, ENVIRONMENT):
            done = box.run([*command, name, "--version"], check=False, env=environment)
            assert "HOSTILE" not in done.stdout + done.stderr
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("sockreg "), done.stdout
    done = box.run([*command, "sockreg", "a\nb", "c d"], check=False, env=ENVIRONMENT)
    assert done.returncode == EXIT_USAGE, done.stderr
    assert "HOSTILE" not in done.stdout + done.stderr


def test_units_import_what_is_theirs(box: Sandbox) -> None:
    """Also if an administrator has set variables for all units."""
    for unit in SERVICES:
        box.write(
            f"{UNITS}/{re.sub('@web', '@', unit)}.d/there.conf",
            f"[Service]\nWorkingDirectory=-{HOSTILE}\nEnvironment=HOME=/root\n",
        )
    box.systemctl("daemon-reload")
    box.systemctl("set-environment", *(f"{name}={value}" for name, value in ENVIRONMENT.items()))
    box.systemctl("restart", "sockreg.service")
    box.systemctl("start", "sockreg@web.service", "sockreg-sockops.service")
    box.systemctl("start", "sockreg-metrics.socket", "sockreg-receive.socket")
    box.systemctl("start", "sockreg-interfaces.service")
    # Not its server, which imports what the environment says.
    assert "web.socket" in box.run(["sockreg", "status"]).stdout
    assert "sockreg_up 1.0" in box.run(["curl", "-sS", "http://127.0.0.1:9437/metrics"]).stdout
    told = box.run(["/usr/bin/python3", "-I", "-c", TELL_RECEIVER]).stdout
    assert told.startswith("no message"), told
    box.systemctl("stop", "sockreg@web.service")
    box.systemctl("reload", "sockreg.service")
    box.systemctl("stop", "sockreg.service")
    assert [entry["MESSAGE"] for entry in box.journal() if "HOSTILE" in str(entry)] == []
    assert box.systemctl("--failed", "--plain", "--no-legend", "list-units").stdout == ""


def test_every_line_that_starts_python_isolates_it() -> None:
    started = [
        (path.name, line)
        for path in (ROOT / "units").iterdir()
        if path.suffix in (".service", ".socket")
        for line in path.read_text().splitlines()
        if line.startswith("Exec") and "@PYTHON@" in line
    ]
    assert len(started) > 4
    assert [it for it in started if "@PYTHON@ -I -S @" not in it[1]] == []


@pytest.mark.long
def test_a_link_to_a_secret_shows_nothing_of_it(make_box: MakeBox) -> None:
    """Neither in /etc/sockreg nor among the drop-ins of a unit."""
    box = make_box(files=web())
    box.systemctl("enable", "--now", "sockreg@web.service")
    box.write("/etc/secret", "root:very-secret:20000:0:99999:7:::\n[X-Sockreg]\nBind=very-secret\n")
    box.run(["chmod", "0640", "/etc/secret"])
    for link in ("/etc/sockreg/a.conf", f"{UNITS}/web.socket.d/a.conf"):
        box.run(["mkdir", "-p", link.rpartition("/")[0]])
        box.run(["ln", "-s", "/etc/secret", link])
        said = ""
        for command in (
            ["apply"],
            ["apply", "--check"],
            ["check"],
            ["rules"],
            ["bind", "a", "tcp"],
        ):
            done = box.run(["sockreg", *command], check=False)
            said += done.stdout + done.stderr
        box.systemctl("restart", "sockreg.service", check=False)
        said += str(box.journal())
        assert f"{link}: is a link to /etc/secret, which not everybody may read" in said
        assert "very-secret" not in said
        assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
        box.run(["rm", link])

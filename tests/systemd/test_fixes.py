"""Fixes that ``check`` prints for units, done as they are printed, with a client before and after.
tests/fixes.py names what does each of them.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.lint import follow, kinds
from tests.systemd.units import UNITS, service_unit, socket_unit, web

ADDRESS = "127.0.0.2"
OWN = f"{UNITS}/own.service"
COMPANION = (
    "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nSockets=web.socket\n"
    "TimeoutStartSec=10\nExecStart=/bin/true\n"
)


@pytest.fixture
def box(make_box: MakeBox) -> Sandbox:
    fresh = make_box(files=web(rules=["Bind=tcp 127.0.0.2 80"]))
    fresh.systemctl("enable", "--now", "sockreg@web.service")
    return fresh


def served(box: Sandbox) -> bool:
    return box.ask(ADDRESS, 80).startswith("web ")


def fix(box: Sandbox, kind: str) -> str:
    """The fix of the only finding of a kind."""
    done = box.run(["sockreg", "--json", "check"], check=False)
    (only,) = (it for it in json.loads(done.stdout)["findings"] if it["check"] == kind)
    return str(only["fix"])


def test_a_masked_loader(box: Sandbox) -> None:
    """Its rules stay in force, and the fix ends them; what to do afterwards works, too."""
    assert served(box)
    box.systemctl("mask", "--now", "sockreg.service")
    assert served(box)
    assert kinds(box) == ["masked-loader"]
    (command,) = re.findall(r"'(sockreg unload)'", fix(box, "masked-loader"))
    box.run(command.split())
    assert box.ask(ADDRESS, 80) == "refused"
    assert "masked-loader" not in kinds(box)
    command = fix(box, "not-loaded")
    assert command == "systemctl unmask sockreg.service && systemctl start sockreg.service"
    box.run(["sh", "-c", command])
    assert served(box)
    assert kinds(box) == []


# kind: what breaks it (a file), and the file as the fix says.
LINES = {
    "remain-after-exit": (COMPANION + "RemainAfterExit=yes\n", COMPANION + "RemainAfterExit=no\n"),
    "start-limit": (
        COMPANION.replace("StartLimitIntervalSec=0\n", ""),
        COMPANION.replace("StartLimitIntervalSec=0\n", "")
        .replace("[Unit]", "[Unit]\nStartLimitIntervalSec=0"),
    ),
    "restart": (COMPANION + "Restart=on-failure\n", COMPANION + "Restart=no\n"),
    "start-timeout": (
        COMPANION.replace("TimeoutStartSec=10\n", ""),
        COMPANION.replace("TimeoutStartSec=10\n", "") + "TimeoutStartSec=10\n",
    ),
    "ordering-cycle": (
        COMPANION.replace("[Unit]", "[Unit]\nBefore=sockets.target"),
        COMPANION.replace(
            "[Unit]",
            "[Unit]\nBefore=sockets.target\nDefaultDependencies=no\nConflicts=shutdown.target\n"
            "Before=shutdown.target",
        ),
    ),
}  # fmt: skip


@pytest.mark.long
def test_units_that_receive_the_sockets_too(box: Sandbox) -> None:
    for kind, (broken, mended) in LINES.items():
        box.write(OWN, broken)
        box.systemctl("daemon-reload")
        assert kinds(box) == [kind]
        said = re.findall(r"[A-Za-z]+=[a-z0-9.]+", fix(box, kind))
        assert said
        for line in said:
            assert line in mended.splitlines(), (kind, line)
        box.write(OWN, mended)
        box.systemctl("daemon-reload")
        assert kinds(box) == [], kind
        box.systemctl("stop", "web.service")
        box.systemctl("start", "own.service")
        assert served(box), kind


@pytest.mark.long
def test_a_server_that_hangs_behind_a_unit_that_stays_active(box: Sandbox) -> None:
    """The worst of them, on the wire."""
    box.write(OWN, LINES["remain-after-exit"][0])
    box.systemctl("daemon-reload")
    box.systemctl("restart", "web.socket")
    box.systemctl("start", "sockreg@web.service", "own.service")
    assert box.ask(ADDRESS, 80, timeout=1) in ("silent", "timeout")
    assert fix(box, "remain-after-exit").startswith("set RemainAfterExit=no")
    box.write(OWN, LINES["remain-after-exit"][1])
    box.systemctl("daemon-reload")
    box.systemctl("stop", "own.service")
    assert served(box)


@pytest.mark.long
def test_a_loader_in_another_network(box: Sandbox) -> None:
    dropin = f"{UNITS}/sockreg.service.d/x.conf"
    for key in ("PrivateNetwork=yes", "NetworkNamespacePath=/proc/1/ns/net"):
        box.write(dropin, f"[Service]\n{key}\n")
        assert fix(box, "private-network") == f"remove {key.partition('=')[0]}="
        box.run(["rm", dropin])
        assert kinds(box) == []
    box.write(dropin, "[Service]\nReadWritePaths=\nReadWritePaths=/sys/fs/bpf\n")
    said = fix(box, "read-only-bpffs")
    assert said.startswith("ReadWritePaths=-")
    box.write(dropin, f"[Service]\nReadWritePaths=\n{said}\n")
    box.systemctl("daemon-reload")
    box.systemctl("restart", "sockreg.service")
    assert kinds(box) == []
    assert served(box)


@pytest.mark.long
def test_a_unit_that_starts_the_loader(box: Sandbox) -> None:
    dropin = f"{UNITS}/web.service.d/x.conf"
    box.write(dropin, "[Unit]\nWants=sockreg.service\n")
    said = fix(box, "starts-loader")
    wants, after = re.findall(r"Wants=\S+service|After=\S+service \S+service", said)
    box.write(dropin, f"[Unit]\n{wants}\n{after}\n")
    (command,) = re.findall(r"'(systemctl daemon-reload)'", said)
    box.run(command.split())
    assert kinds(box) == []
    box.systemctl("stop", "web.service", "sockreg.service")
    # A client at the socket's own address starts the server, and not the loader.
    assert box.ask("127.0.0.1", 8080).startswith("web ")
    assert box.show("sockreg.service", "ActiveState") == "inactive"


@pytest.mark.long
def test_units_without_their_other_half(box: Sandbox) -> None:
    text = box.run(["cat", f"{UNITS}/web.socket"]).stdout
    box.systemctl("stop", "web.service", "web.socket")
    box.run(["rm", f"{UNITS}/web.socket"])
    box.systemctl("daemon-reload")
    assert fix(box, "no-socket-unit") == (
        "systemctl disable sockreg@web.service, or create web.socket"
    )
    box.write(f"{UNITS}/web.socket", text)
    box.systemctl("daemon-reload")
    box.systemctl("start", "sockreg@web.service")
    assert served(box)
    box.systemctl("stop", "web.service", "web.socket")
    box.run(["rm", f"{UNITS}/web.socket"])
    box.systemctl("daemon-reload")
    follow(box, "no-socket-unit")
    assert "no-socket-unit" not in kinds(box)
    box.write(f"{UNITS}/web.socket", text)
    box.systemctl("daemon-reload")
    assert "no-companion" in kinds(box)
    follow(box, "no-companion")
    assert served(box)
    assert kinds(box) == []
    # The server's half.
    service = box.run(["cat", f"{UNITS}/web.service"]).stdout
    box.systemctl("stop", "web.service", "web.socket")
    box.run(["rm", f"{UNITS}/web.service"])
    box.systemctl("daemon-reload")
    assert fix(box, "no-server").startswith("create web.service, or name another service with")
    box.write(f"{UNITS}/web.service", service)
    box.systemctl("daemon-reload")
    follow(box, "inactive-socket")
    assert served(box)
    box.write(f"{UNITS}/web.service", service.replace("Requires=web.socket\n", ""))
    box.systemctl("daemon-reload")
    said = fix(box, "no-requires").removesuffix(" in [Unit] of web.service")
    box.write(f"{UNITS}/web.service.d/x.conf", f"[Unit]\n{said}\n")
    box.systemctl("daemon-reload")
    assert kinds(box) == []
    box.systemctl("restart", "web.socket")
    box.systemctl("start", "sockreg@web.service")
    assert served(box)


@pytest.mark.long
def test_a_server_that_failed(box: Sandbox) -> None:
    dropin = f"{UNITS}/web.service.d/fail.conf"
    box.write(dropin, "[Service]\nExecStart=\nExecStart=/bin/false\n")
    box.systemctl("daemon-reload")
    box.systemctl("start", "web.service", check=False)
    box.wait(lambda: box.show("web.service", "ActiveState") == "failed")
    (command,) = re.findall(r"run '(systemctl reset-failed \S+)'", fix(box, "dead-server"))
    box.run(["rm", dropin])
    box.systemctl("daemon-reload")
    box.run(command.split())
    assert kinds(box) == []
    assert served(box)


@pytest.mark.long
def test_interfaces_that_are_not_followed(make_box: MakeBox) -> None:
    box = make_box(files=web(rules=["Bind=tcp 127.0.0.2 80 dev lo"]))
    box.systemctl("enable", "--now", "sockreg@web.service")
    assert kinds(box) == []
    box.systemctl("stop", "sockreg-interfaces.socket")
    (command,) = re.findall(r"^(systemctl restart [^;]*);", fix(box, "interfaces-not-followed"))
    box.run(command.split())
    assert kinds(box) == []
    assert served(box)


@pytest.mark.long
def test_sockets_of_a_wrong_kind(make_box: MakeBox) -> None:
    """The fixes are to change the .socket unit, which opens other sockets then."""
    rules = ["Bind=tcp 127.0.0.2 80"]
    service = service_unit("accept_loop web", dependencies=["Requires=web.socket"])
    for kind, listen in (
        ("unsteerable", "/run/web"),
        ("no-socket", "[::1]:8080"),
    ):
        box = make_box(
            files={
                f"{UNITS}/web.socket": socket_unit(listen, rules=rules),
                f"{UNITS}/web.service": service,
            }
        )
        box.systemctl("enable", "--now", "sockreg@web.service", check=False)
        assert box.ask(ADDRESS, 80) == "refused"
        said = fix(box, kind)
        words = {
            "unsteerable": "ListenStream=",
            "no-socket": "listen on [::] or an IPv4 address",
        }
        assert words[kind] in said
        box.write(f"{UNITS}/web.socket", socket_unit("127.0.0.1:8080", rules=rules))
        box.systemctl("daemon-reload")
        box.systemctl("restart", "web.socket")
        box.systemctl("start", "sockreg@web.service")
        assert served(box)
        assert kinds(box) == []


@pytest.mark.long
def test_a_socket_that_is_bound_to_an_interface(make_box: MakeBox) -> None:
    """Both ways out of what the files of a unit foretell: the rule names the interface, or the
    unit does not.
    """
    for rules, settings in (
        (["Bind=tcp 127.0.0.2 80 dev lo"], ["BindToDevice=lo"]),
        (["Bind=tcp 127.0.0.2 80"], []),
    ):
        files = web(rules=["Bind=tcp 127.0.0.2 80"])
        bound = socket_unit(
            "127.0.0.1:8080", rules=["Bind=tcp 127.0.0.2 80"], settings=["BindToDevice=lo"]
        )
        box = make_box(files=files | {f"{UNITS}/web.socket": bound})
        box.systemctl("enable", "sockreg@web.service")
        assert box.ask(ADDRESS, 80) == "refused"
        assert fix(box, "bound-socket") == "write dev lo in the rule, or remove BindToDevice="
        mended = socket_unit("127.0.0.1:8080", rules=rules, settings=settings)
        box.write(f"{UNITS}/web.socket", mended)
        box.systemctl("daemon-reload")
        box.systemctl("start", "sockreg@web.service")
        assert served(box)
        assert kinds(box) == []


@pytest.mark.long
def test_mptcp_in_a_unit(make_box: MakeBox) -> None:
    rules = ["Bind=tcp 127.0.0.2 80"]
    unit = socket_unit("127.0.0.1:8080", rules=rules, settings=["SocketProtocol=mptcp"])
    box = make_box(files=web(rules=rules) | {f"{UNITS}/web.socket": unit})
    box.systemctl("enable", "--now", "sockreg@web.service", check=False)
    if served(box):  # systemd before 254 does not know the setting
        assert "mptcp" not in kinds(box)
        return
    found = json.loads(box.run(["sockreg", "--json", "check"], check=False).stdout)["findings"]
    # Of the unit, and of the socket that it has open.
    said, _ = (it["fix"] for it in found if it["check"] == "mptcp")
    (line,) = re.findall(r"^remove (\S+);", said)
    box.write(f"{UNITS}/web.socket", unit.replace(f"{line}\n", ""))
    box.systemctl("daemon-reload")
    box.systemctl("restart", "web.socket")
    box.systemctl("start", "sockreg@web.service")
    assert served(box)
    assert kinds(box) == []


@pytest.mark.long
def test_the_shipped_setting_of_a_companion(box: Sandbox) -> None:
    """It registers the socket and restores O_NONBLOCK, which systemd cleared for it before."""
    dropin = f"{UNITS}/sockreg-add@.service.d/x.conf"
    box.write(dropin, "[Service]\nNonBlocking=no\n")
    box.systemctl("daemon-reload")
    assert "nonblocking" in kinds(box)
    said = fix(box, "nonblocking")
    (line,) = re.findall(r"^(NonBlocking=yes) in \[Service\] of \S+, as shipped$", said)
    box.write(dropin, f"[Service]\n{line}\n")
    box.systemctl("daemon-reload")
    box.systemctl("restart", "web.socket")
    box.systemctl("start", "sockreg@web.service")
    assert kinds(box) == []
    assert served(box)

"""A host with six faults: our own commands say what is wrong and how to put it right."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from sockreg.errors import EXIT_CONFIG
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, service_unit, socket_unit

WORKING_API = service_unit("accept_loop api", dependencies=["Requires=api.socket"])
TIE = "/etc/sockreg/30-tie.conf"
SHOP = "/etc/sockreg/20-shop.conf"
FILES = {
    # No route to 203.0.113.0/24.
    f"{UNITS}/web.socket": socket_unit(
        "127.0.0.1:8080", rules=["Bind=tcp 192.0.2.0/24 80", "Bind=tcp 203.0.113.0/24 80"]
    ),
    f"{UNITS}/web.service": service_unit(
        "event_loop web", settings=["NonBlocking=yes"], dependencies=["Requires=web.socket"]
    ),
    # Receives the sockets of web.socket as well, and has them block.
    f"{UNITS}/watch.service": (
        "[Unit]\nStartLimitIntervalSec=0\n"
        "[Service]\nType=oneshot\nTimeoutStartSec=10\nSockets=web.socket\nExecStart=/bin/true\n"
    ),
    # A label that nobody has.
    f"{UNITS}/shop.socket": socket_unit("127.0.0.1:8081", label="shop"),
    f"{UNITS}/shop.service": service_unit(
        "accept_loop shop", dependencies=["Requires=shop.socket"]
    ),
    SHOP: "[shopp]\nBind=tcp 192.0.2.10 443\n",
    # The process ends, the unit stays active, the socket listens on.
    f"{UNITS}/api.socket": socket_unit(
        "127.0.0.1:8082", label="api", rules=["Bind=tcp 192.0.2.11 443"]
    ),
    f"{UNITS}/api.service": (
        "[Unit]\nRequires=api.socket\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
    ),
    # Listens where web has a rule.
    f"{UNITS}/plain.socket": socket_unit("192.0.2.80:80", label=None),
    f"{UNITS}/plain.service": service_unit(
        "accept_loop plain", dependencies=["Requires=plain.socket"]
    ),
}


class Told(NamedTuple):
    """A finding of ``sockreg check``."""

    severity: str
    where: str
    what: str
    why: str
    fix: str


Findings = dict[str, list[Told]]


@pytest.fixture
def host(make_box: MakeBox) -> Sandbox:
    box = make_box(files=FILES)
    box.network.add_local("192.0.2.0/24")
    box.systemctl("start", "plain.socket", "plain.service")
    box.systemctl("enable", "--now", "sockreg@web", "sockreg@shop", "sockreg@api")
    box.systemctl("start", "web.service", "api.service")
    assert box.ask("192.0.2.1", 80).startswith("web ")  # it has set the flag itself by now
    box.systemctl("start", "watch.service")
    box.run(["tee", TIE], text="[shop]\nBind=tcp 192.0.2.0/24 80\n")
    assert box.systemctl("reload", "sockreg.service", check=False).returncode != 0
    return box


def sockreg(box: Sandbox, *arguments: str) -> str:
    """What a command prints."""
    return box.run(["sockreg", *arguments], check=False).stdout


def check(box: Sandbox) -> Findings:
    """The errors and warnings of ``sockreg check``, by kind."""
    by_kind: Findings = {}
    findings: list[dict[str, Any]] = json.loads(sockreg(box, "--json", "check"))["findings"]
    for finding in findings:
        if finding["severity"] != "note":
            by_kind.setdefault(finding.pop("check"), []).append(Told(**finding))
    return by_kind


def repair_tie(box: Sandbox, found: Findings) -> None:
    """The tie: what was in force before stays, and status says that the last apply failed."""
    (tie,) = found["tie"]
    assert (tie.severity, tie.where) == ("error", f"{TIE}:2")
    assert f"ties with Bind=tcp 192.0.2.0/24 80 (web) of {UNITS}/web.socket:6" in tie.what
    assert tie.fix.startswith("remove one of them, or narrow one")
    assert f"rules refused, the rules in force stay: {TIE}:2" in sockreg(box, "status")
    box.run(["rm", TIE])
    box.systemctl("reload", "sockreg.service")


def repair_route(box: Sandbox, found: Findings) -> None:
    """No route."""
    (route,) = found["no-route"]
    assert (route.severity, route.where) == ("error", f"{UNITS}/web.socket:7")
    assert "no address of Bind=tcp 203.0.113.0/24 80 is local" in route.what
    command = route.fix.partition(";")[0]
    assert command == "ip route add local 203.0.113.0/24 dev lo"
    assert f"! not local, so nothing arrives: {command}" in sockreg(box, "listeners")
    assert f"until '{command}'" in sockreg(box, "explain", "tcp", "203.0.113.1", "80")
    box.run(command.split())


def repair_nonblocking(box: Sandbox, found: Findings) -> None:
    """O_NONBLOCK: the event loop hangs, which explain cannot see and check can."""
    for_companion, for_socket = found["nonblocking"]
    assert box.ask("192.0.2.1", 80, timeout=0.5) == "silent"
    assert for_companion.where == f"{UNITS}/watch.service"
    assert for_companion.fix.startswith("NonBlocking=yes in [Service] of watch.service")
    assert for_socket.what.startswith("web.service runs with NonBlocking=yes, but its socket")
    assert for_socket.fix.endswith("then 'systemctl restart web.service'")
    box.run(["sed", "-i", "s/^Type=/NonBlocking=yes\\nType=/", for_companion.where])
    box.systemctl("daemon-reload")
    box.systemctl("restart", "web.service")
    box.systemctl("start", "watch.service")
    assert box.ask("192.0.2.1", 80).startswith("web ")
    assert box.ask("203.0.113.1", 80).startswith("web ")


def repair_label(box: Sandbox, found: Findings) -> None:
    """The wrong label: a rule without a socket, and a socket without a rule."""
    (no_socket,), (no_rules,) = found["no-socket"], found["no-rules"]
    assert (no_socket.severity, no_socket.where) == ("error", f"{SHOP}:2")
    assert no_socket.fix.startswith("did you mean shop?")
    assert no_rules.what == "label shop has a socket, but no rule points to it (shop.socket)"
    assert f"! the label has no socket: refused ({SHOP}:2)" in sockreg(box, "listeners")
    assert "label shopp: it has no socket" in sockreg(box, "explain", "tcp", "192.0.2.10", "443")
    box.run(["sed", "-i", "s/shopp/shop/", SHOP])
    box.systemctl("reload", "sockreg.service")
    assert box.ask("192.0.2.10", 443).startswith("shop ")


def repair_dead_server(box: Sandbox, found: Findings) -> None:
    """The dead server, whose socket lives."""
    waiting, ended = found["dead-server"]
    assert "2 connections wait, but no server has it open, only systemd" in waiting.what
    assert ended.where == f"{UNITS}/api.service:5"
    assert ended.what == "the server of api.service has ended, but the unit is still active"
    assert "for now, run 'systemctl stop api.service'" in ended.fix
    for words in (["listeners"], ["explain", "tcp", "192.0.2.11", "443"]):
        assert "connections wait, but no server has it open" in sockreg(box, *words)
    box.run(["tee", f"{UNITS}/api.service"], text=WORKING_API)
    box.systemctl("daemon-reload")
    box.systemctl("stop", "api.service")
    assert box.ask("192.0.2.11", 443).startswith("api ")


def repair_shadow(box: Sandbox, found: Findings) -> None:
    """The listener that gets nothing."""
    (shadowed,) = found["shadowed-listener"]
    assert shadowed.what == (
        "Bind=tcp 192.0.2.0/24 80 takes all traffic from 192.0.2.80:80 of plain.service"
    )
    assert f"! everything goes to label web by {UNITS}/web.socket:6" in sockreg(box, "listeners")
    told = sockreg(box, "explain", "tcp", "192.0.2.80", "80")
    assert "192.0.2.80:80 listens there but does not get the packet" in told
    rule = shadowed.fix.removeprefix("if you do not want this, add ")
    assert rule == "Pass=tcp 192.0.2.80 80"
    box.run(["tee", "-a", SHOP], text=f"{rule}\n")
    box.systemctl("reload", "sockreg.service")
    assert box.ask("192.0.2.80", 80).startswith("plain ")


REPAIRS = (
    repair_tie,
    repair_route,
    repair_nonblocking,
    repair_label,
    repair_dead_server,
    repair_shadow,
)


def test_every_fault_is_named_with_its_fix_and_goes_by_it(host: Sandbox) -> None:
    box = host
    # Two clients that nobody will ever answer.
    for _ in range(2):
        assert box.ask("192.0.2.11", 443, timeout=0.2) == "silent"
    assert box.run(["sockreg", "check"], check=False).returncode == EXIT_CONFIG
    found = check(box)
    assert set(found) == {
        "tie", "no-route", "no-socket", "no-rules", "dead-server", "nonblocking",
        "shadowed-listener",
    }  # fmt: skip

    for repair in REPAIRS:
        repair(box, found)
    assert check(box) == {}
    assert box.run(["sockreg", "check"]).returncode == 0

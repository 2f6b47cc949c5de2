"""The lint on files alone, and on a machine made up for it."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sockreg.check.facts import Facts, Host, SystemdState
from sockreg.check.finding import Finding, Severity
from sockreg.check.gather import gather_files
from sockreg.check.run import run
from sockreg.host.links import Above
from sockreg.host.processes import Holders, Process
from sockreg.host.queues import Jam
from sockreg.host.routes import LocalPrefix
from sockreg.host.sockdiag import CLOSED, LISTENING, DiagSocket
from sockreg.model import INET, TCP, UDP, Action, Binding, Destination, LeftOut, Place
from sockreg.registry.attachment import Other, Runs
from sockreg.registry.members import Member
from sockreg.rules.covered import never_win
from sockreg.rules.oracle import decide
from sockreg.rules.syntax import parse_rule
from sockreg.views.locality import Locality
from sockreg.views.situation import Situation
from tests.tree import ROOT

UNITS = "etc/systemd/system"
WEB_SOCKET = (
    "[Socket]\nListenStream=127.0.0.1:8080\nFileDescriptorName=web\n"
    "[X-Sockreg]\nBind=tcp 192.0.2.0/24 80\n"
)
WEB_SERVICE = "[Unit]\nRequires=web.socket\n[Service]\nExecStart=/usr/local/bin/web\n"
OWN_COMPANION = (
    "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nSockets=web.socket\n"
    "TimeoutStartSec=10\nExecStart=/bin/true\n"
)


def root(tmp_path: Path, files: dict[str, str], enabled: Sequence[str] = ("web",)) -> str:
    """A root with our units as installed, web.socket and its server, and ``files`` on top."""
    everything = {
        **{
            f"usr/lib/systemd/system/{path.name}": path.read_text()
            for path in (ROOT / "units").glob("*.service")
        },
        f"{UNITS}/web.socket": WEB_SOCKET,
        f"{UNITS}/web.service": WEB_SERVICE,
        **files,
    }
    for name, text in everything.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    wants = tmp_path / UNITS / "sockets.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    for name in enabled:
        (wants / f"sockreg@{name}.service").symlink_to("/usr/lib/systemd/system/sockreg@.service")
    return str(tmp_path)


def kinds(found: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(finding.severity, finding.check) for finding in found]


def only(found: Sequence[Finding], check: str) -> Finding:
    """The one finding there is; it says everything that one has to say."""
    (finding,) = found
    assert finding.check == check, finding
    assert finding.what
    assert finding.why
    assert finding.fix
    return finding


def test_nothing_is_wrong_with_the_usual_example(tmp_path: Path) -> None:
    assert run(gather_files(root(tmp_path, {}))) == []


FILES = {
    "remain-after-exit": (
        Severity.ERROR,
        {f"{UNITS}/x.service": OWN_COMPANION + "RemainAfterExit=yes\n"},
        f"{UNITS}/x.service:8",
    ),
    "start-limit": (
        Severity.ERROR,
        {f"{UNITS}/x.service": OWN_COMPANION.replace("StartLimitIntervalSec=0\n", "")},
        f"{UNITS}/x.service",
    ),
    "restart": (
        Severity.ERROR,
        {f"{UNITS}/sockreg-add@.service.d/x.conf": "[Service]\nRestart=on-failure\n"},
        f"{UNITS}/sockreg-add@.service.d/x.conf:2",
    ),
    "start-timeout": (
        Severity.WARNING,
        {f"{UNITS}/x.service": OWN_COMPANION.replace("TimeoutStartSec=10\n", "")},
        f"{UNITS}/x.service",
    ),
    "nonblocking": (
        Severity.ERROR,
        {f"{UNITS}/web.service": WEB_SERVICE + "NonBlocking=yes\n",
         f"{UNITS}/x.service": OWN_COMPANION},
        f"{UNITS}/x.service",
    ),
    "nonblocking ": (
        Severity.ERROR,
        {f"{UNITS}/sockreg-add@web.service.d/x.conf": "[Service]\nNonBlocking=no\n"},
        f"{UNITS}/sockreg-add@web.service.d/x.conf:2",
    ),
    "stop-hook": (
        Severity.ERROR,
        {f"{UNITS}/web.socket.d/x.conf":
         "[Socket]\nPassFileDescriptorsToExec=yes\nExecStopPost=/usr/bin/true\n"},
        f"{UNITS}/web.socket.d/x.conf:3",
    ),
    "ordering-cycle": (
        Severity.ERROR,
        {f"{UNITS}/x.service": OWN_COMPANION.replace("[Unit]", "[Unit]\nBefore=sockets.target")},
        f"{UNITS}/x.service:2",
    ),
    "private-network": (
        Severity.ERROR,
        {f"{UNITS}/sockreg.service.d/x.conf": "[Service]\nPrivateNetwork=yes\n"},
        f"{UNITS}/sockreg.service.d/x.conf:2",
    ),
    "private-network ": (
        Severity.ERROR,
        {f"{UNITS}/sockreg@.service.d/x.conf": "[Service]\nNetworkNamespacePath=/run/netns/x\n"},
        f"{UNITS}/sockreg@.service.d/x.conf:2",
    ),
    "read-only-bpffs": (
        Severity.ERROR,
        {f"{UNITS}/sockreg.service.d/x.conf":
         "[Service]\nReadWritePaths=\nReadWritePaths=/sys/fs/bpf\n"},
        f"{UNITS}/sockreg.service.d/x.conf:3",
    ),
    "no-requires": (
        Severity.WARNING,
        {f"{UNITS}/web.service": WEB_SERVICE.replace("Requires", "Wants")},
        f"{UNITS}/web.service",
    ),
    "no-server": (
        Severity.ERROR,
        {f"{UNITS}/web.socket.d/x.conf": "[Socket]\nService=other.service\n"},
        f"{UNITS}/web.socket.d/x.conf:2",
    ),
    "no-companion": (
        Severity.WARNING,
        {f"{UNITS}/shop.socket": WEB_SOCKET.replace("=web", "=shop")},
        f"{UNITS}/shop.socket:5",
    ),
    "mptcp": (
        Severity.ERROR,
        {f"{UNITS}/web.socket.d/x.conf": "[Socket]\nSocketProtocol=mptcp\n",
         "etc/sockreg/x.conf": ""},
        f"{UNITS}/web.socket.d/x.conf:2",
    ),
    "never-wins": (
        Severity.WARNING,
        {"etc/sockreg/x.conf": "[web]\nBind=tcp 192.0.2.0/24 81-83\n"
         "Reject=tcp 192.0.2.0/24 81\nReject=tcp 192.0.2.0/25 82-83\n"
         "Reject=tcp 192.0.2.128/25 *\n"},
        "etc/sockreg/x.conf:2",
    ),
    "tie": (
        Severity.ERROR,
        {"etc/sockreg/x.conf": "[other]\nReject=tcp 192.0.2.0/24 80\n"},
        "etc/sockreg/x.conf:2",
    ),
    "syntax": (
        Severity.ERROR,
        {"etc/sockreg/x.conf": "[web]\nBind=tcp 192.0.2.0/33 80\n"},
        "etc/sockreg/x.conf:2",
    ),
    "read-as": (
        Severity.NOTE,
        {"etc/sockreg/x.conf": "[web]\nBind=tcp 192.0.2.1/24 81\n"},
        "etc/sockreg/x.conf:2",
    ),
    "unused-set": (
        Severity.NOTE,
        {"etc/sockreg/x.conf": "[:prefixes]\nall=192.0.2.1\nmore=@all\n"},
        "etc/sockreg/x.conf:3",
    ),
    "later-binds": (
        Severity.NOTE,
        {"etc/sockreg/x.conf": "[web]\nBind=tcp 192.0.2.1 *\n"},
        "etc/sockreg/x.conf:2",
    ),
    "no-socket": (
        Severity.WARNING,
        {"etc/sockreg/x.conf": "[wbe]\nBind=tcp 192.0.2.1 80\n"},
        "etc/sockreg/x.conf:2",
    ),
    "no-socket ": (  # of this family
        Severity.WARNING,
        {"etc/sockreg/x.conf": "[web]\nBind=tcp 2001:db8::/64 80\n"},
        "etc/sockreg/x.conf:2",
    ),
    "no-rules": (
        Severity.WARNING,
        {f"{UNITS}/web.socket": WEB_SOCKET.partition("[X-")[0],
         f"{UNITS}/web.service": WEB_SERVICE},
        f"{UNITS}/web.socket:3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("check", FILES)
def test_in_files(tmp_path: Path, check: str) -> None:
    severity, files, where = FILES[check]
    found = [
        # With its socket made MPTCP the label has none: told as well.
        finding
        for finding in run(gather_files(root(tmp_path, files)))
        if (check, finding.check) != ("mptcp", "no-socket")
    ]
    finding = only(found, check.strip())
    assert finding.severity is severity
    assert finding.where == f"{tmp_path}/{where}"


def test_a_server_of_several_sockets_is_no_companion(tmp_path: Path) -> None:
    server = WEB_SERVICE + "Sockets=web.socket tls.socket\nRestart=always\n"
    tls = "[Socket]\nListenStream=127.0.0.1:8443\nService=web.service\n"
    files = {f"{UNITS}/web.service": server, f"{UNITS}/tls.socket": tls}
    assert run(gather_files(root(tmp_path, files))) == []


def test_units_that_are_not_there(tmp_path: Path) -> None:
    found = run(gather_files(root(tmp_path, {}, enabled=("web", "shop"))))
    finding = only(found, "no-socket-unit")
    assert finding.what == "sockreg@shop.service is enabled, but there is no shop.socket"


def test_a_unit_that_registers_itself_and_is_not_there(tmp_path: Path) -> None:
    dropin = f"{UNITS}/shop.socket.d/50-sockreg.conf"
    top = root(tmp_path, {dropin: "[Unit]\nWants=sockreg.service\n"})
    link = tmp_path / UNITS / "sockets.target.wants/shop.socket"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("../shop.socket")
    finding = only(run(gather_files(top)), "no-socket-unit")
    assert finding.where == f"{tmp_path}/{dropin}"
    assert finding.fix == "sockreg disable shop.socket, or create shop.socket"


def test_sockets_that_nothing_can_be_steered_to(tmp_path: Path) -> None:
    text = "[Socket]\nListenStream=/run/web\n[X-Sockreg]\nBind=tcp 192.0.2.0/24 80\n"
    found = run(gather_files(root(tmp_path, {f"{UNITS}/web.socket": text})))
    assert kinds(found) == [("error", "unsteerable"), ("warning", "no-socket")]


def test_what_a_finding_suggests(tmp_path: Path) -> None:
    files = {"etc/sockreg/x.conf": "[wbe]\nBind=tcp 192.0.2.1 80\n"}
    assert "did you mean web?" in only(run(gather_files(root(tmp_path, files))), "no-socket").fix
    files = {"etc/sockreg/x.conf": "[web]\nBind=tcp 2001:db8::/64 80\n"}
    finding = only(run(gather_files(root(tmp_path / "6", files))), "no-socket")
    assert finding.fix == (
        "web.socket has only IPv4 sockets for tcp: listen on [::] or an IPv6 address"
    )
    files = {"etc/sockreg/x.conf": "[web]\nBind=udp 192.0.2.1 80\n"}
    finding = only(run(gather_files(root(tmp_path / "udp", files))), "no-socket")
    assert finding.fix == (
        "web.socket has only tcp sockets: write tcp in the rule, or add ListenDatagram= for udp "
        "to the unit"
    )
    files = {"etc/sockreg/x.conf": "[web]\nBind=tcp 192.0.2.1 80 to 9000\n"}
    finding = only(run(gather_files(root(tmp_path / "to", files))), "no-socket")
    assert finding.fix == "write 'to PORT' with a port of web.socket: 8080"


@pytest.mark.parametrize(
    ("listen", "served"),
    [
        ("8080", True),
        ("[::]:8080", True),
        ("[::]:8080\nBindIPv6Only=ipv6-only", False),
        ("[::1]:8080", False),
        ("0.0.0.0:8080", True),
        ("[0::0]:8080", True),
        ("[::ffff:127.0.0.1]:8080", True),
        ("[::ffff:127.0.0.1]:8080\nBindIPv6Only=ipv6-only", False),
        ("[fe80::1]:8080%%lo", False),
        ("[::]:8080%%lo", True),
        ("127.0.0.1:8080\nListenStream=\nListenStream=[::1]:8080", False),
        ("/run/web:8080", False),
        ("@web:8080", False),
        ("vsock::8080", False),
        (":8080", False),
        ("localhost:8080", False),
        ("1:8080", False),
        ("127.0.0.1:0", False),
    ],
)
def test_which_families_a_socket_serves(tmp_path: Path, listen: str, served: bool) -> None:
    text = WEB_SOCKET.replace("127.0.0.1:8080", listen)
    found = run(gather_files(root(tmp_path, {f"{UNITS}/web.socket": text})))
    assert (found == []) is served


def test_a_unit_that_cannot_be_steered_to_is_told_once(tmp_path: Path) -> None:
    text = "[Socket]\nListenStream=/run/web\n"
    found = run(gather_files(root(tmp_path, {f"{UNITS}/web.socket": text})))
    only(found, "unsteerable")


def test_names_of_units_are_not_alike_for_their_suffix(tmp_path: Path) -> None:
    text = WEB_SOCKET.replace("FileDescriptorName=web\n", "").partition("[X-")[0]
    files = {f"{UNITS}/web.socket": text, "etc/sockreg/x.conf": "[pod.socket]\nBind=tcp ::1 80\n"}
    found = run(gather_files(root(tmp_path, files)))
    assert kinds(found) == [("warning", "no-socket"), ("warning", "no-rules")]
    assert "mean" not in found[0].fix + found[1].fix


def test_a_pool_is_no_fault(tmp_path: Path) -> None:
    text = WEB_SOCKET.replace("127.0.0.1:8080", "%i")
    files = {
        f"{UNITS}/web@.socket": text,
        f"{UNITS}/web@.service": WEB_SERVICE.replace("web.socket", "web@%i.socket"),
        f"{UNITS}/web.socket": "",
    }
    assert run(gather_files(root(tmp_path, files, enabled=("web@8081", "web@8082")))) == []


def test_a_service_for_each_connection(tmp_path: Path) -> None:
    accepts = WEB_SOCKET.replace("[X-", "Accept=yes\n[X-")
    found = run(gather_files(root(tmp_path, {f"{UNITS}/web.socket": accepts})))
    assert "there is no web@.service" in only(found, "no-server").what
    files = {f"{UNITS}/web.socket": accepts, f"{UNITS}/web@.service": WEB_SERVICE}
    assert run(gather_files(root(tmp_path / "2", files))) == []


# A unit as 'sockreg enable --mode exec' leaves it.
ITSELF = {
    f"{UNITS}/web.socket.d/50-sockreg.conf": "[Unit]\nWants=sockreg-needed.service\n[Socket]\n"
    "PassFileDescriptorsToExec=yes\nExecStartPost=-/usr/bin/python3 register %n /dev/null\n"
}


def test_fixes_for_a_unit_that_registers_itself(tmp_path: Path) -> None:
    """They name the units that it uses: it has no companion."""
    facts = gather_files(root(tmp_path, ITSELF, enabled=()))
    finding = only(run(facts), "no-companion")
    assert finding.fix == "systemctl enable --now web.socket"
    target = tmp_path / UNITS / "sockets.target.wants" / "web.socket"
    target.symlink_to("/etc/systemd/system/web.socket")
    facts = gather_files(str(tmp_path))
    assert run(facts) == []
    host = machine(facts, members={})
    finding = only(run(replace(facts, host=host)), "no-socket")
    assert finding.fix == "systemctl start sockreg-add@web.service, which registers"
    dead = {"web.socket": SystemdState("failed", "failed", 0)}
    found = run(replace(facts, host=machine(facts, members={}, there=[], states=dead)))
    assert [finding.check for finding in found] == ["inactive-socket", "no-socket"]
    assert all(finding.fix.startswith("systemctl start web.socket") for finding in found)


@pytest.mark.parametrize("key", ["Wants", "Requires", "BindsTo", "Upholds"])
@pytest.mark.parametrize("unit", ["mail.service", "web.socket", "web.service"])
def test_a_unit_that_brings_the_loader_back(tmp_path: Path, key: str, unit: str) -> None:
    path = f"{UNITS}/{unit}.d/x.conf"
    files = {f"{UNITS}/mail.service": "[Service]\nExecStart=/bin/mail\n"}
    setting = "[Unit]\nAfter=sockreg.service\n{}=dbus.socket {}\n"
    facts = gather_files(
        root(tmp_path / "1", files | {path: setting.format(key, "sockreg.service")})
    )
    finding = only(run(facts), "starts-loader")
    assert finding.where == f"{tmp_path}/1/{path}:3"
    assert "Wants=sockreg-needed.service" in finding.fix
    files[path] = setting.format("Wants", "sockreg-needed.service")
    assert run(gather_files(root(tmp_path / "2", files))) == []


# A machine


def listener(cookie: int, address: str, port: int, **other: object) -> DiagSocket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    values: dict[str, object] = {
        "protocol": TCP, "family": int(family), "state": LISTENING, "address": address,
        "port": port, "peer_address": "", "peer_port": 0, "interface": 0, "cookie": cookie,
        "received": 0, "limit": 128, "dropped": 0, "uid": 0, "inode": cookie, "cgroup": 0,
        "v6only": False, "congestion": "", "upper": "", **other,
    }  # fmt: skip
    return DiagSocket(**values)  # type: ignore[arg-type]


def member(cookie: int, unit: str = "web.socket", weight: int = 100) -> Member:
    packed = socket.inet_pton(socket.AF_INET, "127.0.0.1")
    return Member(
        cookie, 2, registered=1, family=INET, port=8080, weight=weight, packed_address=packed,
        unit=unit,
    )  # fmt: skip


WEB = Destination("web", INET, TCP)
REGISTERED = listener(1, "127.0.0.1", 8080)


def machine(facts: Facts, **changes: object) -> Host:
    """Everything as it should be, but for ``changes`` of Host and Situation."""
    situation = Situation(
        loaded=True,
        bindings=facts.bindings,
        members={WEB: [member(1)]},
        there=[REGISTERED],
        holders=Holders({1: [(Process(7, "web"), 3)]}, 0),
        local=Locality([LocalPrefix(INET, 0xC0000200, 24)]),
        in_force=True,
    )
    ours = {name: value for name, value in changes.items() if hasattr(situation, name)}
    others = {name: value for name, value in changes.items() if name not in ours}
    host = Host(
        kernel=(6, 1),
        memlock=None,
        client_ports=range(32768, 61000),
        interfaces={"lo": 1, "eth7": 0},
        situation=replace(situation, **ours),  # type: ignore[arg-type]
    )
    return replace(host, **others)  # type: ignore[arg-type]


def found_on(tmp_path: Path, conf: str = "", **changes: object) -> list[Finding]:
    files = {"etc/sockreg/x.conf": conf} if conf else {}
    facts = gather_files(root(tmp_path, files))
    if "bindings" not in changes:
        changes["bindings"] = facts.bindings
    return run(replace(facts, host=machine(facts, **changes)))


def test_nothing_is_wrong_with_the_machine(tmp_path: Path) -> None:
    assert found_on(tmp_path) == []


def test_grants_that_nobody_can_use(tmp_path: Path) -> None:
    conf = (
        "[web]\nRegister=user:root 2\nRegister=unit:web.service\nRegister=unit:made@.service\n"
        "[idle]\nRegister=group:root\n"
    )
    listening = {"sockreg-receive.socket": SystemdState("active", "listening", 0)}
    found = found_on(tmp_path / "1", conf, states=listening)
    assert [(it.check, it.where.rpartition(":")[2]) for it in found] == [
        ("unknown-holder", "4"), ("grant-without-rules", "6"),
    ]  # fmt: skip
    assert "unit:made@.service of label web: there is no such unit" in found[0].what
    assert "no rule leads to it" in found[1].what
    found = found_on(tmp_path / "2", "[web]\nRegister=user:1000\n")
    said = only(found, "no-receiver")
    assert said.fix == "systemctl enable --now sockreg-receive.socket"


def test_a_rule_that_is_pending_takes_no_packet(tmp_path: Path) -> None:
    """An address and a socket may come with the interface. Errors are of rules in force."""
    conf = "[vpn]\nBind=tcp 198.51.100.0/24 80 dev eth7\n"

    def found(more: str) -> dict[str, Finding]:
        return {each.check: each for each in found_on(tmp_path / str(len(more)), conf + more)}

    alone = found("")
    for check in ("no-socket", "no-route"):
        assert alone[check].severity is Severity.WARNING, check
    assert "when interface eth7 appears" in alone["no-socket"].why
    assert found("Bind=tcp 198.51.100.0/24 81 missing=pass\n")["no-socket"].where.endswith(":3")
    beside = found("Bind=tcp 198.51.100.0/24 81\n")
    for check in ("no-socket", "no-route"):
        assert beside[check].severity is Severity.ERROR, check
        assert beside[check].where.endswith(":3"), "the rule that is in force"


def test_no_route(tmp_path: Path) -> None:
    finding = only(found_on(tmp_path, local=Locality([])), "no-route")
    assert finding.severity is Severity.ERROR
    assert finding.where == f"{tmp_path}/{UNITS}/web.socket:5"
    assert finding.fix.startswith("ip route add local 192.0.2.0/24 dev lo; permanently")
    assert "[Route] Destination=192.0.2.0/24 Type=local Table=local" in finding.fix
    part = Locality([LocalPrefix(INET, 0xC0000201, 32)])
    assert only(found_on(tmp_path / "part", local=part), "partly-local").severity is Severity.NOTE


def test_no_socket(tmp_path: Path) -> None:
    finding = only(found_on(tmp_path, members={}), "no-socket")
    assert finding.severity is Severity.ERROR
    assert finding.why == "its packets are refused"
    assert finding.fix == "systemctl restart sockreg@web.service, which registers"


def test_a_unit_whose_listen_lines_have_changed(tmp_path: Path) -> None:
    running = {"web.socket": SystemdState("active", "running", 0)}
    there = [listener(1, "127.0.0.1", 8079)]
    again = (
        "systemctl daemon-reload && systemctl restart web.socket && systemctl start "
        "sockreg@web.service"
    )
    finding = only(found_on(tmp_path, there=there, states=running), "not-listening")
    assert finding.where == f"{tmp_path}/{UNITS}/web.socket:2"
    assert finding.fix == f"{again}; this interrupts the server"
    found = found_on(tmp_path / "2", there=there, states=running, members={})
    assert [finding.check for finding in found] == ["no-socket", "not-listening"]
    assert found[0].fix == f"{again}: its files have changed since it was started"


def test_an_instance_without_its_part_of_the_traffic(tmp_path: Path) -> None:
    running = {"web.socket": SystemdState("active", "running", 0)}
    other = {WEB: [member(1, "web@2.socket")]}
    finding = only(found_on(tmp_path, members=other, states=running), "not-registered")
    assert "web@2.socket gets all" in finding.why
    assert finding.fix == "systemctl restart sockreg@web.service, which registers"


def test_rules_of_a_file_that_has_become_wrong(tmp_path: Path) -> None:
    """Its earlier rules are in force and lead to the label, whatever the file says now."""
    conf = "/etc/sockreg/web.conf"
    left = LeftOut(conf, ((conf, "cannot be read: Permission denied"),), True, (0, 0, 0, 0))
    files = {f"{UNITS}/web.socket": WEB_SOCKET.partition("[X-")[0],
             f"{UNITS}/web.service": WEB_SERVICE}  # fmt: skip
    facts = gather_files(root(tmp_path, files))
    bindings = parse_rule(Action.BIND, "tcp 192.0.2.0/24 80", "web", Place(conf, 2), [])
    host = machine(facts, bindings=bindings, left_out=[left])
    assert "no-rules" not in [finding.check for finding in run(replace(facts, host=host))]
    host = machine(facts, bindings=[], left_out=[left._replace(earlier=False)])
    assert "no-rules" in [finding.check for finding in run(replace(facts, host=host))]


def test_sockets_that_do_not_serve(tmp_path: Path) -> None:
    full = REGISTERED._replace(received=129)
    assert found_on(tmp_path, there=[full]) == []  # a burst: it was not full at a second look
    jam = Jam(full, moves=False)
    finding = only(found_on(tmp_path / "1", there=[full], jams={1: jam}), "full-queue")
    assert finding.severity is Severity.ERROR
    assert "stays full: 129 connections wait, 0 did not fit" in finding.what
    jam = Jam(full, moves=True)
    finding = only(found_on(tmp_path / "4", there=[full], jams={1: jam}), "full-queue")
    assert finding.severity is Severity.WARNING
    waiting = REGISTERED._replace(received=3)
    by_systemd = Holders({1: [(Process(1, "systemd"), 30)]}, 0)
    assert (
        "3 connections wait, but no server has it open, only systemd"
        in only(found_on(tmp_path / "2", there=[waiting], holders=by_systemd), "dead-server").what
    )
    shut = found_on(tmp_path / "3", there=[])
    assert "it was shut down, but not closed" in only(shut, "dead-server").what


def test_states_of_units(tmp_path: Path) -> None:
    exited = {"web.service": SystemdState("active", "exited", 0)}
    finding = only(found_on(tmp_path, states=exited), "dead-server")
    assert finding.severity is Severity.ERROR
    assert "'systemctl stop web.service'" in finding.fix
    failed = {"web.service": SystemdState("failed", "failed", 0)}
    finding = only(found_on(tmp_path / "2", states=failed), "dead-server")
    assert finding.severity is Severity.WARNING
    dead = {"web.socket": SystemdState("inactive", "dead", 0)}
    only(found_on(tmp_path / "3", states=dead), "inactive-socket")


def test_a_socket_that_blocks_an_event_loop(tmp_path: Path) -> None:
    files = {f"{UNITS}/web.service": WEB_SERVICE + "NonBlocking=yes\n"}
    facts = gather_files(root(tmp_path, files))
    states = {"web.service": SystemdState("active", "running", 7)}
    host = machine(facts, nonblocking={1: False}, states=states)
    finding = only(run(replace(facts, host=host)), "nonblocking")
    assert finding.where == f"{tmp_path}/{UNITS}/web.service:5"
    assert "web.service runs with NonBlocking=yes, but its socket sk:1 blocks" in finding.what


def test_listeners_in_the_shadow(tmp_path: Path) -> None:
    there = [REGISTERED, listener(2, "192.0.2.7", 80), listener(3, "0.0.0.0", 80)]
    found = found_on(tmp_path, there=there)
    assert kinds(found) == [("warning", "shadowed-listener"), ("note", "shadowed-listener")]
    assert "takes all traffic from 192.0.2.7:80" in found[0].what
    assert "Pass=tcp 192.0.2.7 80" in found[0].fix
    assert "takes some traffic from 0.0.0.0:80" in found[1].what
    assert "take port 80 out of the rule" in found[1].fix


def test_ssh(tmp_path: Path) -> None:
    door = (
        "/etc/x:2",
        "Bind=tcp 192.0.2.1 * takes 192.0.2.1:22",
        "Pass=tcp 192.0.2.1 22",
    )
    finding = only(found_on(tmp_path, doors=[door]), "ssh")
    assert (finding.severity, finding.where) == (Severity.ERROR, "/etc/x:2")
    assert finding.fix.startswith(
        "Pass=tcp 192.0.2.1 22; to try the rule out: sockreg apply --confirm"
    )
    allowed = found_on(tmp_path / "2", "[:registry]\nTakeSsh=yes\n", doors=[door])
    assert only(allowed, "ssh").severity is Severity.NOTE


UDP_RULES = "[dns]\nBind=udp 192.0.2.0/24 53\n"


@pytest.mark.parametrize(
    ("port", "asked", "expected"),
    [(53, True, []), (53, False, ["udp-address"]), (5300, True, ["udp-port"])],
)
def test_answers_of_udp_servers(
    tmp_path: Path, port: int, asked: bool, expected: list[str]
) -> None:
    dns = listener(2, "127.0.0.1", port, protocol=UDP, state=CLOSED)
    members = {WEB: [member(1)], Destination("dns", INET, UDP): [member(2, "dns.socket")]}
    found = found_on(
        tmp_path, UDP_RULES, there=[REGISTERED, dns], members=members, asked_for={2: asked}
    )
    assert [finding.check for finding in found] == expected


def test_ports_of_clients(tmp_path: Path) -> None:
    found = found_on(tmp_path, "[web]\nReject=udp 192.0.2.0/24 *\n")
    assert only(found, "client-ports").what == (
        "Reject=udp 192.0.2.0/24 * covers ports that this host uses as a client (32768-60999)"
    )


def test_what_all_rules_of_a_label_do_is_told_once(tmp_path: Path) -> None:
    conf = "[web]\nBind=tcp 192.0.2.1 *\nBind=tcp 192.0.2.2 *\nBind=tcp 192.0.2.3 *\n"
    found = found_on(tmp_path, conf + "[other]\nBind=tcp 192.0.2.4 *\nBind=tcp 192.0.2.5 *\n")
    assert [finding.what for finding in found if finding.check == "later-binds"] == [
        "Bind=tcp 192.0.2.1 * covers every port, like 2 more rules of label web",
        "Bind=tcp 192.0.2.4 * covers every port, like 1 more rule of label other",
    ]


def test_the_kernel_and_others_in_it(tmp_path: Path) -> None:
    for number, (runs, why, fix) in enumerate(
        [
            (Runs.BEFORE, "this one runs before sockreg's: sockets of rules win", "its owner"),
            (
                Runs.AFTER,
                "this one runs after sockreg's: sockets that it",
                "sockreg load'",
            ),
            (None, "the last selected socket wins", "its owner"),
        ]
    ):
        others = [Other(7, "other", runs)]
        finding = only(found_on(tmp_path / f"other{number}", others=others), "foreign-program")
        assert finding.severity is Severity.WARNING
        assert finding.where == "program 7 (other)"
        assert why in finding.why
        assert finding.fix.endswith(fix)
    conf = "[web]\nBind=tcp 192.0.2.1 81 dev lo\n"
    only(found_on(tmp_path / "2", conf, kernel=(5, 15)), "old-kernel")
    conf = "[web]\nBind=tcp 192.0.2.1 81 dev eth7\n"
    only(found_on(tmp_path / "3", conf), "no-interface")
    inner = {"eth7": Above("eth7", 9, "br0", "a port of bridge br0")}
    found = found_on(tmp_path / "5", conf, interfaces={"eth7": 3}, inner=inner)
    assert only(found, "inner-interface").fix == "write dev br0"
    states = {"sockreg-interfaces.socket": SystemdState("failed", "failed", 0)}
    conf = "[web]\nBind=tcp 192.0.2.1 81 dev lo\n"
    only(found_on(tmp_path / "6", conf, states=states), "interfaces-not-followed")
    go = listener(2, "0.0.0.0", 3000, upper="mptcp")
    assert (
        "GODEBUG=multipathtcp=0"
        in only(found_on(tmp_path / "4", there=[REGISTERED, go]), "mptcp").fix
    )


def test_locked_memory_on_old_kernels(tmp_path: Path) -> None:
    dropin = {f"{UNITS}/sockreg.service.d/x.conf": "[Service]\nLimitMEMLOCK=64K\n"}
    facts = gather_files(root(tmp_path, dropin))
    old = run(replace(facts, host=machine(facts, kernel=(5, 10))))
    assert only(old, "memlock").where.endswith("x.conf:2")
    assert run(replace(facts, host=machine(facts))) == []


def test_before_and_after_deployment(tmp_path: Path) -> None:
    only(found_on(tmp_path, bindings=[]), "not-applied")
    found = found_on(
        tmp_path / "2", bindings=[], members={}, there=[], in_force=False, loaded=False
    )
    assert "nothing is loaded here" in only(found, "not-loaded").what
    found = found_on(tmp_path / "3", bindings=[], in_force=False)
    assert "nothing is in force here" in only(found, "not-loaded").what


def test_every_kind_is_documented() -> None:
    in_code = set()
    for path in (ROOT / "sockreg/check").glob("*.py"):
        in_code |= set(
            re.findall(r"\bcheck=(?:\"tie\" if tie else )?\"([a-z-]+)\"", path.read_text())
        )
    text = (ROOT / "docs/check.md").read_text()
    assert set(re.findall(r"^\| `([a-z-]+)` \|", text, re.M)) == in_code | {"tie"}


def test_a_unit_whose_sockets_are_bound_to_an_interface(tmp_path: Path) -> None:
    bound = {f"{UNITS}/web.socket": WEB_SOCKET.replace("[Socket]", "[Socket]\nBindToDevice=eth0")}
    finding = only(run(gather_files(root(tmp_path, bound))), "bound-socket")
    assert finding.severity is Severity.WARNING
    assert finding.where == f"{tmp_path}/{UNITS}/web.socket:6"
    assert finding.fix.startswith("write dev eth0 in the rule")
    for device, kinds_then in (("eth0", []), ("eth1", ["bound-socket"])):
        with_device = bound[f"{UNITS}/web.socket"].replace("/24 80", f"/24 80 dev {device}")
        facts = gather_files(root(tmp_path / device, {f"{UNITS}/web.socket": with_device}))
        assert [finding.check for finding in run(facts)] == kinds_then


# Rules that can never win


def rules(*lines: str) -> list[Binding]:
    return [
        binding
        for number, line in enumerate(lines, 1)
        for binding in parse_rule(Action.BIND, line, f"label{number}", Place("f", number), [])
    ]


@pytest.mark.parametrize(
    ("lines", "covered"),
    [
        (["tcp 192.0.2.0/24 80", "tcp 192.0.2.0/25 80", "tcp 192.0.2.128/25 80"], [1]),
        (["tcp 192.0.2.0/24 80", "tcp 192.0.2.0/25 80"], []),
        (["tcp 192.0.2.0/24 80", "tcp 192.0.2.0/25 80", "tcp 192.0.2.128/25 81"], []),
        (["tcp 192.0.2.0/24 80-81", "tcp 192.0.2.0/24 80", "tcp 192.0.2.0/24 81"], [1]),
        (["tcp 192.0.2.0/24 80-82", "tcp 192.0.2.0/24 80", "tcp 192.0.2.0/24 82"], []),
        (["tcp 192.0.2.0/24 80", "udp 192.0.2.0/25 80", "udp 192.0.2.128/25 80"], []),
        (["tcp 192.0.2.0/31 80", "tcp 192.0.2.0 *", "tcp 192.0.2.1 1-100"], [1]),
        (["tcp 192.0.2.0/31 80 dev lo", "tcp 192.0.2.0 *", "tcp 192.0.2.1 80"], [1]),
        (["tcp 192.0.2.0/31 80", "tcp 192.0.2.0 80 dev lo", "tcp 192.0.2.1 80"], []),
        (
            [
                "tcp 192.0.2.0/31 80 from 10.0.0.0/8",
                "tcp 192.0.2.0/31 80 dev lo",
                "tcp 192.0.2.0/32 80 from 10.0.0.0/7",
                "tcp 192.0.2.1/32 80",
            ],
            [1],
        ),
        (["tcp ::2/127 80", "tcp ::2 80", "tcp ::3 80"], [1]),
    ],
)
def test_rules_that_never_win(lines: list[str], covered: list[int]) -> None:
    bindings = rules(*lines)
    found = [binding.place.line for binding, _ in never_win(bindings)]
    assert found == covered


def test_what_never_wins_never_decides() -> None:
    """Compared with the oracle on all packets of a tiny world."""
    import itertools
    import random

    from sockreg.model import Packet
    from sockreg.rules.precedence import settle

    rng = random.Random(1)
    told = 0
    for _ in range(60):
        lines = [
            f"tcp 192.0.2.{rng.randrange(8)}/{rng.choice([29, 30, 31, 32])} "
            f"{rng.choice(['1', '2', '3', '1-2', '2-3', '*'])}"
            f"{rng.choice(['', '', ' from 10.0.0.0/31', ' from 10.0.0.1'])}"
            for _ in range(12)
        ]
        kept, _ = settle(rules(*lines))
        dead = {binding for binding, _ in never_win(kept)}
        told += len(dead)
        for host, port, client in itertools.product(range(8), range(1, 5), range(3)):
            packet = Packet(TCP, INET, 0xC0000200 + host, port, 0x0A000000 + client)
            assert decide(kept, packet) not in dead
    assert told > 20

"""Servers that open their own sockets, registered by their own units, on a real systemd."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sockreg.errors import EXIT_PERMISSION, EXIT_REFUSED
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, service_unit, socket_unit

RULES = {"/etc/sockreg/web.conf": "[web]\nBind=tcp 127.0.0.1 80\nBind=tcp ::1 80\n"}
# An unmodified server that knows nothing of systemd: about 0.1 s after its start it listens.
SERVER = "/usr/bin/python3 -m http.server --bind 127.0.0.1 8080"
REGISTER = "ExecStartPost=+/usr/bin/sockreg register web --pid $MAINPID"
GET = b"GET / HTTP/1.0\r\n\r\n"


def server_unit(*settings: str, start: str = SERVER, register: str = REGISTER) -> str:
    return "\n".join(["[Service]", f"ExecStart={start}", register, *settings]) + "\n"


def steered(box: Sandbox, address: str = "127.0.0.1") -> str:
    """``200`` from a server, or what happened instead."""
    answer = box.ask(address, 80, request=GET)
    return answer.split()[1] if answer.startswith("HTTP/") else answer


def registrants(box: Sandbox) -> list[str]:
    """The units of the members of label web."""
    done = box.run(["sockreg", "inspect", "web"], check=False)
    lines = (line.split() for line in done.stdout.splitlines())
    return [words[1].rstrip(",") for words in lines if words[:1] == ["unit"]]


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["Type=exec", "User=nobody"],
        ["DynamicUser=yes", "PrivateUsers=yes"],
        [
            "User=nobody",
            "CapabilityBoundingSet=",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "PrivateTmp=yes",
            "RestrictAddressFamilies=AF_INET",
            "SystemCallFilter=@system-service",
        ],
    ],
    ids=["plain", "user", "dynamic user", "hardened"],
)
def test_a_service_registers_what_it_opened(make_box: MakeBox, settings: Sequence[str]) -> None:
    """When start returns, the server is registered: it was waited for."""
    box = make_box(files=RULES | {f"{UNITS}/web.service": server_unit(*settings)})
    box.systemctl("start", "sockreg.service")
    assert steered(box) == "refused"
    for _ in range(2):
        box.systemctl("start", "web.service")
        assert steered(box) == "200"
        assert registrants(box) == ["web.service"]
        box.systemctl("stop", "web.service")
        assert steered(box) == "refused"
        assert registrants(box) == []


def test_restarts_and_crashes_replace_the_member(make_box: MakeBox) -> None:
    box = make_box(
        files=RULES | {f"{UNITS}/web.service": server_unit("Restart=always", "RestartSec=0")}
    )
    box.systemctl("start", "sockreg.service")
    box.systemctl("start", "web.service")
    for _ in range(3):
        box.systemctl("restart", "web.service")
        assert steered(box) == "200"
        assert registrants(box) == ["web.service"]
    before = box.show("web.service", "MainPID")
    box.systemctl("kill", "-s", "KILL", "web.service")
    box.wait(
        lambda: box.show("web.service", "MainPID") != before and steered(box) == "200",
        "the restarted server",
    )
    assert registrants(box) == ["web.service"]
    told = [text for text in messages(box, "-u", "web.service") if "label web: reg" in text]
    assert len(told) == 5
    assert all(text.endswith("for IPv4, from web.service") for text in told)


def test_a_server_that_never_listens_fails_to_start(make_box: MakeBox) -> None:
    register = f"{REGISTER} --wait 0.2"
    unit = server_unit(start="/bin/sleep infinity", register=register)
    box = make_box(files=RULES | {f"{UNITS}/web.service": unit})
    box.systemctl("start", "sockreg.service")
    assert box.systemctl("start", "web.service", check=False).returncode != 0
    assert box.show("web.service", "ActiveState") == "failed"
    (told,) = (text for text in messages(box, "-u", "web.service") if "within 0.2 s" in text)
    assert told.startswith("sockreg: process sleep (pid ")
    assert "has no TCP listener or bound UDP socket within 0.2 s" in told


def test_the_stock_nginx_of_debian(make_box: MakeBox) -> None:
    """Its own unit with one line added; a socket for each family, shared by all its processes."""
    drop_in = "[Service]\nExecStartPost=+/usr/bin/sockreg register web --pid $MAINPID --local :80\n"
    box = make_box(
        files={
            "/etc/sockreg/web.conf": "[web]\nBind=tcp 127.0.0.1 8000-8099\nBind=tcp ::1 8000\n",
            f"{UNITS}/nginx.service.d/sockreg.conf": drop_in,
        }
    )
    box.systemctl("start", "sockreg.service")
    for verb in ("start", "restart", "reload"):
        box.systemctl(verb, "nginx.service")
        assert "nginx" in box.ask("127.0.0.1", 8042, request=GET)
        assert "nginx" in box.ask("::1", 8000, request=GET)
        assert registrants(box) == ["nginx.service"] * 2


def test_of_a_running_unit(make_box: MakeBox) -> None:
    """By its name from anywhere, without a change to its unit."""
    files = RULES | {f"{UNITS}/web.service": f"[Service]\nExecStart={SERVER}\n"}
    box = make_box(files=files)
    box.systemctl("start", "sockreg.service")
    for name in ("web", "web.service"):
        box.systemctl("restart", "web.service")
        assert steered(box) == "refused"
        box.run(["sockreg", "register", "web", "--of-unit", name])
        assert steered(box) == "200"
        assert registrants(box) == ["web.service"]
    box.run(["sockreg", "register", "web", "--of-unit", "web", "--unit", "mine.service"])
    assert registrants(box) == ["mine.service"]


def test_of_a_unit_that_is_about_to_start(make_box: MakeBox) -> None:
    """It is waited for, whether its process or only its socket is missing."""
    box = make_box(files=RULES | {f"{UNITS}/web.service": f"[Service]\nExecStart={SERVER}\n"})
    box.systemctl("start", "sockreg.service")
    with box.spawn(["sockreg", "register", "web", "--of-unit", "web", "--wait", "30"]) as command:
        box.systemctl("start", "web.service")
        assert command.wait(timeout=30) == 0
    assert steered(box) == "200"


def test_of_a_unit_with_several_processes_and_sockets(make_box: MakeBox) -> None:
    both = f"/bin/sh -c '{SERVER} & exec {SERVER.replace('8080', '8081')}'"
    box = make_box(files=RULES | {f"{UNITS}/web.service": f"[Service]\nExecStart={both}\n"})
    box.systemctl("start", "sockreg.service")
    box.systemctl("start", "web.service")
    box.wait(lambda: box.scan("127.0.0.1", range(8080, 8082)) == [8080, 8081], "two listeners")
    done = box.run(["sockreg", "register", "web", "--of-unit", "web"], check=False)
    assert done.returncode == EXIT_REFUSED
    assert "web.service has 2 sockets that match: tcp 127.0.0.1:80" in done.stderr
    box.run(["sockreg", "register", "web", "--of-unit", "web", "--local", "127.0.0.1:8081"])
    assert steered(box) == "200"


REGISTRAR = """\
[Service]
Type=oneshot
ExecStart=/usr/bin/sockreg register web --of-unit web.service
CapabilityBoundingSet=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=-/sys/fs/bpf/sockreg
PrivateTmp=yes
RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=bpf pidfd_getfd
"""


@pytest.mark.parametrize(
    ("without", "sentence"),
    [
        ("", ""),
        ("CAP_SYS_PTRACE", "web.service: no permission to take sockets from its process"),
        ("CAP_DAC_READ_SEARCH", "or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"),
        ("pidfd_getfd", "no permission to take sockets from its process"),
        ("AF_NETLINK", "cannot list sockets: netlink sockets are"),
    ],
    ids=["enough", "ptrace", "read", "system call", "netlink"],
)
def test_a_unit_of_its_own_that_registers_others(
    make_box: MakeBox, without: str, sentence: str
) -> None:
    """What such a unit must be allowed, and what it says when it is not."""
    registrar = REGISTRAR.replace(without, "") if without else REGISTRAR
    files = {
        f"{UNITS}/web.service": f"[Service]\nUser=nobody\nExecStart={SERVER}\n",
        f"{UNITS}/take.service": registrar,
    }
    box = make_box(files=RULES | files)
    box.systemctl("start", "sockreg.service", "web.service")
    done = box.systemctl("start", "take.service", check=False)
    if not without:
        assert (done.returncode, steered(box)) == (0, "200")
        return
    assert box.show("take.service", "ExecMainStatus") == str(EXIT_PERMISSION)
    assert any(sentence in text for text in messages(box, "-u", "take.service"))
    assert steered(box) == "refused"


def test_a_service_with_a_network_namespace_of_its_own(make_box: MakeBox) -> None:
    files = {f"{UNITS}/web.service": f"[Service]\nPrivateNetwork=yes\nExecStart={SERVER}\n"}
    box = make_box(files=RULES | files)
    box.systemctl("start", "sockreg.service", "web.service")
    pid = box.show("web.service", "MainPID")
    done = box.run(["sockreg", "register", "web", "--pid", pid], check=False)
    assert done.returncode == EXIT_REFUSED
    assert "is in another network namespace" in done.stderr
    assert f"sockreg --netns /proc/{pid}/ns/net register" in done.stderr
    there = ["sockreg", "--netns", f"/proc/{pid}/ns/net"]
    box.run([*there, "load"])
    box.run([*there, "register", "web", "--pid", pid])
    seen = box.run(["nsenter", f"--net=/proc/{pid}/ns/net", "curl", "-sI", "http://127.0.0.1/"])
    assert seen.stdout.startswith("HTTP/1.0 200 OK")
    assert steered(box) == "refused"


def test_a_socket_that_only_systemd_has_open(make_box: MakeBox) -> None:
    """By its cookie; it belongs to the unit in whose cgroup systemd made it."""
    files = {
        f"{UNITS}/web.socket": socket_unit("127.0.0.1:8080"),
        f"{UNITS}/web.service": service_unit("accept_loop web"),
    }
    box = make_box(files=RULES | files)
    box.systemctl("start", "sockreg.service", "web.socket")
    listed = box.run(["ss", "-tlnHe", "sport", "=", "8080"]).stdout.split()
    (cookie,) = (word for word in listed if word.startswith("sk:"))
    box.run(["sockreg", "register", "web", "--cookie", cookie])
    assert registrants(box) == ["web.socket"]
    assert box.show("web.service", "ActiveState") == "inactive"
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    assert box.show("web.service", "ActiveState") == "active"
    # Both have it open now, and inspect says so.
    printed = box.run(["sockreg", "inspect", "web"]).stdout
    assert "systemd (pid 1, -)" in printed
    pid = box.show("web.service", "MainPID")
    assert f"(pid {pid}, web.service)" in printed


def test_the_wrapper_in_a_unit(make_box: MakeBox) -> None:
    """The server is the wrapper's process: systemd's main process, with the sockets it awaits."""
    service = service_unit("accept_loop web", settings=["Type=exec"])
    service = service.replace("ExecStart=", "ExecStart=/usr/bin/sockreg register web -- ")
    files = {f"{UNITS}/web.socket": socket_unit("127.0.0.1:8080"), f"{UNITS}/web.service": service}
    box = make_box(files=RULES | files)
    box.systemctl("start", "sockreg.service", "web.socket")
    assert box.ask("127.0.0.1", 80) == "refused"
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    assert registrants(box) == ["web.service"]
    pid = box.show("web.service", "MainPID")
    assert box.read(f"/proc/{pid}/cmdline").split("\0")[1:3] == ["-m", "tests.servers.accept_loop"]
    # The socket outlives the server, and its registration with it.
    box.systemctl("restart", "web.service")
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    assert registrants(box) == ["web.service"]

"""The ways into a host stay open, whichever unit or command puts rules in force."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from sockreg.errors import EXIT_REFUSED
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, service_unit, socket_unit, web

OWN, PORT = "198.51.100.1", 2222
CONF = "/etc/sockreg/all.conf"
SSHD = "/usr/local/sbin/sshd"
# In place of the real one: it is known by its name alone, and answers with it.
SERVER = f"""#!/usr/bin/python3
import os, socket, sys
if sys.argv[1:] == ["-i"]:
    os.write(1, b"sshd")
    sys.exit()
if os.environ.get("LISTEN_FDS"):
    listener = socket.socket(fileno=3)
else:
    listener = socket.create_server(("", {PORT}))
listener.setblocking(True)
while True:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"sshd")
"""


def service(command: str) -> str:
    return f"[Service]\nExecStart={command}\n"


def socket_(settings: str = "") -> str:
    return f"[Socket]\nListenStream={PORT}\n{settings}"


# name -> files, what to start, and what the refusal says of it
SERVERS: dict[str, tuple[dict[str, str], str, str]] = {
    "by the name of its service": (
        {f"{UNITS}/ssh.service": service(f"/usr/bin/python3 {SSHD}")},
        "ssh.service",
        "ssh.service",
    ),
    "by the name of its socket": (
        {
            f"{UNITS}/sshd.socket": socket_("Service=other.service"),
            f"{UNITS}/other.service": service(f"/usr/bin/python3 {SSHD}"),
        },
        "sshd.socket",
        "sshd.socket",
    ),
    "by the program of its service": (
        {f"{UNITS}/rescue.service": service(f"-@{SSHD} sshd -D")},
        "rescue.service",
        "rescue.service",
    ),
    "by the program of its socket": (
        {
            f"{UNITS}/rescue.socket": socket_(),
            f"{UNITS}/rescue.service": service(f"{SSHD} -D"),
        },
        "rescue.socket",
        "rescue.socket",
    ),
    "by the program for each connection": (
        {
            f"{UNITS}/rescue.socket": socket_("Accept=yes"),
            f"{UNITS}/rescue@.service": f"[Service]\nExecStart=-{SSHD} -i\nStandardInput=socket\n",
        },
        "rescue.socket",
        "rescue.socket",
    ),
    "by its process": (
        {f"{UNITS}/rescue.service": service(f"/bin/sh -c 'exec {SSHD}'")},
        "rescue.service",
        "sshd (pid ",
    ),
}

# Everything that puts rules in force. Each adds a rule that takes every port of the host.
WIDE = "Bind=tcp 0.0.0.0/0 *"


def by_reload(box: Sandbox) -> str:
    box.write(CONF, f"[web]\n{WIDE}\n")
    box.systemctl("reload", "sockreg.service", check=False)
    return "\n".join(messages(box, "-p", "err", "-u", "sockreg.service"))


def by_bind(box: Sandbox) -> str:
    done = box.run(["sockreg", "bind", "web", *WIDE.removeprefix("Bind=").split()], check=False)
    assert done.returncode == EXIT_REFUSED
    return done.stderr


def by_bind_from_cron(box: Sandbox) -> str:
    """As cron(8), at(1) and timers run it: in a unit, without an environment."""
    command = " ".join(["sockreg bind web", WIDE.removeprefix("Bind=")])
    box.write(f"{UNITS}/job.service", f"[Service]\nType=oneshot\nExecStart={command}\n")
    box.systemctl("start", "job.service", check=False)
    assert box.show("job.service", "ExecMainStatus") == str(EXIT_REFUSED)
    return "\n".join(messages(box, "-u", "job.service"))


def install_wide(box: Sandbox) -> None:
    box.write(f"{UNITS}/wide.socket", socket_unit("127.0.0.1:8081", label="wide", rules=[WIDE]))
    box.write(f"{UNITS}/wide.service", service_unit("accept_loop wide"))
    box.systemctl("daemon-reload")


def by_start(box: Sandbox) -> str:
    install_wide(box)
    box.systemctl("start", "sockreg@wide.service", check=False)
    return "\n".join(messages(box, "-p", "err", "-u", "sockreg@wide.service"))


def by_enable(box: Sandbox) -> str:
    install_wide(box)
    done = box.run(["sockreg", "enable", "wide"], check=False)
    assert done.returncode != 0
    return done.stderr + "\n".join(messages(box, "-p", "err"))


WAYS = [by_reload, by_bind, by_bind_from_cron, by_start, by_enable]


def started(make_box: MakeBox, files: dict[str, str], unit: str) -> Sandbox:
    """A box with web in the registry, and with a way in that ``unit`` opens."""
    box = make_box(files={**web(), SSHD: SERVER, **files})
    box.run(["chmod", "+x", SSHD])
    box.network.add_address(f"{OWN}/24")
    box.systemctl("enable", "--now", "sockreg@web.service")
    if unit:
        box.systemctl("start", unit)
        box.wait(lambda: is_open(box))
    return box


def is_open(box: Sandbox) -> bool:
    return box.ask(OWN, PORT) == "sshd"


@pytest.mark.parametrize("server", SERVERS)
def test_units_know_the_server(make_box: MakeBox, server: str) -> None:
    files, unit, known = SERVERS[server]
    box = started(make_box, files, unit)
    told = by_reload(box)
    assert f"takes {OWN}:{PORT}, which ssh listens on ({known}" in told
    assert is_open(box)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_way_locks_out(make_box: MakeBox, way: Callable[[Sandbox], str]) -> None:
    box = started(make_box, *SERVERS["by the name of its service"][:2])
    told = way(box)
    assert f"takes {OWN}:{PORT}, which ssh listens on (ssh.service)" in told
    assert is_open(box)
    assert box.ask("127.0.0.1", 80).split()[0] == "web"


SESSION = "/sys/fs/cgroup/user.slice/user-0.slice/session-3.scope"


@pytest.mark.parametrize("into", [f"mkdir -p {SESSION}; echo $$ >{SESSION}/cgroup.procs; ", ""])
def test_a_server_that_somebody_started(make_box: MakeBox, into: str) -> None:
    """For example from a shell, before an upgrade; or where its cgroup cannot be seen."""
    box = started(make_box, {}, "")
    with box.spawn(["/bin/sh", "-c", f"{into}exec {SSHD}"]) as server:
        try:
            box.wait(lambda: is_open(box))
            told = by_reload(box)
            assert f"takes {OWN}:{PORT}, which ssh listens on (sshd (pid " in told
            assert is_open(box)
        finally:
            server.kill()


def test_the_port_of_a_session(make_box: MakeBox) -> None:
    """Of another administrator, through a server that is not known by anything else."""
    files = {
        f"{UNITS}/in.service": service(f"/usr/bin/python3 -c 'import socket, time; "
        f'l = socket.create_server(("", {PORT})); c = [l.accept() for _ in range(2)]; '
        "time.sleep(600)'"),
        "/run/systemd/sessions/7": "UID=0\nREMOTE=1\nREMOTE_HOST=198.51.100.1\nSERVICE=sshd\n",
    }  # fmt: skip
    box = started(make_box, files, "")
    box.systemctl("start", "in.service")
    with box.network.new_socket(2, 1) as client:
        box.wait(lambda: client.connect_ex((OWN, PORT)) in (0, 106))
        told = by_reload(box)
        assert f"takes {OWN}:{PORT}, which ssh listens on (the ssh session from {OWN})" in told


def test_stopping_a_unit_whose_rules_let_ssh_through(make_box: MakeBox) -> None:
    files = {
        **SERVERS["by the name of its service"][0],
        f"{UNITS}/keeps.socket": socket_unit(
            "127.0.0.1:8082", label="keeps", rules=[f"Pass=tcp {OWN} {PORT}"]
        ),
        f"{UNITS}/keeps.service": service_unit("accept_loop keeps"),
    }
    box = started(make_box, files, "ssh.service")
    box.systemctl("enable", "--now", "sockreg@keeps.service")
    box.write(CONF, f"[web]\n{WIDE}\n")
    box.systemctl("reload", "sockreg.service")
    assert is_open(box)
    box.systemctl("disable", "--now", "sockreg@keeps.service", check=False)
    assert is_open(box)
    (told, *_) = messages(box, "-p", "err", "-u", "sockreg@keeps.service")
    assert f"takes {OWN}:{PORT}" in told


def test_who_insists(make_box: MakeBox) -> None:
    box = started(make_box, *SERVERS["by the name of its service"][:2])
    box.write(CONF, f"[web]\n{WIDE}\n[:registry]\nTakeSsh=yes\n")
    box.systemctl("reload", "sockreg.service")
    assert box.ask(OWN, PORT).split()[0] == "web"


# At boot, rules come into force before ssh listens.

AT_BOOT = "{}[Install]\nWantedBy=sandbox.target\n"
LATE = (
    "ExecStartPre=/bin/sh -c 'until systemctl -q is-active sockreg.service; do sleep 0.1; done'\n"
)


def reboot(box: Sandbox) -> None:
    """Boot once more; the addresses of the host come a little later, as from a DHCP server."""
    box.reboot()
    box.network.add_address(f"{OWN}/24")


def booted(make_box: MakeBox, unit: str, files: dict[str, str]) -> Sandbox:
    """A box with web in the registry and an ssh server, both enabled."""
    box = started(make_box, files, unit)
    box.systemctl("enable", unit)
    return box


def told(box: Sandbox) -> str:
    return "\n".join(messages(box, "-u", "sockreg.service"))


BY_SERVICE = {
    f"{UNITS}/ssh.service": AT_BOOT.format(service(f"/usr/bin/python3 {SSHD}") + LATE),
}
CONFIG = {"/etc/ssh/sshd_config.d/port.conf": f"Port {PORT}\n",
          "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n"}  # fmt: skip


def test_a_boot_leaves_out_what_takes_the_configured_port(make_box: MakeBox) -> None:
    """Nothing else is known: neither where ssh listened before, nor the addresses of the host."""
    box = booted(make_box, "ssh.service", {**BY_SERVICE, **CONFIG})
    box.write(CONF, f"[web]\n{WIDE}\n")
    box.run(["rm", "-rf", "/var/lib/sockreg"])
    reboot(box)
    box.wait(lambda: is_open(box))
    assert box.ask("127.0.0.1", 80).split()[0] == "web"
    assert f"{CONF}:2: {WIDE} takes port {PORT}, where ssh will listen" in told(box)
    assert "/etc/ssh/sshd_config.d/port.conf:1" in told(box)
    assert box.show("sockreg.service", "ActiveState") == "active"


@pytest.mark.long
def test_what_a_boot_left_out_is_corrected(make_box: MakeBox) -> None:
    box = booted(make_box, "ssh.service", {**BY_SERVICE, **CONFIG})
    box.write(CONF, f"[web]\n{WIDE}\n")
    box.run(["rm", "-rf", "/var/lib/sockreg"])
    reboot(box)
    box.wait(lambda: is_open(box))
    found = json.loads(box.run(["sockreg", "--json", "check"], check=False).stdout)["findings"]
    (fix,) = (it["fix"] for it in found if it["check"] == "left-out")
    (command,) = re.findall(r"^correct it if it is still wrong, then run '([^']*)'$", fix)
    assert box.ask(OWN, 443) == "refused"
    box.write(CONF, f"[web]\nBind=tcp {OWN} 443\n")
    box.run(command.split())
    assert box.ask(OWN, 443).split()[0] == "web"
    assert is_open(box)
    assert '"left-out"' not in box.run(["sockreg", "--json", "check"], check=False).stdout


@pytest.mark.parametrize("rule", [WIDE, f"Bind=tcp {OWN} *", f"Reject=tcp {OWN} {PORT}"])
def test_a_boot_leaves_out_what_takes_the_last_known_port(make_box: MakeBox, rule: str) -> None:
    box = booted(make_box, "ssh.service", BY_SERVICE)
    box.run(["sockreg", "bind", "web", "tcp", "127.0.0.1", "81"])  # ssh is known from now on
    box.write(CONF, f"[web]\n{rule}\n")
    reboot(box)
    box.wait(lambda: is_open(box))
    assert {box.ask("127.0.0.1", port).split()[0] for port in (80, 81)} == {"web"}
    assert f"{rule} takes {OWN}:{PORT}, where ssh will listen (as it did before)" in told(box)


@pytest.mark.long
def test_a_boot_after_ssh_has_begun_to_listen(make_box: MakeBox) -> None:
    """Then, too, the addresses of the host may come later."""
    early = AT_BOOT.format(service(f"/usr/bin/python3 {SSHD}"))
    box = booted(make_box, "ssh.service", {f"{UNITS}/ssh.service": early})
    box.run(["sockreg", "apply"])
    box.write(CONF, f"[web]\nBind=tcp {OWN} *\n")
    for _ in range(2):
        reboot(box)
        box.wait(lambda: is_open(box))
        assert box.ask("127.0.0.1", 80).split()[0] == "web"
        assert f"takes {OWN}:{PORT}, which ssh listens on (ssh.service)" in told(box)


def test_ssh_of_the_host_is_expected_in_no_other_network_namespace(make_box: MakeBox) -> None:
    box = booted(make_box, "ssh.service", {**BY_SERVICE, **CONFIG})
    box.write(CONF, f"[web]\n{WIDE}\n")
    box.run(["ip", "netns", "add", "blue"])
    box.run(["sockreg", "--netns", "blue", "load"])
    rules = box.run(["sockreg", "--netns", "blue", "rules"]).stdout
    assert WIDE.removeprefix("Bind=") in rules
    refused = box.run(["sockreg", "apply"], check=False)
    assert refused.returncode != 0  # where the host's ssh listens


def by_rollback(box: Sandbox) -> str:
    """The rules are from a time when there was no server."""
    box.systemctl("disable", "ssh.service")
    box.run(["rm", "-f", "/var/lib/sockreg/ssh"])
    box.write(CONF, f"[web]\n{WIDE}\n")
    box.run(["sockreg", "apply"])
    box.run(["rm", CONF])
    box.run(["sockreg", "apply"])
    box.systemctl("enable", "ssh.service")
    done = box.run(["sockreg", "rollback"], check=False)
    assert done.returncode == EXIT_REFUSED
    return done.stderr


@pytest.mark.long
@pytest.mark.parametrize("way", [*WAYS, by_rollback], ids=lambda way: way.__name__)
def test_a_server_that_is_stopped(make_box: MakeBox, way: Callable[[Sandbox], str]) -> None:
    """Its port is still its own: nobody gets in if it starts and its clients land elsewhere."""
    box = booted(make_box, "ssh.service", {**BY_SERVICE, **CONFIG})
    box.systemctl("stop", "ssh.service")
    told = way(box)
    assert f"takes {OWN}:{PORT}, where ssh will listen (" in told
    box.systemctl("start", "ssh.service")
    box.wait(lambda: is_open(box))
    assert box.ask("127.0.0.1", 80).split()[0] == "web"


@pytest.mark.long
def test_a_server_that_is_stopped_and_only_known_from_before(make_box: MakeBox) -> None:
    """No file says its port. The port is free once ssh is seen to listen elsewhere only."""
    box = started(make_box, BY_SERVICE, "ssh.service")
    box.run(["sockreg", "bind", "web", "tcp", "127.0.0.1", "81"])  # ssh is known from now on
    box.systemctl("stop", "ssh.service")
    rule = ["web", "tcp", "0.0.0.0/0", str(PORT)]
    refused = box.run(["sockreg", "bind", *rule], check=False)
    assert refused.returncode == EXIT_REFUSED
    assert f"takes {OWN}:{PORT}, where ssh will listen (as it did before)" in refused.stderr
    box.write(SSHD, SERVER.replace(str(PORT), "2022"))
    box.systemctl("start", "ssh.service")
    box.wait(lambda: box.ask(OWN, 2022) == "sshd")
    box.run(["sockreg", "bind", *rule])
    assert box.ask(OWN, PORT).split()[0] == "web"


@pytest.mark.long
def test_a_reload_before_ssh_listens(make_box: MakeBox) -> None:
    """It lets in nothing that the boot left out."""
    box = booted(make_box, "ssh.service", {**BY_SERVICE, **CONFIG})
    box.systemctl("stop", "ssh.service")
    box.write(CONF, f"[web]\n{WIDE}\n")
    box.run(["sockreg", "unload"])
    box.systemctl("restart", "sockreg.service")
    assert "where ssh will listen" in told(box)
    box.systemctl("reload", "sockreg.service", check=False)
    rules = box.run(["sockreg", "rules"]).stdout
    assert WIDE.removeprefix("Bind=") not in rules


@pytest.mark.long
def test_a_boot_with_rules_that_let_ssh_through(make_box: MakeBox) -> None:
    box = booted(make_box, "ssh.service", {**BY_SERVICE, **CONFIG})
    box.write(CONF, f"[web]\n{WIDE}\nPass=tcp 0.0.0.0/0 {PORT}\nPass=tcp ::/0 {PORT}\n")
    box.systemctl("reload", "sockreg.service")
    reboot(box)
    box.wait(lambda: is_open(box))
    assert box.ask(OWN, 9999).split()[0] == "web"
    assert "where ssh will listen" not in told(box)


@pytest.mark.long
def test_a_boot_with_rules_that_lead_to_ssh(make_box: MakeBox) -> None:
    """They are in its own unit, or in a file."""
    files = {
        f"{UNITS}/ssh.socket": socket_unit(
            str(PORT), label="in", rules=[f"Bind=tcp 0.0.0.0/0 {PORT},2223"]
        ),
        f"{UNITS}/ssh.service": service(f"/usr/bin/python3 {SSHD}"),
    }
    box = started(make_box, files, "ssh.socket")
    box.systemctl("enable", "ssh.socket")
    box.systemctl("enable", "--now", "sockreg@ssh.service")
    box.write(CONF, f"[in]\nBind=tcp {OWN} {PORT},2224\n")
    box.systemctl("reload", "sockreg.service")
    for _ in range(2):
        box.wait(lambda: is_open(box))
        assert {box.ask(OWN, port) for port in (PORT, 2223, 2224)} == {"sshd"}
        reboot(box)


def test_a_boot_that_may_take_ssh(make_box: MakeBox) -> None:
    box = booted(make_box, "ssh.service", {**BY_SERVICE, **CONFIG})
    box.write(CONF, f"[web]\n{WIDE}\n[:registry]\nTakeSsh=yes\n")
    reboot(box)
    assert box.ask(OWN, PORT).split()[0] == "web"


def test_stopping_the_registration_of_ssh(make_box: MakeBox) -> None:
    """While its rules stay, so does its socket."""
    files = {
        f"{UNITS}/ssh.socket": socket_unit(
            str(PORT), label="in", rules=[f"Bind=tcp 0.0.0.0/0 {PORT}"]
        ),
        f"{UNITS}/ssh.service": service(f"/usr/bin/python3 {SSHD}"),
    }
    box = started(make_box, files, "ssh.socket")
    box.systemctl("enable", "--now", "sockreg@ssh.service")
    box.run(["sockreg", "apply"])
    box.systemctl("stop", "sockreg@ssh.service", check=False)
    assert is_open(box)
    (refused,) = messages(box, "-p", "err", "-u", "sockreg@ssh.service")
    assert f"rules lead port {PORT} of this host to it" in refused
    box.systemctl("start", "sockreg@ssh.service")
    (command,) = re.findall(r"'([^']*)' takes both away", refused)
    box.run(command.split())
    assert is_open(box)
    assert '"in"' not in box.run(["sockreg", "rules", "--json"]).stdout


@pytest.mark.long
def test_ssh_keeps_the_label_of_a_rule(make_box: MakeBox) -> None:
    """Another label in its unit would leave the rule without a socket."""
    files = {
        f"{UNITS}/ssh.socket": socket_unit(str(PORT), label="in"),
        f"{UNITS}/ssh.service": service(f"/usr/bin/python3 {SSHD}"),
    }
    box = started(make_box, files, "ssh.socket")
    box.systemctl("enable", "--now", "sockreg@ssh.service")
    box.write(CONF, f"[in]\nBind=tcp 0.0.0.0/0 {PORT}\n")
    box.systemctl("reload", "sockreg.service")
    box.write(f"{UNITS}/ssh.socket.d/label.conf", "[X-Sockreg]\nLabel=other\n")
    box.systemctl("daemon-reload")
    box.systemctl("reload", "sockreg.service", check=False)
    assert f"{CONF}:2: Bind=tcp 0.0.0.0/0 {PORT} takes {OWN}:{PORT}" in told(box)
    assert is_open(box)

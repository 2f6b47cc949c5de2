"""`sockreg enable` and `disable` where systemd is too old to let a socket register itself."""

from __future__ import annotations

import json

import pytest

from sockreg.errors import (
    EXIT_CONFIG,
    EXIT_FAILURE,
    EXIT_PARTLY,
    EXIT_PERMISSION,
    EXIT_REFUSED,
    EXIT_USAGE,
)
from sockreg.systemd import journal
from tests.sandbox import Sandbox
from tests.schemas import validated
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, service_unit, socket_unit, web

ANSWER = "web 127.0.0.1:80"
DROPIN = f"{UNITS}/web.socket.d/50-sockreg.conf"
LINKS = tuple(
    f"{UNITS}/{unit}.wants/sockreg@web.service" for unit in ("sockets.target", "web.socket")
)


def fails(box: Sandbox, status: int, *arguments: str) -> str:
    """What a command says that ends with this status."""
    done = box.run(["sockreg", *arguments], check=False)
    assert done.returncode == status, done
    assert not done.stdout
    assert "Created symlink" not in done.stderr
    return done.stderr


def state(box: Sandbox) -> dict[str, object]:
    """All that enabling changes: files, units, rules, sockets."""
    shown = box.systemctl("list-units", "--all", "--plain", "--no-legend", "--full").stdout
    ours = ("sockreg", "web", "shop", "other", "mail", "away")
    units = {
        words[0]: words[2]
        for line in shown.splitlines()
        if (words := line.split()) and words[0].startswith(ours) and words[2] != "inactive"
    }
    registry = json.loads(box.run(["sockreg", "--json", "status"], check=False).stdout or "{}")
    status = registry.get("status", {})
    return {
        "files": sorted(
            box.run(["find", UNITS, "/run/systemd/system"], check=False).stdout.splitlines()
        ),
        "unfinished": box.run(["ls", "/run/sockreg/enable"], check=False).stdout,
        "units": units,
        "rules": box.run(["sockreg", "rules"], check=False).stdout,
        "members": [it["members"] for it in status.get("destinations", []) if it["members"]],
    }  # fmt: skip


def refused(box: Sandbox, status: int, *units: str, mode: str | None = None) -> str:
    """What `enable` says that is refused: it and its dry run say the same and leave nothing."""
    arguments = ["enable", *units, *(["--mode", mode] if mode else [])]
    before = state(box)
    foretold = fails(box, status, *arguments, "--dry-run")
    assert state(box) == before
    said = fails(box, status, *arguments)
    assert state(box) == before
    assert said == foretold
    return said


@pytest.fixture
def installed_web(make_box: MakeBox) -> Sandbox:
    """A box where web.socket is installed, and nothing of it enabled."""
    return make_box(files=web())


def test_enable_takes_the_companion(installed_web: Sandbox) -> None:
    box = installed_web
    said = box.run(["sockreg", "enable", "web.socket"]).stdout
    assert said == (
        "enable web.socket in mode companion:\n"
        "  systemctl start sockreg.service\n"
        "  systemctl enable --quiet --no-reload sockreg@web.service\n"
        "  systemctl daemon-reload\n"
        "  systemctl start sockreg@web.service\n"
        "web.socket is registered for 1 destination\n"
    )
    assert box.ask("127.0.0.1", 80) == ANSWER
    box.reboot()
    assert box.ask("127.0.0.1", 80) == ANSWER

    said = box.run(["sockreg", "disable", "web"]).stdout
    removed = "".join(f"  remove {link}\n" for link in LINKS)
    assert said == (
        f"disable web.socket:\n{removed}"
        "  take out of force: the rules of web.socket\n"
        "  unregister: the sockets of web.socket\n"
        "  systemctl stop sockreg@web.service\n"
    )
    assert box.ask("127.0.0.1", 80) == "refused"
    assert box.run(["sockreg", "rules"]).stdout.count("\n") == 1
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    said = box.run(["sockreg", "disable", "web"]).stdout
    assert said == "web.socket is not enabled with sockreg\n"
    box.reboot()
    assert box.ask("127.0.0.1", 80) == "refused"


def test_enabling_twice_is_fine(installed_web: Sandbox) -> None:
    box = installed_web
    box.run(["sockreg", "enable", "web"])
    assert box.ask("127.0.0.1", 80) == ANSWER
    before = state(box)
    said = box.run(["sockreg", "enable", "web"]).stdout
    assert said.endswith("web.socket is registered for 1 destination\n")
    assert state(box) == before
    assert box.ask("127.0.0.1", 80) == ANSWER


def test_enabling_again_registers_what_is_missing(installed_web: Sandbox) -> None:
    box = installed_web
    box.run(["sockreg", "enable", "web"])
    box.run(["sockreg", "unregister", "web"])
    assert box.ask("127.0.0.1", 80) == "refused"
    box.run(["sockreg", "enable", "web"])
    assert box.ask("127.0.0.1", 80) == ANSWER
    box.systemctl("stop", "sockreg.service")
    assert box.ask("127.0.0.1", 80) == "refused"
    box.run(["sockreg", "enable", "web"])
    assert box.ask("127.0.0.1", 80) == ANSWER


def test_the_power_fails_in_the_middle(installed_web: Sandbox) -> None:
    box = installed_web
    dies(box, 3)
    box.crash()
    box.boot()
    assert box.ask("127.0.0.1", 80) == ANSWER
    box.run(["sockreg", "disable", "web"])
    assert box.ask("127.0.0.1", 80) == "refused"
    box.reboot()
    assert box.ask("127.0.0.1", 80) == "refused"


def test_a_dry_run_changes_nothing(installed_web: Sandbox) -> None:
    box = installed_web
    before = state(box)
    said = box.run(["sockreg", "enable", "web", "--dry-run"]).stdout
    assert said.startswith("would enable web.socket in mode companion:\n  systemctl start ")
    assert state(box) == before
    box.run(["sockreg", "enable", "web"])
    before = state(box)
    said = box.run(["sockreg", "disable", "web", "--dry-run"]).stdout
    assert said.startswith("would disable web.socket:\n  remove ")
    assert state(box) == before
    assert box.ask("127.0.0.1", 80) == ANSWER


def test_json(installed_web: Sandbox) -> None:
    box = installed_web
    kind, enabled = validated(box.run(["sockreg", "--json", "enable", "web"]).stdout)
    assert kind == "enabled"
    assert enabled["served"] == {"web.socket": 1}
    assert ["systemctl", "start", "sockreg@web.service"] in enabled["commands"]
    kind, disabled = validated(box.run(["sockreg", "--json", "disable", "web"]).stdout)
    assert kind == "disabled"
    assert disabled["removed"] == list(LINKS)
    assert disabled["unregistered"] == ["web.socket"]
    _, disabled = validated(box.run(["sockreg", "--json", "disable", "web"]).stdout)
    assert disabled["nothing"] == ["web.socket"]


def test_exec_mode_is_refused_here(installed_web: Sandbox) -> None:
    said = refused(installed_web, EXIT_USAGE, "web", mode="exec")
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
    assert "  systemctl --root=/tmp/other enable --quiet sockreg@web.service\n" in said
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


@pytest.mark.long
def test_wrong_names_are_refused(installed_web: Sandbox) -> None:
    box = installed_web
    box.write(f"{UNITS}/many@.socket", socket_unit("127.0.0.1:8081"))
    box.run(["ln", "-s", "/dev/null", f"{UNITS}/masked.socket"])
    box.run(["ln", "-s", "/srv/lost.socket", f"{UNITS}/lost.socket"])
    for name, words in {
        "nothing": "there is no nothing.socket",
        "wbe": "did you mean web.socket?",
        "masked": "masked.socket is masked",
        "lost": "lost.socket is a link that leads nowhere\nsockreg: restore /srv/lost.socket",
        "many@": "name an instance, such as many@1.socket",
        "web.service": "did you mean web.socket?",
        "sockreg@web.service": "name that unit: web.socket",
        "web*": "web* is a pattern",
        "../web": "'../web' is not the name of a unit",
        "": "'' is not the name of a unit",
    }.items():
        assert words in refused(box, EXIT_USAGE, name), name
    said = refused(box, EXIT_USAGE, "web", "nothing", "masked")
    assert "no nothing.socket" in said
    assert "masked.socket is masked" in said
    assert "there is no nothing.socket" in fails(box, EXIT_USAGE, "disable", "nothing")


def test_a_tie_is_foretold_and_leaves_nothing(make_box: MakeBox) -> None:
    files = web()
    files[f"{UNITS}/shop.socket"] = socket_unit(
        "127.0.0.1:8081", label="shop", rules=["Bind=tcp 127.0.0.1 80"]
    )
    files[f"{UNITS}/shop.service"] = service_unit("accept_loop shop")
    box = make_box(files=files)
    box.run(["sockreg", "enable", "web"])
    assert box.ask("127.0.0.1", 80) == ANSWER
    said = refused(box, EXIT_CONFIG, "shop")
    assert f"{UNITS}/shop.socket:6: " in said or f"{UNITS}/web.socket:" in said
    assert "ties with" in said
    assert box.ask("127.0.0.1", 80) == ANSWER
    box.reboot()
    assert box.ask("127.0.0.1", 80) == ANSWER


def test_a_tie_without_a_loader_starts_nothing(make_box: MakeBox) -> None:
    files = web()
    files["/etc/sockreg/x.conf"] = "[other]\nBind=tcp 127.0.0.1 80\n"
    box = make_box(files=files)
    said = refused(box, EXIT_CONFIG, "web")
    assert "/etc/sockreg/x.conf:2" in said
    assert box.systemctl("is-active", "sockreg.service", check=False).stdout == "inactive\n"


def test_a_port_that_is_taken_is_named(make_box: MakeBox) -> None:
    files = web()
    files[f"{UNITS}/other.socket"] = socket_unit("0.0.0.0:8080", label="other")
    files[f"{UNITS}/other.service"] = service_unit("accept_loop other")
    box = make_box(files=files)
    box.systemctl("start", "other.socket")
    said = refused(box, EXIT_FAILURE, "web")
    assert (
        f"{UNITS}/web.socket:3: web.socket cannot listen: port 8080 is taken by other.socket"
        in said
    )
    assert box.ask("127.0.0.1", 8080) == "other 127.0.0.1:8080"


def test_what_systemd_says_is_repeated(make_box: MakeBox) -> None:
    """Where only the attempt tells: an address that this host does not have."""
    box = make_box(files=web(listen=("192.0.2.77:8080",)))
    before = state(box)
    said = fails(box, EXIT_FAILURE, "enable", "web")
    assert "web.socket: Failed to create listening socket (192.0.2.77:8080): " in said
    assert "everything is as before" in said
    assert "journalctl" not in said
    assert state(box) == before


def test_a_running_server_without_its_socket(make_box: MakeBox) -> None:
    files = web(server="event_loop web", requires_socket=False)
    files[f"{UNITS}/web.service"] = "[Service]\nExecStart=sleep infinity\n"
    box = make_box(files=files)
    box.systemctl("start", "web.service")
    said = refused(box, EXIT_FAILURE, "web")
    assert "web.service runs already, without this socket" in said
    assert "'systemctl stop web.service' first" in said
    box.systemctl("stop", "web.service")
    box.run(["sockreg", "enable", "web"])
    assert box.show("web.socket", "ActiveState") == "active"


def test_a_socket_without_server(make_box: MakeBox) -> None:
    files = web()
    del files[f"{UNITS}/web.service"]
    box = make_box(files=files)
    said = refused(box, EXIT_FAILURE, "web")
    assert "web.socket has no service to start: web.service is not-found" in said


def test_only_internet_sockets_are_enabled(make_box: MakeBox) -> None:
    files = web()
    listens = ("/run/web.sock", "ListenFIFO=/run/web.fifo", "ListenNetlink=route 1")
    for name, listen in zip(("unix", "fifo", "netlink"), listens, strict=True):
        files[f"{UNITS}/{name}.socket"] = socket_unit(listen)
        files[f"{UNITS}/{name}.service"] = service_unit("accept_loop web")
    box = make_box(files=files)
    for name in ("unix", "fifo", "netlink"):
        said = refused(box, EXIT_REFUSED, name)
        assert f"{UNITS}/{name}.socket:3: {name}.socket has no TCP or UDP socket" in said
    said = refused(box, EXIT_REFUSED, "web", "unix", "fifo")
    assert "unix.socket has no" in said
    assert "fifo.socket has no" in said


@pytest.mark.parametrize("setting", ["PrivateNetwork=yes", "NetworkNamespacePath=/run/netns/blue"])
def test_a_socket_of_another_network_is_refused(make_box: MakeBox, setting: str) -> None:
    """Its rule would cut off the host's own server."""
    files = web()
    files[f"{UNITS}/away.socket"] = socket_unit(
        "127.0.0.1:8090", label="away", rules=["Bind=tcp 127.0.0.0/8 8080"]
    )
    files[f"{UNITS}/away.socket.d/net.conf"] = f"[Socket]\n{setting}\n"
    files[f"{UNITS}/away.service"] = service_unit("accept_loop away")
    box = make_box(files=files)
    box.run(["sockreg", "enable", "web"])
    said = refused(box, EXIT_REFUSED, "away")
    assert f"{UNITS}/away.socket.d/net.conf:2: {setting}: away.socket listens in another" in said
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    assert box.ask("127.0.0.1", 80) == ANSWER


def test_enabled_by_hand_a_socket_of_another_network_has_no_rules(make_box: MakeBox) -> None:
    files = web()
    files[f"{UNITS}/away.socket"] = socket_unit(
        "127.0.0.1:8090",
        label="away",
        rules=["Bind=tcp 127.0.0.0/8 8080"],
        settings=["PrivateNetwork=yes"],
    )
    files[f"{UNITS}/away.service"] = service_unit("accept_loop away")
    box = make_box(files=files)
    box.systemctl("enable", "-q", "--now", "sockreg@web.service")
    box.systemctl("enable", "-q", "--now", "sockreg@away.service", check=False)
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    box.reboot()
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    assert box.ask("127.0.0.1", 80) == ANSWER
    told = box.run(["sockreg", "check"], check=False).stdout
    assert f"error (other-network): {UNITS}/away.socket:5\n" in told
    assert "PrivateNetwork=yes: away.socket listens in another" in told
    box.run(["sockreg", "disable", "away"])
    assert "other-network" not in box.run(["sockreg", "check"], check=False).stdout
    assert box.ask("127.0.0.1", 80) == ANSWER


@pytest.mark.long
def test_a_broken_unit_of_somebody_else_is_no_obstacle(make_box: MakeBox) -> None:
    files = web()
    files[f"{UNITS}/shop.socket"] = socket_unit(
        "127.0.0.1:8081", label="shop", rules=["Bind=tcp 127.0.0.1 81"]
    )
    files[f"{UNITS}/shop.service"] = service_unit("accept_loop shop")
    box = make_box(files=files)
    box.run(["sockreg", "enable", "shop"])
    box.write(f"{UNITS}/shop.socket.d/x.conf", "[X-Sockreg]\nBind=tcp 127.0.0.1 80 nonsense\n")
    said = refused(box, EXIT_CONFIG, "shop")
    assert f"{UNITS}/shop.socket.d/x.conf:2: " in said
    done = box.run(["sockreg", "enable", "web"])
    assert f"{UNITS}/shop.socket.d/x.conf:2" in done.stderr
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert box.ask("127.0.0.1", 81) == "shop 127.0.0.1:81"
    box.run(["sockreg", "disable", "web"])
    assert box.ask("127.0.0.1", 80) == "refused"
    assert box.ask("127.0.0.1", 81) == "shop 127.0.0.1:81"
    box.reboot()
    assert box.ask("127.0.0.1", 81) == "shop 127.0.0.1:81"
    assert f"{UNITS}/shop.socket.d/x.conf:2: " in refused(box, EXIT_CONFIG, "shop")
    box.run(["sockreg", "disable", "shop"])
    assert box.ask("127.0.0.1", 81) == "refused"


def test_this_network_by_its_path_is_none_of_that(make_box: MakeBox) -> None:
    files = web()
    files[f"{UNITS}/web.socket.d/net.conf"] = "[Socket]\nNetworkNamespacePath=/proc/1/ns/net\n"
    box = make_box(files=files)
    box.run(["sockreg", "enable", "web"])
    assert box.ask("127.0.0.1", 80) == ANSWER


def test_missing_units_are_said(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.run(["rm", "/usr/lib/systemd/system/sockreg@.service"])
    said = refused(box, EXIT_FAILURE, "web")
    assert "there is no sockreg@web.service" in said
    assert "sockreg install-units" in said


def test_a_masked_loader_is_said(installed_web: Sandbox) -> None:
    installed_web.systemctl("mask", "-q", "sockreg.service")
    said = refused(installed_web, EXIT_FAILURE, "web")
    assert "sockreg.service is masked" in said
    assert "'systemctl unmask sockreg.service' undoes it" in said
    installed_web.systemctl("unmask", "sockreg.service")
    installed_web.run(["sockreg", "enable", "web"])
    assert installed_web.ask("127.0.0.1", 80) == ANSWER


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


def dies(box: Sandbox, command: int, signal: str = "KILL") -> None:
    """Have `sockreg enable web` die right after its so many-th command that changes something."""
    box.write(
        "/usr/local/bin/systemctl",
        '#!/bin/sh\n/usr/bin/systemctl "$@"\ncase $1 in show) exit;; esac\n'
        f"echo >>/tmp/count; [ $(wc -l </tmp/count) -ne {command} ] || kill -{signal} $PPID\n",
    )
    box.run(["chmod", "+x", "/usr/local/bin/systemctl"])
    assert box.run(["sockreg", "enable", "web"], check=False).returncode != 0
    box.run(["rm", "/usr/local/bin/systemctl", "/tmp/count"])


@pytest.mark.parametrize(
    "command", [1, *(pytest.param(number, marks=pytest.mark.long) for number in (2, 3, 4))]
)
def test_a_death_is_healed(installed_web: Sandbox, command: int) -> None:
    box = installed_web
    before = state(box)
    dies(box, command)
    assert "'sockreg enable web.socket' of" in box.run(["sockreg", "check"], check=False).stdout
    said = box.run(["sockreg", "disable", "web"])
    assert "unfinished" not in box.run(["sockreg", "check"], check=False).stdout
    assert "did not end: it is undone" in said.stderr
    assert said.stdout == "web.socket is not enabled with sockreg\n"
    assert state(box) == before
    assert box.ask("127.0.0.1", 8080) == "refused"
    dies(box, command)
    said = box.run(["sockreg", "enable", "web"])
    assert "did not end: it is undone" in said.stderr
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert box.systemctl("--failed", "--no-legend", "--plain").stdout == ""


@pytest.mark.parametrize("command", range(1, 5))
def test_ctrl_c_undoes_all_at_once(installed_web: Sandbox, command: int) -> None:
    box = installed_web
    before = state(box)
    dies(box, command, "INT")
    assert state(box) == before
    assert box.ask("127.0.0.1", 8080) == "refused"


def test_two_commands_at_once(make_box: MakeBox) -> None:
    files = web()
    files[f"{UNITS}/shop.socket"] = socket_unit(
        "127.0.0.1:8081", label="shop", rules=["Bind=tcp 127.0.0.1 81"]
    )
    files[f"{UNITS}/shop.service"] = service_unit("accept_loop shop")
    box = make_box(files=files)
    both = "sockreg enable web & sockreg enable shop || exit 1; wait $!"
    box.run(["/bin/sh", "-c", both], timeout=60)
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert box.ask("127.0.0.1", 81) == "shop 127.0.0.1:81"
    both = both.replace("enable", "disable")
    box.run(["/bin/sh", "-c", both], timeout=60)
    assert box.run(["sockreg", "rules"]).stdout.count("\n") == 1


def test_the_label_of_another_unit_is_foretold(make_box: MakeBox) -> None:
    files = web()
    files[f"{UNITS}/shop.socket"] = socket_unit("127.0.0.1:8081", rules=["Bind=tcp 127.0.0.1 81"])
    files[f"{UNITS}/shop.service"] = service_unit("accept_loop shop")
    box = make_box(files=files)
    both = refused(box, EXIT_REFUSED, "web", "shop")
    assert "label web" in both
    box.run(["sockreg", "enable", "web"])
    said = refused(box, EXIT_REFUSED, "shop")
    assert "shop.socket: label web belongs to web.socket" in said
    assert box.ask("127.0.0.1", 80) == ANSWER
    assert box.ask("127.0.0.1", 81) == "refused"


def test_a_socket_that_has_failed_starts_again(make_box: MakeBox) -> None:
    """After its server has reached a start limit, for example."""
    files = web()
    server = files[f"{UNITS}/web.service"]
    files[f"{UNITS}/web.service"] = "[Service]\nExecStart=false\n"
    box = make_box(files=files)
    box.systemctl("start", "web.socket")

    def failed() -> bool:
        box.ask("127.0.0.1", 8080)
        return box.show("web.socket", "ActiveState") == "failed"

    box.wait(failed, "the start limit")
    box.write(f"{UNITS}/web.service", server)
    box.run(["sockreg", "enable", "web"])
    assert box.ask("127.0.0.1", 80) == ANSWER


def test_several_units_are_enabled_at_once(make_box: MakeBox) -> None:
    names = [f"web{number}" for number in range(1, 9)]
    files = {}
    for at, name in enumerate(names):
        rules = [f"Bind=tcp 127.0.1.{at} 80"]
        files[f"{UNITS}/{name}.socket"] = socket_unit(
            f"127.0.0.1:{9000 + at}", label=name, rules=rules
        )
        files[f"{UNITS}/{name}.service"] = service_unit(f"accept_loop {name}")
    box = make_box(files=files)
    said = box.run(["sockreg", "enable", *names], timeout=120).stdout
    assert said.count("is registered for 1 destination") == 8
    for at, name in enumerate(names):
        assert box.ask(f"127.0.1.{at}", 80) == f"{name} 127.0.1.{at}:80"
    # One process registered all of them, and nothing is left of how it was told to.
    registered = box.journal(f"MESSAGE_ID={journal.REGISTERED}")
    assert {entry["_SYSTEMD_UNIT"] for entry in registered} == {"sockreg-boot@enable-0.service"}
    assert box.run(["ls", "/run/systemd/system", "/run/sockreg-registered"]).stdout.split() == [
        "/run/sockreg-registered:",
        "/run/systemd/system:",
    ]
    # All rules came into force at once.
    generation = json.loads(box.run(["sockreg", "--json", "status"]).stdout)["status"]["generation"]
    assert generation == 2
    box.run(["sockreg", "disable", *names], timeout=120)
    assert box.run(["sockreg", "rules"]).stdout.count("\n") == 1
    for at, _ in enumerate(names):
        assert box.ask(f"127.0.1.{at}", 80) == "refused"


def test_many_units_all_or_none(make_box: MakeBox) -> None:
    """One of those that one process would register does not even listen."""
    files = web()
    for at, name in enumerate(("shop", "other", "mail")):
        address = "192.0.2.77:80" if name == "mail" else f"127.0.0.1:{9000 + at}"
        files[f"{UNITS}/{name}.socket"] = socket_unit(
            address, label=name, rules=[f"Bind=tcp 127.0.1.{at} 80"]
        )
        files[f"{UNITS}/{name}.service"] = service_unit(
            f"accept_loop {name}", dependencies=[f"Requires={name}.socket"]
        )
    box = make_box(files=files)
    before = state(box)
    said = fails(box, EXIT_FAILURE, "enable", "web", "shop", "other", "mail")
    assert "mail.socket: Failed to create listening socket (192.0.2.77:80)" in said
    assert state(box) == before
    box.write(f"{UNITS}/mail.socket.d/address.conf", "[Socket]\nListenStream=\n"
              "ListenStream=127.0.0.1:9009\n")  # fmt: skip
    box.run(["sockreg", "enable", "web", "shop", "other", "mail"])
    assert box.ask("127.0.1.2", 80) == "mail 127.0.1.2:80"
    box.systemctl("restart", "mail.socket", "shop.socket")
    box.wait(lambda: box.ask("127.0.1.0", 80) == "shop 127.0.1.0:80", "the registration")


def test_several_units_all_or_none(make_box: MakeBox) -> None:
    """One that only turns out to fail takes the others back out."""
    files = web()
    files[f"{UNITS}/shop.socket"] = socket_unit(
        "192.0.2.77:80", label="shop", rules=["Bind=tcp 127.0.0.1 81"]
    )
    files[f"{UNITS}/shop.service"] = service_unit("accept_loop shop")
    # What the loader says of these, which it starts with, is no reason.
    files["/etc/sockreg/more.conf"] = "[more]\nBind=tcp 127.0.0.1 82\n"
    files["/etc/sockreg/wrong.conf"] = "[wrong]\nBind=tcp 127.0.0.1 82x\n"
    box = make_box(files=files)
    before = state(box)
    said = fails(box, EXIT_FAILURE, "enable", "web", "shop")
    assert said.startswith("sockreg: shop.socket: ")
    assert "shop.socket: Failed to create listening socket (192.0.2.77:80)" in said
    assert "127.0.0.1" not in said
    assert state(box) == before
    assert box.ask("127.0.0.1", 8080) == "refused"


def test_leftovers_are_taken_out(installed_web: Sandbox) -> None:
    """Of both modes, of other targets, of a unit whose file is gone."""
    box = installed_web
    box.run(["sockreg", "enable", "web"])
    box.systemctl("add-wants", "multi-user.target", "sockreg@web.service")
    box.systemctl("add-wants", "sockreg.service", "sockreg-add@web.service")
    box.write(DROPIN, "[Unit]\nWants=sockreg.service\n")
    box.systemctl("stop", "web.service", "web.socket")
    box.run(["rm", f"{UNITS}/web.socket", f"{UNITS}/web.service"])
    box.run(["rm", "/usr/lib/systemd/system/sockreg@.service"])
    box.systemctl("daemon-reload")
    said = box.run(["sockreg", "disable", "web.socket"]).stdout
    assert f"  remove {UNITS}/multi-user.target.wants/sockreg@web.service\n" in said
    assert f"  remove {UNITS}/sockreg.service.wants/sockreg-add@web.service\n" in said
    assert f"  remove {DROPIN}\n" in said
    left = box.run(["find", UNITS, "-name", "*web*"]).stdout
    assert left == ""
    assert box.run(["sockreg", "rules"]).stdout.count("\n") == 1
    assert "there is no web.socket" in fails(box, EXIT_USAGE, "disable", "web.socket")


def test_disable_without_a_loader(installed_web: Sandbox) -> None:
    box = installed_web
    box.run(["sockreg", "enable", "web"])
    box.systemctl("stop", "sockreg.service")
    said = box.run(["sockreg", "disable", "web"]).stdout
    assert "".join(f"  remove {link}\n" for link in LINKS) in said
    assert (
        box.run(["sockreg", "disable", "web"]).stdout == "web.socket is not enabled with sockreg\n"
    )


def test_who_else_enables_a_unit_is_named(installed_web: Sandbox) -> None:
    """Disabling would leave its rules in force, and take only its sockets."""
    box = installed_web
    dropin = f"{UNITS}/web.socket.d/wants.conf"
    box.write(dropin, "[Unit]\nWants=sockreg@%N.service\n")
    box.systemctl("enable", "--now", "-q", "web.socket")
    box.wait(lambda: box.ask("127.0.0.1", 80) == ANSWER, "the registration")
    said = fails(box, EXIT_REFUSED, "disable", "web")
    assert f"{dropin}:2: web.socket asks for its registration itself" in said
    assert box.ask("127.0.0.1", 80) == ANSWER
    box.run(["rm", dropin])
    box.systemctl("daemon-reload")
    box.run(["sockreg", "disable", "web"])
    assert box.ask("127.0.0.1", 80) == "refused"
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"


def test_a_loader_that_fails_is_quoted(installed_web: Sandbox) -> None:
    box = installed_web
    box.write(
        f"{UNITS}/sockreg.service.d/x.conf",
        "[Service]\nExecStart=\nExecStart=/bin/sh -c 'echo the disk is on fire; exit 4'\n",
    )
    box.systemctl("daemon-reload")
    before = state(box)
    said = fails(box, EXIT_PERMISSION, "enable", "web")
    assert "the disk is on fire" in said
    assert state(box) == before


def test_a_transient_unit_is_refused(installed_web: Sandbox) -> None:
    box = installed_web
    box.run(["systemd-run", "--unit=gone", "--socket-property=ListenStream=127.0.0.1:8090", "cat"])
    assert "gone.socket is transient" in refused(box, EXIT_REFUSED, "gone")


def test_only_root_may(installed_web: Sandbox) -> None:
    box = installed_web
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    for verb in ("enable", "disable"):
        done = box.run([*user, "sockreg", verb, "web"], check=False)
        assert done.returncode == EXIT_PERMISSION
        assert "only root may enable and disable units" in done.stderr


def test_no_room_and_a_read_only_etc(installed_web: Sandbox) -> None:
    box = installed_web
    before = state(box)
    mount = "cp -a $0 /tmp/kept; mount -t tmpfs -o nr_inodes=$(($(find $0 | wc -l)+2)) tmpfs $0; "
    box.run(["/bin/sh", "-ec", mount + "cp -a /tmp/kept/. $0", UNITS])
    said = fails(box, EXIT_FAILURE, "enable", "web")
    assert "No space left on device" in said
    assert state(box) == before
    box.run(["mount", "-o", "remount,ro", UNITS])
    said = refused(box, EXIT_FAILURE, "web")
    assert f"{UNITS} cannot be written: the file system is read-only" in said
    box.run(["umount", UNITS])
    box.run(["sockreg", "enable", "web"])
    assert box.ask("127.0.0.1", 80) == ANSWER


def test_another_namespace_is_refused(installed_web: Sandbox) -> None:
    box = installed_web
    box.run(["ip", "netns", "add", "blue"])
    said = fails(box, EXIT_USAGE, "--netns", "blue", "enable", "web")
    assert "units listen in the network namespace of systemd" in said


def test_a_changed_root_without_systemd(installed_web: Sandbox) -> None:
    """As image builders do it: chroot(1), and nothing runs there."""
    box = installed_web
    chroot = ["chroot", "/tmp/image"]
    script = (
        "mkdir -p /tmp/image/var /tmp/image/run /tmp/image/tmp; cp -a /etc /tmp/image; "
        "for d in usr bin lib lib64 sbin proc sys dev; do "
        "mkdir -p /tmp/image/$d; mount --rbind /$d /tmp/image/$d; done"
    )
    box.run(["/bin/sh", "-ec", script])
    done = box.run([*chroot, "sockreg", "enable", "web"], check=False)
    assert done.returncode == EXIT_USAGE
    assert "systemd does not run here, so its version is unknown" in done.stderr
    box.run([*chroot, "sockreg", "enable", "web", "--mode", "companion"])
    links = box.run(["find", f"/tmp/image{UNITS}", "-name", "sockreg@*"]).stdout.splitlines()
    assert sorted(links) == sorted(f"/tmp/image{link}" for link in LINKS)
    box.run([*chroot, "sockreg", "disable", "web"])
    assert box.run(["find", f"/tmp/image{UNITS}", "-name", "sockreg@*"]).stdout == ""


def test_sockets_that_are_left_out_are_in_its_own_output(make_box: MakeBox) -> None:
    """A unit may have sockets that cannot be steered to; the journal of the companion knows why."""
    listen = ("127.0.0.1:8080", "/run/web.sock")
    box = make_box(files=web(listen=listen, server="event_loop web"))
    done = box.run(["sockreg", "enable", "web"], check=False)
    assert done.returncode == EXIT_PARTLY, done
    assert "web.socket is registered for 1 destination" in done.stdout
    left_out, last = done.stderr.splitlines()
    assert left_out.startswith("skipped a socket of web.socket, label web: it is a UNIX socket")
    assert last == (
        "sockreg: enable: not every socket is registered, see the lines above; everything else is "
        "done"
    )
    assert box.ask("127.0.0.1", 80) == ANSWER
    box.run(["sockreg", "disable", "web"])
    done = box.run(["sockreg", "--json", "enable", "web"], check=False)
    assert done.returncode == EXIT_PARTLY
    (sentence,) = validated(done.stdout)[1]["left_out"]
    assert sentence == left_out

"""Which units' rules are in force, and since when."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sockreg.systemd import journal
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, service_unit, socket_unit, web

OTHER = {
    f"{UNITS}/other.socket": socket_unit(
        "127.0.0.1:8081", label="other", rules=["Bind=tcp 127.0.0.2 80"]
    ),
    f"{UNITS}/other.service": service_unit("accept_loop other"),
}
ONLY_WANTED = {
    f"{UNITS}/web.socket": socket_unit("127.0.0.1:8080", label=None),
    f"{UNITS}/web.service": service_unit("accept_loop web"),
    f"{UNITS}/web.socket.d/sockreg.conf": (
        "[Unit]\nWants=sockreg@%N.service\n"
        "[Socket]\nFileDescriptorName=%N\n"
        "[X-Sockreg]\nBind=tcp 127.0.0.1 80\n"
    ),
}


def many(names: list[str]) -> Mapping[str, str]:
    """Sockets, rules and servers: the first is asked at 127.0.0.1:80, and so on."""
    files = {}
    for number, name in enumerate(names, 1):
        files[f"{UNITS}/{name}.socket"] = socket_unit(
            f"127.0.0.1:{8000 + number}", label=name, rules=[f"Bind=tcp 127.0.0.{number} 80"]
        )
        files[f"{UNITS}/{name}.service"] = service_unit(f"accept_loop {name}")
    return files


def rules(box: Sandbox) -> list[str]:
    """The rules in force, as ``label: rule``."""
    body = json.loads(box.run(["sockreg", "--json", "rules"]).stdout)
    return sorted(f"{rule['label']}: {rule['rule']}" for rule in body["rules"])


def generation(box: Sandbox) -> int:
    body = json.loads(box.run(["sockreg", "--json", "status"]).stdout)
    return int(body["status"]["generation"])


def test_enabling_puts_rules_in_force_and_disabling_takes_them_out(make_box: MakeBox) -> None:
    box = make_box(files=web() | OTHER)
    for name, address in (("web", "127.0.0.1"), ("other", "127.0.0.2")):
        assert box.ask(address, 80) == "refused"
        box.systemctl("enable", "--now", f"sockreg@{name}")
        assert box.ask(address, 80) == f"{name} {address}:80"
    box.systemctl("disable", "--now", "sockreg@web")
    assert rules(box) == ["other: tcp 127.0.0.2 80"]
    assert box.ask("127.0.0.1", 80) == "refused"
    assert box.ask("127.0.0.2", 80) == "other 127.0.0.2:80"
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"


def test_disabling_gives_a_port_back_to_whoever_listens_there(make_box: MakeBox) -> None:
    box = make_box(files=web())
    with box.network.serve("ordinary", "127.0.0.1", 80):
        assert box.ask("127.0.0.1", 80) == "ordinary"
        box.systemctl("enable", "--now", "sockreg@web")
        assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
        box.systemctl("disable", "--now", "sockreg@web")
        assert box.ask("127.0.0.1", 80) == "ordinary"


def test_starting_without_enabling_counts_until_stopped(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.systemctl("start", "sockreg@web")
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    box.systemctl("reload", "sockreg.service")
    assert rules(box) == ["web: tcp 127.0.0.1 80"]
    box.systemctl("stop", "sockreg@web")
    assert rules(box) == []
    box.systemctl("start", "sockreg@web")
    box.reboot()
    box.systemctl("start", "sockreg.service")
    assert rules(box) == []


def test_rules_of_an_enabled_unit_refuse_while_it_is_stopped(make_box: MakeBox) -> None:
    box = make_box(files=web())
    with box.network.serve("ordinary", "127.0.0.1", 80):
        box.systemctl("enable", "--now", "sockreg@web")
        box.systemctl("stop", "sockreg@web")
        assert rules(box) == ["web: tcp 127.0.0.1 80"]
        assert box.ask("127.0.0.1", 80) == "refused"


def test_a_unit_that_is_merely_installed_changes_nothing(make_box: MakeBox) -> None:
    box = make_box(files=web() | OTHER)
    box.systemctl("enable", "--now", "sockreg@web")
    box.systemctl("enable", "--now", "other.socket")
    box.systemctl("reload", "sockreg.service")
    assert rules(box) == ["web: tcp 127.0.0.1 80"]
    assert box.ask("127.0.0.2", 80) == "refused"
    assert box.ask("127.0.0.1", 8081) == "other 127.0.0.1:8081"


def test_a_socket_may_want_its_companion_itself(make_box: MakeBox) -> None:
    box = make_box(files=ONLY_WANTED)
    box.systemctl("start", "web.socket")
    box.wait(lambda: box.ask("127.0.0.1", 80) == "web 127.0.0.1:80", "the registration")
    box.systemctl("stop", "web.socket")
    assert box.ask("127.0.0.1", 80) == "refused"
    assert rules(box) == []


def test_a_socket_that_wants_its_companion_counts_from_boot_on(make_box: MakeBox) -> None:
    box = make_box(files=ONLY_WANTED)
    box.systemctl("enable", "web.socket")
    box.reboot()
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
    assert generation(box) == 1


def test_instances_of_a_template(make_box: MakeBox) -> None:
    box = make_box(
        files={
            f"{UNITS}/web@.socket": socket_unit(
                "127.0.0.1:808%i", label="web-%i", rules=["Bind=tcp 127.0.0.%i 80"]
            ),
            f"{UNITS}/web@.service": service_unit("accept_loop web-%i"),
        }
    )
    box.systemctl("enable", "--now", "sockreg@web@1", "sockreg@web@2")
    assert rules(box) == ["web-1: tcp 127.0.0.1 80", "web-2: tcp 127.0.0.2 80"]
    box.reboot()
    for address, answer in (
        ("127.0.0.1", "web-1 127.0.0.1:80"),
        ("127.0.0.2", "web-2 127.0.0.2:80"),
        ("127.0.0.3", "refused"),
    ):
        assert box.ask(address, 80) == answer


def test_an_edited_drop_in_applies_with_a_restart(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.systemctl("enable", "--now", "sockreg@web")
    assert box.ask("127.0.0.2", 81) == "refused"
    box.write(f"{UNITS}/web.socket.d/more.conf", "[X-Sockreg]\nBind=\nBind=tcp 127.0.0.2 81\n")
    box.systemctl("daemon-reload")
    box.systemctl("restart", "sockreg@web")
    assert rules(box) == ["web: tcp 127.0.0.2 81"]
    assert box.ask("127.0.0.1", 80) == "refused"
    assert box.ask("127.0.0.2", 81) == "web 127.0.0.2:81"


def test_a_conf_file_applies_with_a_reload_of_the_loader(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.systemctl("enable", "--now", "sockreg@web")
    box.write("/etc/sockreg/more.conf", "[web]\nBind=tcp 127.0.0.2 81\n")
    assert box.ask("127.0.0.2", 81) == "refused"
    box.systemctl("reload", "sockreg.service")
    assert box.ask("127.0.0.2", 81) == "web 127.0.0.2:81"
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"


def test_boot_compiles_the_rule_set_once(make_box: MakeBox) -> None:
    names = [f"web{number}" for number in range(1, 6)]
    box = make_box(files=many(names))
    box.systemctl("enable", *(f"sockreg@{name}" for name in names))
    box.reboot()
    for number, name in enumerate(names, 1):
        assert box.ask(f"127.0.0.{number}", 80) == f"{name} 127.0.0.{number}:80"
    assert messages(box, "-b", f"MESSAGE_ID={journal.APPLIED}") == [
        "generation 1 in force: 5 rules (5 added, 0 removed)"
    ]
    assert generation(box) == 1


def test_a_wrong_rule_is_refused_and_what_was_in_force_stays(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.systemctl("enable", "--now", "sockreg@web")
    drop_in = f"{UNITS}/web.socket.d/more.conf"
    box.write(drop_in, "[X-Sockreg]\nBind=tcp 127.0.0.2 81\nBind=tcp 127.0.0.2 port\n")
    box.systemctl("daemon-reload")
    for verb, unit in (("reload", "sockreg.service"), ("restart", "sockreg@web")):
        assert box.systemctl(verb, unit, check=False).returncode != 0
        (refusal,) = box.journal(f"MESSAGE_ID={journal.APPLY_REFUSED}", "-u", unit)[-1:]
        assert f"{drop_in}:3: " in refusal["MESSAGE"]
        assert "the rules in force stay" in refusal["MESSAGE"]
        assert refusal["PRIORITY"] == "3"
        assert rules(box) == ["web: tcp 127.0.0.1 80"]
        assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"
        assert box.ask("127.0.0.2", 81) == "refused"
    box.run(["rm", drop_in])
    box.systemctl("daemon-reload")
    box.systemctl("restart", "sockreg@web")
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"


def test_a_unit_whose_rules_tie_is_refused_and_the_others_stay(make_box: MakeBox) -> None:
    box = make_box(files=web() | OTHER)
    box.write(f"{UNITS}/other.socket.d/tie.conf", "[X-Sockreg]\nBind=tcp 127.0.0.1 80\n")
    box.systemctl("enable", "--now", "sockreg@web")
    assert box.systemctl("enable", "--now", "sockreg@other", check=False).returncode != 0
    (refusal,) = messages(box, f"MESSAGE_ID={journal.APPLY_REFUSED}", "-u", "sockreg@other")
    assert f"{UNITS}/other.socket.d/tie.conf:2" in refusal
    assert f"{UNITS}/web.socket:6" in refusal
    assert rules(box) == ["web: tcp 127.0.0.1 80"]
    assert box.ask("127.0.0.1", 80) == "web 127.0.0.1:80"

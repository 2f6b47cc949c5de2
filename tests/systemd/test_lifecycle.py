"""What an operator does to socket, server, companion and loader, and where packets land then."""

from __future__ import annotations

from typing import Any

import pytest

from sockreg.systemd import journal
from tests.asking import asking
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import messages, web

ANSWER = "web 127.0.0.1:80"


def steered(box: Sandbox) -> str:
    return box.ask("127.0.0.1", 80)


def states(box: Sandbox, *units: str) -> list[str]:
    return [box.show(unit, "ActiveState") for unit in units]


def registrations(box: Sandbox) -> list[dict[str, Any]]:
    """The journal's entries about sockets put into the registry."""
    kinds = (journal.REGISTERED, journal.REPLACED)
    return box.journal(*(f"MESSAGE_ID={kind}" for kind in kinds))


def repeat(box: Sandbox, command: str, times: int = 20) -> None:
    """Run a shell command as quickly as possible; fail if it fails once."""
    box.run(["sh", "-c", f"for i in $(seq {times}); do {command} || exit; done"])


@pytest.fixture
def enabled(make_box: MakeBox) -> Sandbox:
    """A box with web.socket, whose server runs on demand, enabled with sockreg."""
    box = make_box(files=web())
    box.systemctl("enable", "--now", "sockreg@web")
    return box


def test_the_server_starts_on_demand_through_the_steered_port(enabled: Sandbox) -> None:
    assert states(enabled, "web.socket", "web.service") == ["active", "inactive"]
    assert steered(enabled) == ANSWER
    assert states(enabled, "web.socket", "web.service") == ["active", "active"]
    assert enabled.ask("127.0.0.1", 81) == "refused"


def test_a_stopped_server_starts_on_demand_again(enabled: Sandbox) -> None:
    for _ in range(3):
        assert steered(enabled) == ANSWER
        enabled.systemctl("stop", "web.service")
        assert states(enabled, "web.socket", "web.service") == ["active", "inactive"]


def test_the_companion_is_inactive_again_once_it_has_registered(enabled: Sandbox) -> None:
    units = ("sockreg.service", "sockreg@web.service", "sockreg-add@web.service")
    assert states(enabled, *units) == ["active", "active", "inactive"]


@pytest.mark.parametrize("also", [(), ("web.socket",)])
def test_boot(make_box: MakeBox, also: tuple[str, ...]) -> None:
    """Enabling sockreg@web is enough; that the socket is enabled itself changes nothing."""
    box = make_box(files=web())
    box.systemctl("enable", "sockreg@web", *also)
    assert steered(box) == "refused"
    box.reboot()
    assert box.systemctl("is-system-running").stdout == "running\n"
    assert states(box, "sockets.target", "web.socket", "web.service") == [
        "active",
        "active",
        "inactive",
    ]
    assert steered(box) == ANSWER


def test_boot_breaks_no_ordering_cycle(make_box: MakeBox) -> None:
    box = make_box(files=web())
    box.systemctl("enable", "sockreg@web", "sockreg.service", "web.socket")
    box.reboot()
    booted = messages(box, "-b")
    assert "Reached target sockets.target - Socket Units." in booted
    assert "Reached target basic.target - Basic System." in booted
    assert [line for line in booted if "cycle" in line or "deleted to break" in line] == []


def test_start_and_stop_the_socket(enabled: Sandbox) -> None:
    assert steered(enabled) == ANSWER
    enabled.systemctl("stop", "web.socket")
    assert steered(enabled) == "refused"
    assert states(enabled, "web.socket", "web.service", "sockreg@web") == ["inactive"] * 3
    enabled.systemctl("start", "web.socket")
    enabled.wait(lambda: steered(enabled) == ANSWER, "the registration")
    assert states(enabled, "sockreg@web") == ["active"]


def test_starting_the_companion_waits_for_the_registration(enabled: Sandbox) -> None:
    enabled.systemctl("stop", "web.socket")
    enabled.systemctl("start", "sockreg@web")
    assert states(enabled, "web.socket") == ["active"]
    assert steered(enabled) == ANSWER


def test_restart_the_socket_of_a_server_that_requires_it(enabled: Sandbox) -> None:
    for _ in range(3):  # systemd's own limit is 5 starts in 10 s
        assert steered(enabled) == ANSWER
        enabled.systemctl("restart", "web.socket")
        assert states(enabled, "web.socket") == ["active"]
        enabled.wait(lambda: steered(enabled) == ANSWER, "the registration of the new socket")
    assert len({entry["SOCKREG_COOKIE"] for entry in registrations(enabled)}) == 4


def test_restart_the_socket_of_a_server_that_does_not_require_it(make_box: MakeBox) -> None:
    """systemd refuses, and leaves the socket dead; stopping the server first heals it."""
    box = make_box(files=web(requires_socket=False))
    box.systemctl("enable", "--now", "sockreg@web")
    assert steered(box) == ANSWER
    assert box.systemctl("restart", "web.socket", check=False).returncode != 0
    refusal = "web.socket: Socket service web.service already active, refusing."
    assert refusal in messages(box, "-u", "web.socket")
    assert states(box, "web.socket", "web.service", "sockreg@web") == [
        "inactive",
        "active",
        "inactive",
    ]
    # The server has the old socket still; it stays registered until the server lets go.
    assert steered(box) == ANSWER
    box.systemctl("stop", "web.service")
    assert steered(box) == "refused"
    box.systemctl("start", "web.socket")
    box.wait(lambda: steered(box) == ANSWER, "the registration")


@pytest.mark.parametrize(("verb", "registered"), [("restart", 1), ("reload", 4)])
def test_register_again_without_a_refused_connection(
    make_box: MakeBox, verb: str, registered: int
) -> None:
    """A restart that would change nothing does not even register; a reload does always."""
    box = make_box(files=web(server="accept_loop web --retry"))
    box.systemctl("enable", "--now", "sockreg@web")
    with asking(lambda: box.ask("127.0.0.1", 80)) as answers:
        for _ in range(3):
            box.systemctl(verb, "sockreg@web")
    assert set(answers) == {ANSWER}
    assert states(box, "web.socket", "sockreg@web") == ["active", "active"]
    assert len(registrations(box)) == registered


def test_reload_of_the_loader_leaves_the_registrations_alone(enabled: Sandbox) -> None:
    with asking(lambda: enabled.ask("127.0.0.1", 80)) as answers:
        for _ in range(3):
            enabled.systemctl("reload", "sockreg.service")
    assert set(answers) == {ANSWER}
    assert len(registrations(enabled)) == 1


def test_stop_and_start_of_the_loader(enabled: Sandbox) -> None:
    """A stop takes the rules out of force. The registrations are there at the next start."""
    assert steered(enabled) == ANSWER
    enabled.systemctl("stop", "sockreg.service")
    assert steered(enabled) == "refused"
    assert enabled.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    assert states(enabled, "web.socket", "sockreg@web") == ["active", "active"]
    enabled.systemctl("start", "sockreg.service")
    assert steered(enabled) == ANSWER
    assert len(registrations(enabled)) == 1


def test_a_server_that_requires_its_socket_leaves_a_stopped_loader_stopped(
    enabled: Sandbox,
) -> None:
    """systemd starts whatever the socket wants again, although the socket is active."""
    enabled.systemctl("stop", "sockreg.service")
    assert enabled.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    enabled.wait(lambda: states(enabled, "web.service") == ["active"], "the server")
    assert states(enabled, "sockreg.service") == ["inactive"]
    assert steered(enabled) == "refused"


def test_unload_forgets_everything_and_units_come_back_with_the_loader(enabled: Sandbox) -> None:
    enabled.run(["sockreg", "unload"])
    assert steered(enabled) == "refused"
    assert enabled.run(["ls", "/sys/fs/bpf/sockreg"]).stdout == ""
    enabled.systemctl("restart", "sockreg.service")
    assert steered(enabled) == ANSWER
    enabled.systemctl("disable", "sockreg@web")
    enabled.run(["sockreg", "unload"])
    enabled.systemctl("stop", "sockreg.service")
    assert states(enabled, "sockreg.service") == ["inactive"]
    enabled.systemctl("start", "sockreg.service")
    # It counts because it is started.
    assert steered(enabled) == ANSWER
    enabled.systemctl("stop", "sockreg@web")
    assert enabled.run(["sockreg", "rules"]).stdout.count("\n") == 1


def test_a_loader_that_fails_leaves_socket_and_server_unaffected(make_box: MakeBox) -> None:
    broken = "/etc/systemd/system/sockreg.service.d/broken.conf"
    box = make_box(files=web() | {broken: "[Service]\nExecStart=\nExecStart=/bin/false\n"})
    box.systemctl("enable", "sockreg@web", "web.socket")
    box.reboot()
    assert states(box, "sockreg.service", "sockreg@web", "web.socket") == [
        "failed",
        "inactive",
        "active",
    ]
    dependency = "Dependency failed for sockreg@web.service - Socket registry for web.socket."
    assert dependency in messages(box, "-b")
    (said,) = messages(box, f"MESSAGE_ID={journal.REFUSED}")
    assert "nothing is loaded in this network namespace (start it: 'systemctl start" in said
    failed = box.systemctl("list-units", "--failed", "--plain", "--no-legend").stdout
    units = [line.split()[0] for line in failed.splitlines()]
    assert units == ["sockreg-add@web.service", "sockreg.service"]
    assert steered(box) == "refused"
    assert box.ask("127.0.0.1", 8080) == "web 127.0.0.1:8080"
    # Mending the loader and starting it is all it takes.
    box.run(["rm", broken])
    box.systemctl("daemon-reload")
    box.systemctl("start", "sockreg.service")
    assert steered(box) == ANSWER
    assert box.systemctl("is-system-running").stdout == "running\n"


def test_many_quick_registrations_do_not_fail_the_socket(enabled: Sandbox) -> None:
    repeat(enabled, "systemctl start sockreg-add@web")
    assert len(registrations(enabled)) == 21
    assert states(enabled, "web.socket", "sockreg@web") == ["active", "active"]
    assert steered(enabled) == ANSWER


def test_many_failed_registrations_do_not_fail_the_socket(enabled: Sandbox) -> None:
    (registry,) = enabled.run(["ls", "/sys/fs/bpf/sockreg"]).stdout.split()
    sockets = f"/sys/fs/bpf/sockreg/{registry}/sockets"
    enabled.run(["mv", sockets, f"{sockets}-away"])
    repeat(enabled, "! systemctl start sockreg-add@web")
    assert states(enabled, "web.socket", "sockreg-add@web") == ["active", "failed"]
    enabled.run(["mv", f"{sockets}-away", sockets])
    enabled.systemctl("start", "sockreg-add@web")
    assert steered(enabled) == ANSWER

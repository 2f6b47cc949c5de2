"""Servers that pass their own sockets to sockreg-receive.socket, on a real systemd."""

from __future__ import annotations

import json
import re

import pytest

from sockreg.systemd import journal
from tests.netns import TCP, UDP
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.lint import follow, kinds
from tests.systemd.load import flooding
from tests.systemd.units import UNITS, messages, service_unit, socket_unit

RULES = "[web]\nBind=tcp 127.0.0.1 80\nBind=udp 127.0.0.1 80\n"
RECEIVE = {"/etc/sockreg/web.conf": RULES}
GROUP = "www-data"  # of Debian's base system
# What docs/handover.md tells to do for another user than root.
LET_IN = {
    f"{UNITS}/sockreg-receive.socket.d/group.conf": (
        f"[Socket]\nSocketGroup={GROUP}\nSocketMode=0660\n"
    ),
}
GRANT = {"/etc/sockreg/grant.conf": f"[web]\nRegister=group:{GROUP}\n"}


def passing(protocol: str = "tcp", *, label: str = "web", user: str = "") -> dict[str, str]:
    """mine.service, which makes its own socket and passes it as servers in the field do."""
    settings = ["Type=exec", *([user] if user else [])]
    server = f"passing mine {protocol} 127.0.0.1 8080 {label}"
    return {f"{UNITS}/mine.service": service_unit(server, settings=settings)}


# Forty senders of its sockets at once; LISTEN_PID= is that of each, not of the shell.
MANY = """\
[Service]
Type=oneshot
ExecStart=/bin/bash -c 'for i in {1..40}; do \\
    (export LISTEN_PID=$$BASHPID; exec sockreg send web) & done; wait'
"""


def started(make_box: MakeBox, files: dict[str, str]) -> Sandbox:
    box = make_box(files=RECEIVE | files)
    box.systemctl("enable", "--now", "sockreg.service", "sockreg-receive.socket")
    return box


def said(box: Sandbox, unit: str = "mine.service") -> list[str]:
    return messages(box, "SYSLOG_IDENTIFIER=python3", f"_SYSTEMD_UNIT={unit}")


def asked(box: Sandbox, protocol: int = TCP, answer: str = "mine 127.0.0.1:80") -> None:
    """Wait until the steered port gives this answer."""
    box.wait(lambda: box.ask("127.0.0.1", 80, protocol) == answer, f"the answer {answer!r}")


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_a_service_registers_its_own_socket(make_box: MakeBox, protocol: int) -> None:
    box = started(make_box, passing("tcp" if protocol == TCP else "udp"))
    assert box.ask("127.0.0.1", 80, protocol) == "refused"
    box.systemctl("start", "mine.service")
    # UDP answers leave from where the socket is bound.
    asked(box, protocol, "mine 127.0.0.1:80" if protocol == TCP else "mine 127.0.0.1:8080")
    status = json.loads(box.run(["sockreg", "--json", "status"]).stdout)["status"]
    (destination,) = [d for d in status["destinations"] if d["members"]]
    assert [member["unit"] for member in destination["members"]] == ["mine.service"]
    assert len(box.journal(f"MESSAGE_ID={journal.REGISTERED}")) == 1

    box.systemctl("restart", "mine.service")
    asked(box, protocol, "mine 127.0.0.1:80" if protocol == TCP else "mine 127.0.0.1:8080")
    box.systemctl("stop", "mine.service")
    assert box.ask("127.0.0.1", 80, protocol) == "refused"
    assert "sockreg-receive" not in box.systemctl("list-units", "--failed").stdout


def test_other_users_are_kept_out_unless_let_in(make_box: MakeBox) -> None:
    user = "User=nobody\nGroup=nogroup"
    box = started(make_box, passing(user=user))
    box.systemctl("start", "mine.service")
    box.wait(lambda: "PermissionError: [Errno 13] Permission denied" in said(box), "the refusal")
    assert box.ask("127.0.0.1", 80) == "refused"


def test_who_is_let_in_takes_a_grant_as_well(make_box: MakeBox) -> None:
    files = LET_IN | passing(user=f"User=daemon\nSupplementaryGroups={GROUP}")
    box = started(make_box, files)
    box.systemctl("start", "mine.service")
    text = box.wait(lambda: "".join(said(box)), "the refusal")
    assert re.fullmatch(r"not registered: user \d+ may not register sockets under label web", text)
    assert box.ask("127.0.0.1", 80) == "refused"
    (entry,) = box.journal(f"MESSAGE_ID={journal.REFUSED}")
    assert "mine.service" in str(entry["MESSAGE"])
    assert re.search(r"'Register=user:\d+' in section \[web\]", str(entry["MESSAGE"]))
    # The entry is found with the unit it is about, and nothing is left of the instance.
    assert entry in box.journal("-u", "mine.service")
    shown = box.systemctl("list-units", "--all", "sockreg-receive@*").stdout
    assert "0 loaded units listed" in shown


def test_a_group_with_a_grant_may_register(make_box: MakeBox) -> None:
    files = LET_IN | GRANT | passing(user=f"User=daemon\nSupplementaryGroups={GROUP}")
    box = started(make_box, files)
    box.systemctl("start", "mine.service")
    asked(box)
    assert f"{UNITS}" not in "".join(said(box))


def test_check_says_which_grants_nobody_can_use(make_box: MakeBox) -> None:
    """Each of its findings goes by what it says, and then the grant serves."""
    files = LET_IN | passing(user=f"User=daemon\nSupplementaryGroups={GROUP}")
    grants = "/etc/sockreg/grant.conf"
    box = make_box(files={grants: "[lost]\nRegister=group:wwww-data\n"} | RECEIVE | files)
    box.systemctl("enable", "--now", "sockreg.service")
    ours = {"unknown-holder", "no-receiver", "grant-without-rules"}
    assert ours <= set(kinds(box))
    follow(box, "no-receiver")
    box.write(grants, f"[lost]\nRegister=group:{GROUP}\n")
    assert ours & set(kinds(box)) == {"grant-without-rules"}
    box.write(grants, f"[web]\nRegister=group:{GROUP}\n")
    assert ours & set(kinds(box)) == set()
    box.systemctl("start", "mine.service")
    asked(box)


def test_a_flood_of_connections_ends_nothing(make_box: MakeBox) -> None:
    """Once it is over, a server that waits for its answer as those in the field do registers."""
    box = started(make_box, LET_IN | passing())
    with flooding(box, GROUP, connections=4000) as flood:
        flood.wait()
    assert box.show("sockreg-receive.socket", "ActiveState") == "active"
    box.wait(lambda: box.show("sockreg-receive.socket", "NConnections") == "0", "quiet")
    box.systemctl("start", "mine.service")
    asked(box)


@pytest.mark.long
def test_many_senders_at_once_are_all_served(make_box: MakeBox) -> None:
    """More of one user than MaxConnectionsPerSource= lets in: those turned away ask again."""
    files = {f"{UNITS}/web.socket": socket_unit("127.0.0.1:8080"), f"{UNITS}/web.service": MANY}
    box = started(make_box, files)
    box.systemctl("start", "web.socket")
    box.systemctl("start", "web.service")
    assert messages(box, "_SYSTEMD_UNIT=web.service").count("web: OK") == 40


def test_without_a_registry_the_answer_says_so(make_box: MakeBox) -> None:
    box = make_box(files=passing())
    box.systemctl("start", "sockreg-receive.socket")
    box.systemctl("start", "mine.service")
    text = box.wait(lambda: "".join(said(box)), "the refusal")
    assert text.startswith("not registered: no registry at /sys/fs/bpf/sockreg/")


def test_send_passes_the_sockets_of_a_socket_unit(make_box: MakeBox) -> None:
    server = service_unit("accept_loop web").replace(
        "ExecStart=", "ExecStart=/usr/bin/sockreg send web -- "
    )
    files = {
        f"{UNITS}/web.socket": socket_unit("127.0.0.1:8080", label="anything"),
        f"{UNITS}/web.service": server,
    }
    box = started(make_box, files)
    box.systemctl("start", "web.socket", "web.service")
    asked(box, answer="web 127.0.0.1:80")
    assert "web: OK" in messages(box, "_SYSTEMD_UNIT=web.service")


def test_the_receiver_needs_few_rights(make_box: MakeBox) -> None:
    box = make_box()
    unit = "sockreg-receive@1.service"
    shown = box.run(["systemd-analyze", "security", "--no-pager", unit]).stdout
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown)
    assert level is not None, shown
    assert float(level[1]) < 1.2, shown
    done = box.run(["systemd-analyze", "verify", "--man=no", unit, "sockreg-receive.socket"])
    # systemd before 255 does not know two keys and goes on.
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if "Unknown key 'PollLimit" not in line] == []

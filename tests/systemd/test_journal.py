"""The story that the journal tells, and what systemctl shows beside it."""

from __future__ import annotations

import json
import re
from typing import Any

from sockreg.systemd import journal
from tests.sandbox import Sandbox
from tests.systemd.conftest import MakeBox
from tests.systemd.units import UNITS, messages, service_unit, socket_unit, web

# What an operator may run to get fields as Python objects.
READER = """
import json, sys
from systemd import journal
reader = journal.Reader()
reader.this_boot()
reader.add_match(SOCKREG_LABEL="web")
print(json.dumps([[e["MESSAGE"], str(e["MESSAGE_ID"]), e["SOCKREG_UNIT"]] for e in reader]))
"""


def enabled(make_box: MakeBox) -> Sandbox:
    box = make_box(files=web())
    box.systemctl("enable", "--now", "sockreg@web")
    return box


def one(box: Sandbox, message_id: str, *matches: str) -> dict[str, Any]:
    """The only entry of that kind."""
    (entry,) = box.journal(f"MESSAGE_ID={message_id}", *matches)
    return entry


def cookie(box: Sandbox) -> str:
    """The cookie of web.socket's socket, as ss(8) shows it."""
    found = re.search(r"\bsk:\w+", box.run(["ss", "-Htlne", "sport = :8080"]).stdout)
    assert found is not None
    return found[0]


def without_cookies(lines: list[str]) -> list[str]:
    return [re.sub(r"sk:\w+", "sk:N", line) for line in lines]


def test_the_story_of_a_label(make_box: MakeBox) -> None:
    box = enabled(make_box)
    box.systemctl("reload", "sockreg@web")
    box.systemctl("stop", "web.socket")
    box.systemctl("start", "sockreg@web")
    told = [
        "label web: registered tcp 127.0.0.1:8080 (sk:N) for IPv4, from web.socket",
        "label web: tcp 127.0.0.1:8080 (sk:N) is registered already for IPv4, from web.socket",
        "label web (tcp, IPv4): unregistered sk:N, from web.socket",
        "label web: registered tcp 127.0.0.1:8080 (sk:N) for IPv4, from web.socket",
    ]
    assert without_cookies(messages(box, "SOCKREG_LABEL=web")) == told
    for unit in ("sockreg@web", "web.socket"):
        lines = without_cookies(messages(box, "-u", unit))
        assert [line for line in lines if line in told] == told


def test_a_new_socket_of_a_unit_replaces_the_one_before(make_box: MakeBox) -> None:
    """While somebody keeps the old one; otherwise it is gone from the registry with its end.

    One of the same SO_REUSEPORT group joins it instead: the kernel selects among them anyway.
    """
    box = make_box(
        files={
            f"{UNITS}/web.socket": socket_unit("127.0.0.1:8080", settings=["ReusePort=yes"]),
            f"{UNITS}/web.service": service_unit("accept_loop web"),
            f"{UNITS}/keeper.service": "[Service]\nSockets=web.socket\nExecStart=sleep infinity\n",
        }
    )
    box.systemctl("start", "sockreg@web", "keeper.service")
    before = cookie(box)
    box.systemctl("restart", "web.socket")

    def told(address: str, times: int) -> Any:
        entries = box.journal(f"SOCKREG_ADDRESS={address}", "-u", "sockreg@web")
        return entries[-1] if len(entries) == times else None

    joined = box.wait(lambda: told("127.0.0.1:8080", 2), "the new socket of the group")
    assert "label web: registered " in joined["MESSAGE"]
    assert joined["MESSAGE"].endswith(", beside earlier sockets of its SO_REUSEPORT group")

    box.write(
        f"{UNITS}/web.socket.d/port.conf",
        "[Socket]\nListenStream=\nListenStream=127.0.0.1:8081\n",
    )
    box.systemctl("daemon-reload")
    box.systemctl("restart", "web.socket")
    replacement = box.wait(lambda: told("127.0.0.1:8081", 1), "the new address")
    assert replacement["MESSAGE_ID"] == journal.REPLACED
    assert f" replaces {before} for IPv4" in replacement["MESSAGE"]
    assert replacement["SOCKREG_COOKIE"] not in (before, joined["SOCKREG_COOKIE"])


def test_the_fields_of_a_registration(make_box: MakeBox) -> None:
    box = enabled(make_box)
    entry = one(box, journal.REGISTERED)
    expected = {
        "SOCKREG_LABEL": "web",
        "SOCKREG_COOKIE": cookie(box),
        "SOCKREG_ADDRESS": "127.0.0.1:8080",
        "SOCKREG_PROTOCOL": "tcp",
        "SOCKREG_UNIT": "web.socket",
        "SYSLOG_IDENTIFIER": "sockreg",
        "PRIORITY": "6",
    }
    assert {name: entry[name] for name in expected} == expected
    # The journal knows of itself where it came in time, before the companion had ended.
    assert entry.get("_SYSTEMD_UNIT", "sockreg-add@web.service") == "sockreg-add@web.service"


def test_the_fields_of_load_apply_and_unload(make_box: MakeBox) -> None:
    box = enabled(make_box)
    (netns,) = box.run(["ls", "/sys/fs/bpf/sockreg"]).stdout.split()
    loaded, applied = (
        one(box, kind, "-u", "sockreg.service") for kind in (journal.LOADED, journal.APPLIED)
    )
    assert loaded["SOCKREG_REGISTRY"] == f"/sys/fs/bpf/sockreg/{netns}"
    assert applied["MESSAGE"] == "generation 1 in force: 1 rule (1 added, 0 removed)"
    assert (applied["SOCKREG_GENERATION"], applied["SOCKREG_RULES"]) == ("1", "1")
    box.systemctl("stop", "sockreg.service")
    unloaded = one(box, journal.UNLOADED, "-u", "sockreg.service")
    assert unloaded["SOCKREG_REGISTRY"] == f"/sys/fs/bpf/sockreg/{netns}"


def test_a_refused_registration_stands_in_the_journal_of_both_units(make_box: MakeBox) -> None:
    box = make_box(
        files={
            f"{UNITS}/web.socket": socket_unit("/run/web.sock"),
            f"{UNITS}/web.service": service_unit("accept_loop web"),
        }
    )
    box.systemctl("start", "sockreg@web", check=False)
    for unit in ("sockreg@web", "web.socket"):
        refusal = one(box, journal.REFUSED, "-u", unit)
        assert refusal["SOCKREG_UNIT"] == "web.socket"
        assert refusal["PRIORITY"] == "3"
        assert "none of its sockets can be registered" in refusal["MESSAGE"]


def test_an_applied_change_names_the_rules(make_box: MakeBox) -> None:
    box = enabled(make_box)
    box.write("/etc/sockreg/more.conf", "[web]\nBind=tcp 127.0.0.2 81\n")
    box.systemctl("reload", "sockreg.service")
    assert messages(box, "-u", "sockreg.service", "SYSLOG_IDENTIFIER=sockreg")[-2:] == [
        "generation 2 in force: 2 rules (1 added, 0 removed)",
        "+ bind web: tcp 127.0.0.2 81",
    ]


def test_systemd_python_reads_the_fields(make_box: MakeBox) -> None:
    box = enabled(make_box)
    (entry,) = json.loads(box.run(["/usr/bin/python3", "-c", READER]).stdout)
    message, message_id, unit = entry
    assert message.startswith("label web: registered tcp 127.0.0.1:8080")
    assert message_id.replace("-", "") == journal.REGISTERED
    assert unit == "web.socket"


def test_systemctl_status_tells_what_is_in_force(make_box: MakeBox) -> None:
    box = enabled(make_box)
    shown = box.systemctl("status", "sockreg.service").stdout
    assert (
        'Status: "last start or reload: generation 1 in force: 1 rule (1 added, 0 removed)"'
        in shown
    )
    box.write("/etc/sockreg/more.conf", "[web]\nBind=tcp 127.0.0.2 81\n")
    box.systemctl("reload", "sockreg.service")
    shown = box.systemctl("status", "sockreg.service").stdout
    assert (
        'Status: "last start or reload: generation 2 in force: 2 rules (1 added, 0 removed)"'
        in shown
    )

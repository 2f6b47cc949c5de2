"""Names that others choose do nothing to the terminal, the journal, or a picture."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from sockreg.cli.verbs import WHERE
from sockreg.errors import EXIT_BUSY, EXIT_OK
from sockreg.registry.locks import DirectoryLock
from tests import exposition
from tests.kernel.host import Host

_PR_SET_NAME = 15  # linux/prctl.h
# A screen is cleared, a line reordered, a line ended in six ways, marks are piled up, and a byte
# is not UTF-8.
HOSTILE = "a\x1b[2Jb\u202e\x9b\u2028\x85\r\x0c\x7fe\u0301\u0301\u0301\u0301\udcff\nsockreg: forged"
LABEL = "<&\"'\\x1b[2J$(reboot)>"  # what a label may have
INTERFACE = b"b<&\x1b[2J\xff\xe2\x80\xae"

COMMANDS = [
    ["status"],
    ["status", "--slots", "-n", "50"],
    ["rules"],
    ["rules", "--label", HOSTILE],
    ["listeners"],
    ["inspect", LABEL],
    ["inspect", HOSTILE],
    ["explain", "tcp", "192.0.2.7", "80"],
    ["explain", "tcp", "192.0.2.7", "80", "dev", HOSTILE],
    ["explain", "tcp", HOSTILE, "80"],
    ["graph"],
    ["graph", "--dot"],
    ["metrics"],
    ["metrics", "--output", f"/proc/nowhere/{HOSTILE}"],
    ["check"],
    ["check", "--files", "--all"],
    ["apply"],
    ["apply", "--check"],
    ["apply", "--start", HOSTILE],
    ["apply", "--stop", HOSTILE],
    ["confirm"],
    ["rollback"],
    ["rollback", HOSTILE],
    ["bind", HOSTILE, "tcp", "192.0.2.0/24", "80"],
    ["bind", "web", "tcp", HOSTILE, "80"],
    ["bind", "web", "tcp", "192.0.2.0/24", "80", "dev", HOSTILE],
    ["unbind", HOSTILE, "tcp", "192.0.2.0/24", "80"],
    ["import", "tubular", f"/proc/nowhere/{HOSTILE}"],
    ["import", HOSTILE, "file"],
    ["enable", HOSTILE],
    ["enable", "--dry-run", HOSTILE],
    ["disable", HOSTILE],
    ["register", HOSTILE],
    ["register", "web", "--unit", HOSTILE],
    ["register", "web", "--pid", HOSTILE],
    ["register", "web", "--of-unit", HOSTILE, "--wait", "0"],
    ["register", "web", "--pid", "1", "--local", HOSTILE, "--wait", "0"],
    ["register", "--", f"/proc/nowhere/{HOSTILE}"],
    ["send", "--socket", f"/proc/nowhere/{HOSTILE}", "web"],
    ["expect", HOSTILE, "web"],
    ["unregister", HOSTILE],
    ["unregister", LABEL, "--unit", HOSTILE],
    ["weight", HOSTILE, "1"],
    ["weight", "web", HOSTILE],
    ["drain", LABEL, HOSTILE],
    ["top"],
    ["rules", "--count", "0"],
    ["trace", "--seconds", "0"],
    ["trace", "--summary", "--seconds", "0", "--label", LABEL],
    ["trace", "--label", HOSTILE],
    ["trace", "--guard", HOSTILE],
    ["flows"],
    ["flows", LABEL],
    ["flows", HOSTILE],
    ["report"],
    ["report", "--output", f"/proc/nowhere/{HOSTILE}"],
    ["upgrade"],
    ["demo", "--serve", HOSTILE],
    ["load", "--state", f"/proc/nowhere/{HOSTILE}"],
    ["status", "--netns", HOSTILE],
    ["status", "--bpffs", HOSTILE],
    ["apply", "--root", HOSTILE],
    ["load", "--object", HOSTILE],
    [HOSTILE],
    ["status", HOSTILE],
    ["unload"],
]


def is_plain(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.fixture
def named(host: Host) -> Iterator[Host]:
    """A host whose files, units, interface and processes have such names, and whose rules do."""
    host.namespace.run("ip", "link", "add", os.fsdecode(INTERFACE), "type", "veth")
    units = host.root / "etc/systemd/system"
    wants = units / "sockets.target.wants"
    wants.mkdir(parents=True)
    for name in ("web", f"web{HOSTILE}"):
        socket = f"[Socket]\nListenStream=8080\n[X-Sockreg]\n{HOSTILE}={HOSTILE}\n"
        (units / f"{name}.socket").write_bytes(os.fsencode(socket))
        (wants / f"sockreg@{name}.service").symlink_to("/usr/lib/systemd/system/sockreg@.service")
    (units / f"lost{HOSTILE}.socket").symlink_to(f"/proc/nowhere/{HOSTILE}")
    host.conf(f"[{LABEL}]", "Bind=tcp 192.0.2.0/24 80", "Reject=tcp 192.0.2.0/25 80 dev b<&>")
    wrong = f"[{HOSTILE}]\n{HOSTILE}={HOSTILE}\nBind={HOSTILE}\n[web]\nBind=tcp {HOSTILE}\n"
    conf = host.root / "etc/sockreg"
    (conf / f"9{HOSTILE}.conf").write_bytes(os.fsencode(wrong))
    (conf / f"8{HOSTILE}.conf").write_text(f"[{LABEL}]\nBind=tcp 192.0.2.9 80\n")
    (conf / f"7{HOSTILE}.conf").symlink_to(f"/proc/nowhere/{HOSTILE}")
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"\x1b[2J\n\xe2\x80\xae\xff", 0, 0, 0)
    try:
        loaded = host.run("load")
        assert loaded.status == EXIT_OK, loaded.text
        with host.serve(LABEL, "127.0.0.1", 8080):
            assert host.ask("192.0.2.7", 80) == LABEL
            yield host
    finally:
        ctypes.CDLL(None).prctl(_PR_SET_NAME, b"pytest", 0, 0, 0)


def test_every_command_shows_hostile_names_as_text(named: Host) -> None:
    assert {words[0] for words in COMMANDS} >= WHERE.keys() - {"install-units", "uninstall-units"}
    shown = ""
    for words in COMMANDS:
        for form in ([], ["--json"]):
            outcome = named.run(*form, *words)
            assert is_plain(outcome.out), words
            assert is_plain(outcome.err), words
            # Each line of a name would be a line of its own.
            assert "\nsockreg: forged" not in outcome.err, words
            shown += outcome.text
            if form and outcome.out.startswith("{"):
                json.dumps(json.loads(outcome.out), ensure_ascii=False).encode()
            for entry in named.entries():
                for value in (each for values in entry.values() for each in values):
                    assert is_plain(value), (words, entry)
                assert "\nsockreg: forged" not in entry["MESSAGE"][0]
    assert r"\x1b[2Jb\u202e" in shown  # they are named all the same


def test_pictures_and_metrics_can_be_read(named: Host) -> None:
    drawn = ElementTree.fromstring(named.ok("graph"))
    assert LABEL in [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    done = subprocess.run(
        ["dot", "-Tplain"],
        input=named.ok("graph", "--dot"),
        text=True,
        capture_output=True,
        check=True,
    )
    assert "reboot" in done.stdout
    labels = {sample.labels.get("label") for sample in exposition.samples(named.ok("metrics"))}
    assert LABEL in labels


def test_the_holder_of_a_lock_is_named_whatever_its_name(
    named: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockreg.registry.locks.PATIENCE", 0.05)
    with DirectoryLock(str(named.registry / "generations")):
        said = named.fails(EXIT_BUSY, "apply")
    assert rf"\x1b[2J\n\u202e\udcff (pid {os.getpid()})" in said
